package plan

import (
	"fmt"
	"slices"

	"github.com/talos-sriov/talos-sriov/pkg/nic"
	"github.com/talos-sriov/talos-sriov/pkg/op"
	"github.com/talos-sriov/talos-sriov/pkg/plan/terms"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

// plan fills w.out for a PF that one entry governs. The order of the steps is
// the order in which they run:
//
//	MTU up, link up, 0 VFs, eswitch mode (drivers that set it without VFs), N VFs,
//	eswitch mode (drivers that set it with unbound VFs), VF attributes, VF drivers,
//	netdevs, VF MTUs, vDPA, MTU down
func (w *work) plan() {
	defer w.silence()
	w.out.Uplink = w.pf.Uplink != ""
	w.out.Safe = w.seenSafe()
	if !w.possible() {
		return
	}
	y := w.configure()
	w.out.Steps = y.steps
	w.hold()
	w.report(&y)
	w.reportSpent()
	w.guard()
	w.withdraw(y.found)
}

// configure are the steps of a PF that can be as its entry says.
func (w *work) configure() yield {
	if w.entry.ExternallyManaged {
		w.external()
		return w.virtualFunctions(made{mode: w.eswitch()}, nil)
	}
	y := yield{steps: slices.Concat(w.mtu(true), w.linkUp())}
	steps, m := w.numVFs()
	y.steps = append(y.steps, steps...)
	if w.wantVFs() > 0 {
		y.add(w.virtualFunctions(m, y.steps))
	}
	y.steps = append(y.steps, w.mtu(false)...)
	return y
}

// possible checks what no step can cure.
func (w *work) possible() bool {
	if want := w.entry.LinkType; want != "" && len(w.pf.Netdevs) > 0 && w.pf.Netdevs[0].LinkType != string(want) {
		w.problem(Problem{
			Msg:  fmt.Sprintf("the config says linkType %s, but the port is %s", want, w.pf.Netdevs[0].LinkType),
			Hint: "the type of a port is set in the card's firmware, once, with the vendor's tool; it is never changed from here",
		})
		return false
	}
	want := w.wantVFs()
	if want > w.pf.TotalVFs && !w.entry.ExternallyManaged {
		hint := fmt.Sprintf("ask for at most %d", w.pf.TotalVFs)
		if w.pf.TotalVFs == 0 {
			hint = "enable VFs in the card's firmware (for NVIDIA cards SRIOV_EN and NUM_OF_VFS, set once with the vendor's tool from any Linux)"
		}
		w.problem(Problem{
			Msg:  fmt.Sprintf("the config asks for %s, but this PF has at most %d (sriov_totalvfs)", terms.Count(want, "VF"), w.pf.TotalVFs),
			Hint: hint,
		})
		return false
	}
	if w.pf.Driver == "" && w.pf.NumVFs != want && !w.entry.ExternallyManaged {
		w.problem(Problem{
			Pending: true, Settling: true,
			Msg:  "no driver is bound to this PF, and only its driver can make VFs",
			Hint: "taken up as soon as a driver binds; if none does, the node's image may lack its module (the kernel or an extension has to bring it), else add it to the machine config (kernel.modules)",
		})
		return false
	}
	if !w.mtuPossible() {
		return false
	}
	return w.eswitchPossible()
}

func (w *work) mtuPossible() bool {
	if w.entry.MTU == nil {
		return true
	}
	if len(w.pf.Netdevs) == 0 {
		w.problem(Problem{
			Pending: true, Partial: true, Settling: true,
			Msg:  "mtu is set on the PF's interface, and this PF has none",
			Hint: "taken up when it appears",
		})
		return true
	}
	if d := &w.pf.Netdevs[0]; d.MaxMTU > 0 && *w.entry.MTU > d.MaxMTU {
		w.problem(Problem{
			Msg:  fmt.Sprintf("the config says mtu %d, but %s takes at most %d", *w.entry.MTU, d.Name, d.MaxMTU),
			Hint: fmt.Sprintf("ask for at most %d", d.MaxMTU),
		})
		return false
	}
	return true
}

// external checks the VFs that somebody else makes.
func (w *work) external() {
	differs := func(partial bool, hint, format string, args ...any) {
		msg := "externallyManaged: " + fmt.Sprintf(format, args...)
		w.problem(Problem{Pending: true, Partial: partial, Msg: msg, Hint: hint})
	}
	if want := w.wantVFs(); w.pf.NumVFs < want {
		differs(false, "whoever manages this PF has to make them; taken up when they appear",
			"%d VFs expected, %d exist", want, w.pf.NumVFs)
	}
	if m := w.entry.MTU; m != nil && len(w.pf.Netdevs) > 0 && w.pf.Netdevs[0].MTU < *m {
		differs(true, "whoever manages this PF has to set it",
			"an MTU of at least %d expected, %s has %d", *m, w.pf.Netdevs[0].Name, w.pf.Netdevs[0].MTU)
	}
	if m := w.entry.EswitchMode; m != "" && w.eswitch() != m {
		differs(true, "whoever manages this PF has to set it", "eswitch mode %s expected, found %s", m, w.eswitch())
	}
}

func (p *port) wantVFs() int {
	if p.entry.NumVFs == nil {
		return p.pf.NumVFs
	}
	return max(0, *p.entry.NumVFs)
}

// mtu plans the MTU of the PF's interfaces: it is raised before anything else, because
// VFs cannot have more than their PF, and lowered after everything else, and only when
// no pod's VF could still send what no longer fits.
func (p *port) mtu(raise bool) []Step {
	if p.entry.MTU == nil {
		return nil
	}
	var steps []Step
	want := *p.entry.MTU
	for i := range p.pf.Netdevs {
		d := &p.pf.Netdevs[i]
		if i > 0 && p.pf.EswitchMode == string(spec.EswitchSwitchdev) || d.MTU == want || raise != (want > d.MTU) {
			continue
		}
		s := p.setMTU(i, want)
		s.Reason = "the config says mtu"
		if !raise {
			s = p.waitingForAll(s)
		}
		steps = append(steps, s)
	}
	return steps
}

// setMTU is the step that gives the PF's interface the MTU.
func (p *port) setMTU(netdev, mtu int) Step {
	d, qualifier := &p.pf.Netdevs[netdev], ""
	if netdev > 0 {
		qualifier = d.Name
	}
	s := p.step(op.SetMTU{OnPF: p.onPF(), Found: op.Found{Was: op.MTU(d.MTU)}, Netdev: d.Name, MTU: op.MTU(mtu)}, qualifier)
	s.Disruption = DisruptLink
	return s
}

// linkUp plans the PF's administrative state: the VFs of a PF that is down have
// no link.
func (p *port) linkUp() []Step {
	if p.wantVFs() == 0 || len(p.pf.Netdevs) == 0 || p.pf.Netdevs[0].AdminUp {
		return nil
	}
	s := p.step(op.SetPFUp{OnPF: p.onPF(), Found: op.Found{Was: op.AdminUp(false)}}, "")
	s.Reason = "VFs have a link only while their PF is up"
	return []Step{s}
}

// made is what the VFs of a PF come from.
type made struct {
	// by is the step that makes them, "" when they exist.
	by string
	// cold: they appear without a driver.
	cold bool
	// mode is the eswitch mode in which they are there, and to the one that has to
	// be set once they are unbound, "" when it is right.
	mode, to spec.EswitchMode
}

// numVFs plans sriov_drivers_autoprobe, sriov_numvfs, and the eswitch mode of
// drivers that take it without VFs.
//
// The kernel takes a new number of VFs only when there are none: any other
// change answers EBUSY (Documentation/PCI/pci-iov-howto.rst; sriov_numvfs_store
// in drivers/pci/iov.c), so a change from N to M goes through 0 and destroys
// all N.
func (p *port) numVFs() ([]Step, made) {
	have, want := p.pf.NumVFs, p.wantVFs()
	mode := p.newMode()
	modeFirst := mode != "" && p.nic.Eswitch == nic.OrderModeFirst
	m := made{mode: p.eswitch()}
	if !modeFirst {
		m.to = mode
	}
	if have == want && (have == 0 || !modeFirst) {
		if have > 0 || mode == "" {
			return nil, m
		}
		steps, _ := p.setMode(m.mode, mode, p.modeReason(mode), nil)
		return steps, made{mode: mode}
	}
	var steps []Step
	var needs []string
	if have > 0 {
		steps = append(steps, p.removeVFs(p.removeReason()))
		needs = []string{steps[0].ID}
	}
	before := spec.EswitchMode("") // the mode that has to be set without VFs
	switch {
	case modeFirst, want == 0 && mode != "":
		before, m.to = mode, ""
	case want > 0 && p.entry.EswitchMode != "" && p.nic.Eswitch == nic.OrderVFsFirst && p.eswitch() == spec.EswitchSwitchdev:
		// VFs are made in legacy mode, whatever comes after. A config that does
		// not say the mode leaves it alone all the way: a run that ends between
		// the two would lose it.
		before, m.to = spec.EswitchLegacy, ""
		if p.entry.EswitchMode == spec.EswitchSwitchdev {
			m.to = spec.EswitchSwitchdev
		}
	}
	if before != "" {
		set, id := p.setMode(m.mode, before, p.modeReason(before), needs)
		steps, needs, m.mode = append(steps, set...), append(slices.Clone(needs), id), before
	}
	if want == 0 {
		return steps, m
	}
	made, m := p.makeVFs(want, m, needs)
	return append(steps, made...), m
}

func (p *port) removeReason() string {
	have, want := p.pf.NumVFs, p.wantVFs()
	switch {
	case have == want:
		return "the driver " + p.pf.Driver + " changes the eswitch mode only without VFs"
	case want > 0:
		return fmt.Sprintf("the kernel changes %s to %d only through 0", terms.Count(have, "VF"), want)
	}
	return "the config asks for none of the " + terms.Count(have, "VF") + " that exist"
}

// removeVFs takes all VFs away.
func (p *port) removeVFs(reason string) Step {
	s := p.step(op.SetNumVFs{OnPF: p.onPF(), Found: op.Found{Was: op.Count(p.pf.NumVFs)}, Destroys: p.existing()}, "0")
	s.Reason, s.Disruption = reason, DisruptDestroyed
	return p.waiting(s)
}

// makeVFs makes n VFs where there are none.
func (p *port) makeVFs(n int, m made, needs []string) ([]Step, made) {
	var steps []Step
	m.cold = p.cold(n, m.to != "")
	if probe := !m.cold; probe != p.pf.AutoProbe {
		s := p.autoProbe(op.Flag(p.pf.AutoProbe), op.Flag(probe), needs)
		steps, needs = append(steps, s), append(slices.Clone(needs), s.ID)
	}
	o := op.SetNumVFs{OnPF: p.onPF(), Found: op.Found{Was: op.Count(0)}, N: op.Count(n)}
	s := p.step(o, o.N.String())
	s.Reason, s.Needs = "the config asks for "+terms.Count(n, "VF"), needs
	m.by = s.ID
	return append(steps, s), m
}

// cold reports whether VFs have to appear without a driver: because some are not
// for the kernel's own driver, because it would read an address that is not
// there yet, or because the eswitch mode changes in between.
func (p *port) cold(n int, mode bool) bool {
	if mode {
		return true
	}
	for i := range n {
		g := p.entry.Group(i)
		if groupDriver(g) != spec.DriverDefault {
			return true
		}
		if g == nil {
			continue
		}
		m := p.member(g, i)
		_, mac := m.mac()
		if _, guid := m.guid(); guid || mac && !p.nic.ResetsVFOnMAC {
			return true
		}
	}
	return false
}

func (p *port) autoProbe(from, to op.Flag, needs []string) Step {
	s := p.setAutoProbe(from, to)
	s.Needs = needs
	s.Reason = "VFs are to be bound by the kernel as they appear"
	if !to {
		s.Reason = "VFs are to appear without a driver, so that none has a netdev that it must not have"
	}
	return s
}

func (p *port) setAutoProbe(from, to op.Flag) Step {
	return p.step(op.SetAutoProbe{OnPF: p.onPF(), Found: op.Found{Was: from}, On: to}, to.String())
}
