package plan

import (
	"slices"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/op"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// The VFs of a PF go through stages, each a function from the value of the stage
// before to its own:
//
//	gather    []vf          which VFs there are when their steps run, in which group
//	unbound   []unboundVF   unbound for a change of the eswitch mode
//	attribute []attributed  with what the PF holds for them, and whether that, or
//	                        what they lack, wants their driver bound again
//	bind      []boundVF     with the driver that they should have
//	await     []awaited     with the interface that comes with it
//	settle                  with what comes after: address, RDMA device, MTU, vDPA
//
// A value is made by its stage alone, so no stage can be left out or come early.

// vf is a VF that is there when the steps for VFs run.
type vf struct {
	index int
	// now is the VF as it is, nil for one that a step of this plan makes.
	now   *inventory.VF
	group *spec.VFGroup // nil when it is in none
	// made is the step that makes it, "" when it exists.
	made string
	// bound: it has a driver before any step for it runs.
	bound bool
	// taken: somebody has it, or may have it; holders are who.
	taken   bool
	holders []use.Holder
}

// groupDriver is the driver that the VFs of the group should have.
func groupDriver(g *spec.VFGroup) spec.Driver {
	if g == nil || g.Driver == "" {
		return spec.DriverDefault
	}
	return g.Driver
}

func (v *vf) driver() spec.Driver { return groupDriver(v.group) }

// override is the driver_override that the VF should have.
func (v *vf) override() op.Driver {
	switch d := v.driver(); d {
	case spec.DriverDefault:
		return ""
	case spec.DriverNone:
		return op.NoDriver
	default:
		return op.Driver(d)
	}
}

// right reports whether the VF has the driver that it should have.
func (v *vf) right() bool {
	switch d := v.driver(); {
	case v.now == nil:
		return v.bound && d == spec.DriverDefault
	case d == spec.DriverDefault:
		return v.now.Driver != "" && !use.WithoutNetdev(v.now.Driver)
	case d == spec.DriverNone:
		return v.now.Driver == ""
	default:
		return v.now.Driver == string(d)
	}
}

// busy reports whether the VF is somebody's, and nobody said not to wait.
func (p *port) busy(v *vf) bool { return v.taken && !p.forced }

// over are the holders over which a step for the VF goes on.
func (p *port) over(v *vf) []use.Holder {
	if p.forced {
		return v.holders
	}
	return nil
}

// hasNetdev reports whether the VF is one that the kernel gives a netdev.
func (p *port) hasNetdev(v *vf) bool {
	return v.driver() == spec.DriverDefault && p.pf.IsNetwork()
}

// virtualFunctions are the steps about VFs but for their number. before are the
// steps that come before them.
func (p *port) virtualFunctions(m made, before []Step) yield {
	var all yield
	unbound, mode, y := p.unbind(m, p.gather(m))
	all.add(y)
	attributed, y := p.attribute(unbound)
	all.add(y)
	bound, y := p.bind(m, mode, attributed)
	all.add(y)
	awaited, y := p.await(m, bound, heldBy(slices.Concat(before, all.steps)))
	all.add(y)
	all.add(p.settle(awaited))
	return all
}

// gather are the VFs that are there when the steps for VFs run.
func (p *port) gather(m made) []vf {
	out := make([]vf, 0, max(p.wantVFs(), len(p.pf.VFs)))
	if m.by != "" {
		for i := range p.wantVFs() {
			out = append(out, vf{index: i, group: p.entry.Group(i), made: m.by, bound: !m.cold})
		}
		return out
	}
	for i := range p.pf.VFs {
		v := p.there(&p.pf.VFs[i])
		v.group = p.entry.Group(v.index)
		out = append(out, v)
	}
	return out
}

// there is a VF that exists, in no group.
func (p *port) there(now *inventory.VF) vf {
	v := vf{index: now.Index, now: now, bound: now.Driver != ""}
	if st := p.in.Use.Of(now.Address); st.Busy() {
		v.taken, v.holders = true, st.Holders
	}
	return v
}

// unboundVF is a VF that was unbound where the eswitch mode asks for it.
type unboundVF struct {
	vf
	unbind string // the step that unbinds it, "" where there is none
}

// unbind plans the eswitch mode of drivers that take it while VFs are there and no
// driver has them. It returns the step that sets it, "" where there is none.
func (p *port) unbind(m made, vfs []vf) ([]unboundVF, string, yield) {
	out := make([]unboundVF, 0, len(vfs))
	var y yield
	if m.to == "" {
		for i := range vfs {
			out = append(out, unboundVF{vf: vfs[i]})
		}
		if p.entry.EswitchMode == spec.EswitchSwitchdev && p.pf.TCOffload != nil && !*p.pf.TCOffload &&
			p.eswitch() == spec.EswitchSwitchdev && !p.entry.ExternallyManaged {
			y.steps = append(y.steps, p.tcOffload(nil))
		}
		return out, "", y
	}
	needs := after(m.by)
	for i := range vfs {
		v := unboundVF{vf: vfs[i]}
		if v.now != nil && v.bound {
			// Either all go or none: a free VF without a driver is of no use
			// while the pod of another is waited for.
			s := p.waitingForAll(p.unbindStep(&v.vf, "the eswitch mode changes only while no driver has the VFs"))
			y.steps = append(y.steps, s)
			v.unbind, needs = s.ID, append(needs, s.ID)
		}
		out = append(out, v)
	}
	steps, id := p.setMode(m.mode, m.to, p.modeReason(m.to), needs)
	y.steps = append(y.steps, steps...)
	return out, id, y
}

func (p *port) unbindStep(v *vf, reason string, needs ...string) Step {
	s := p.vfStep(v.index, op.UnbindVF{OnVF: p.onVF(v.index), Driver: op.Driver(v.now.Driver)})
	s.Reason, s.Disruption, s.Needs = reason, DisruptReset, after(append([]string{v.made}, needs...)...)
	return p.waiting(s)
}

// overrideStep plans driver_override from what it is to the value.
func (p *port) overrideStep(v *vf, to op.Driver, reason string, needs ...string) Step {
	o := op.SetDriverOverride{OnVF: p.onVF(v.index), Found: op.Found{Was: v.overrideNow()}, Driver: to}
	s := p.on(v, o)
	s.Reason, s.Needs = reason, needs
	return p.waitingUnbound(v, s)
}

// overrideNow is the VF's driver_override; a new VF has none.
func (v *vf) overrideNow() op.Driver {
	if v.now == nil {
		return ""
	}
	return op.Driver(v.now.DriverOverride)
}

// probeStep offers an unbound VF to the drivers.
func (p *port) probeStep(v *vf, needs ...string) Step {
	driver := op.Driver(v.driver())
	if v.driver() == spec.DriverDefault {
		driver = op.Driver(p.nic.VFDriver)
	}
	s := p.on(v, op.ProbeVF{OnVF: p.onVF(v.index), Driver: driver})
	s.Reason, s.Needs = driverReason(v), needs
	return p.waitingUnbound(v, s)
}

// waitingUnbound is a step on the driver of a VF as it waits for the holders of one
// that no driver has. Where one has it, the step that unbinds it waits for them.
func (p *port) waitingUnbound(v *vf, s Step) Step {
	if v.now == nil || v.bound {
		return s
	}
	return p.waiting(s)
}

func driverReason(v *vf) string {
	if v.driver() == spec.DriverDefault {
		return "the VF is for the kernel's own driver"
	}
	return "the config says driver " + string(v.driver())
}

// notLoaded is the driver that the VF should have and the kernel does not know,
// "" when there is none or that is not known.
func (p *port) notLoaded(v *vf) string {
	want := string(v.driver())
	switch v.driver() {
	case spec.DriverNone:
		return ""
	case spec.DriverDefault:
		want = p.nic.VFDriver
	}
	if want == "" || p.in.Snapshot.PCIDrivers == nil || slices.Contains(p.in.Snapshot.PCIDrivers, want) {
		return ""
	}
	return want
}
