package plan

import (
	"slices"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/op"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

// boundVF is a VF whose driver is planned.
type boundVF struct {
	attributed
	// probe is the step that binds the driver, "" where there is none.
	probe string
}

// bind plans which driver each VF has: unbind, driver_override, autoprobe, probe.
// mode is the step that sets the eswitch mode before drivers bind.
func (p *port) bind(m made, mode string, vfs []attributed) ([]boundVF, yield) {
	released, all := p.release(vfs)
	overrides, prepared, y := p.overrides(released)
	all.add(y)
	auto := ""
	anyDefault := op.Flag(slices.ContainsFunc(vfs, func(v attributed) bool { return v.driver() == spec.DriverDefault }))
	if now := p.autoProbeNow(m); !p.entry.ExternallyManaged && len(vfs) > 0 && now != anyDefault {
		s := p.autoProbe(now, anyDefault, after(append([]string{m.by}, prepared...)...))
		all.steps = append(all.steps, s)
		auto = s.ID
	}
	out := make([]boundVF, 0, len(vfs))
	for i := range released {
		v := boundVF{attributed: released[i]}
		s, y := p.probe(&v.attributed, overrides[v.index], auto, mode)
		all.add(y)
		v.probe = s
		out = append(out, v)
	}
	return out, all
}

// autoProbeNow is sriov_drivers_autoprobe when the VFs are there.
func (p *port) autoProbeNow(m made) op.Flag {
	if m.by != "" {
		return op.Flag(!m.cold)
	}
	return op.Flag(p.pf.AutoProbe)
}

// drives reports whether the VF's driver is ours to choose: on a PF that somebody
// else manages, only where the config names one.
func (p *port) drives(v *vf) bool {
	return !p.entry.ExternallyManaged || v.group != nil && v.group.Driver != ""
}

// release unbinds the VFs that have the wrong driver, or need theirs bound again.
func (p *port) release(vfs []attributed) ([]attributed, yield) {
	out := slices.Clone(vfs)
	var y yield
	for i := range out {
		v := &out[i]
		if !p.drives(&v.vf) && v.rebind == "" || v.now == nil || !v.bound || v.unbind != "" {
			continue
		}
		reason, needs := driverReason(&v.vf), []string(nil)
		switch right := v.right(); {
		case right && v.rebind == "":
			continue
		case right && p.busy(&v.vf):
			y.later(&v.vf, "the address")
			continue
		case right:
			reason, needs = v.rebind, v.addresses
		default:
			if d := p.notLoaded(&v.vf); d != "" {
				y.missing(&v.vf, d)
				continue
			}
		}
		s := p.unbindStep(&v.vf, reason, needs...)
		y.steps = append(y.steps, s)
		v.unbind = s.ID
	}
	return out, y
}

// overrides plans driver_override. It returns the steps by VF, and those among
// them for VFs that no driver has, which autoprobe has to wait for.
func (p *port) overrides(vfs []attributed) (by map[int]string, prepared []string, y yield) {
	by = map[int]string{}
	for i := range vfs {
		v := &vfs[i]
		stays := v.bound && v.unbind == ""
		if v.overrideNow() == v.override() || stays && (p.busy(&v.vf) || !v.right()) || !p.drives(&v.vf) {
			continue
		}
		s := p.overrideStep(&v.vf, v.override(), driverReason(&v.vf), after(v.unbind, v.made)...)
		y.steps = append(y.steps, s)
		by[v.index] = s.ID
		if v.unbind == "" {
			prepared = append(prepared, s.ID)
		}
	}
	return by, prepared, y
}

// probe offers the VF to the drivers where none has it, after the steps override,
// auto and mode; it returns the step's ID, "" where there is none.
func (p *port) probe(v *attributed, override, auto, mode string) (string, yield) {
	unbound := !v.bound || v.unbind != ""
	if !unbound || v.driver() == spec.DriverNone || !p.drives(&v.vf) && v.unbind == "" {
		return "", yield{}
	}
	if d := p.notLoaded(&v.vf); d != "" && (v.now != nil || v.driver() != spec.DriverDefault) {
		var y yield
		y.missing(&v.vf, d)
		return "", y
	}
	if v.driver() != spec.DriverDefault {
		auto = "" // driver_override binds it with autoprobe off too
	}
	s := p.probeStep(&v.vf, after(v.unbind, override, v.made, mode, auto)...)
	return s.ID, yield{steps: []Step{s}}
}

// handBack are the steps that give a VF which stays back to the kernel's own
// driver, where a driver_override of ours keeps it from it.
func (p *port) handBack(now *inventory.VF) []Step {
	v := p.there(now)
	if p.notLoaded(&v) != "" {
		return nil // without the other driver nobody could use the VF
	}
	var steps []Step
	unbind := ""
	if v.bound && !v.right() {
		s := p.unbindStep(&v, driverReason(&v))
		steps, unbind = append(steps, s), s.ID
	}
	override := p.overrideStep(&v, "", leftReason, after(unbind)...)
	steps = append(steps, override)
	if !v.bound || unbind != "" {
		steps = append(steps, p.probeStep(&v, after(unbind, override.ID)...))
	}
	return steps
}
