package plan

import (
	"fmt"

	"github.com/talos-sriov/talos-sriov/pkg/op"
	"github.com/talos-sriov/talos-sriov/pkg/record"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

const leftReason = "the PF left the config; this is what it had before"

// reset plans to bring back what the PF was before we changed it, when it is no
// longer in the config, and reports whether anything of it is left.
func (w *work) reset() bool {
	w.out.Left = true
	w.out.Uplink = w.pf.Uplink != ""
	w.out.Safe = w.seenSafe()
	w.out.Steps = w.resetSteps()
	w.hold()
	if len(w.out.Steps) == 0 {
		return false
	}
	if w.pf.Silent != "" {
		w.withdraw(nil)
		w.silence()
		return true
	}
	if w.out.Uplink {
		w.out.Steps = nil
		w.notice(Problem{
			Msg:  fmt.Sprintf("this PF left the config and stays as it is, because it carries the machine's own network: it %s", w.pf.Uplink),
			Hint: "a reboot takes it back",
		})
		return true
	}
	// What an earlier config made on a PF that was found safe under it may be
	// undone.
	if !w.out.Safe && w.record.SafeSpec == "" {
		w.out.Steps = nil
		w.notice(w.unproven("this PF left the config and stays as it is for now, because it may carry the machine's network: "))
		return true
	}
	w.withdraw(nil)
	return true
}

// wrote reports whether the value that the object has now is ours: only what still
// has it is reset.
func (p *port) wrote(s record.Setting, now op.Value) bool {
	return p.record.Made.Has(s, now.String())
}

// resetSteps are one setting after the other.
func (p *port) resetSteps() []Step {
	steps := p.resetVFs()
	// The VFs of somebody else keep the mode: it changes only without drivers.
	stay := p.pf.NumVFs > 0 && len(steps) == 0
	var needs []string
	for i := range steps {
		needs = append(needs, steps[i].ID)
	}
	if stay {
		steps = append(steps, p.resetDrivers()...)
	} else {
		steps = append(steps, p.resetMode(needs)...)
	}
	steps = append(steps, p.resetAutoProbe(needs)...)
	if mtu := p.resetMTU(needs); len(mtu) > 0 {
		if stay {
			steps = append(steps, p.resetVFMTUs()...)
		}
		steps = append(steps, mtu...)
	}
	return steps
}

func (p *port) resetVFs() []Step {
	if n := p.pf.NumVFs; n == 0 || !p.wrote(record.NumVFs, op.Count(n)) {
		return nil
	}
	return []Step{p.removeVFs("the PF left the config, which had made them")}
}

func (p *port) resetMode(needs []string) []Step {
	was := p.record.Made.EswitchMode
	if was == "" || was == p.pf.EswitchMode || !p.wrote(record.EswitchMode, op.EswitchMode(p.pf.EswitchMode)) {
		return nil
	}
	steps, _ := p.setMode(p.eswitch(), spec.EswitchMode(was), leftReason, needs)
	return steps
}

// resetDrivers gives the VFs that stay back to the kernel's own driver.
func (p *port) resetDrivers() []Step {
	var steps []Step
	for i := range p.pf.VFs {
		vf := &p.pf.VFs[i]
		if vf.DriverOverride != "" && vf.DriverOverride == p.record.Made.Overrides[vf.Index] {
			steps = append(steps, p.handBack(vf)...)
		}
	}
	return steps
}

func (p *port) resetAutoProbe(needs []string) []Step {
	now, was := op.Flag(p.pf.AutoProbe), op.Flag(p.record.Made.AutoProbe)
	if was == now || !p.wrote(record.AutoProbe, now) {
		return nil
	}
	s := p.setAutoProbe(now, was)
	s.Reason, s.Needs = leftReason, needs
	return []Step{s}
}

func (p *port) resetMTU(needs []string) []Step {
	was := p.record.Made.MTU
	if len(p.pf.Netdevs) == 0 || was == 0 || was == p.pf.Netdevs[0].MTU || !p.wrote(record.MTU, op.MTU(p.pf.Netdevs[0].MTU)) {
		return nil
	}
	s := p.setMTU(0, was)
	s.Reason, s.Needs = leftReason, needs
	return []Step{p.waitingForAll(s)}
}

// resetVFMTUs lowers the MTU of VFs that stay: they cannot keep more than their PF.
func (p *port) resetVFMTUs() []Step {
	var steps []Step
	was := p.record.Made.MTU
	for i := range p.pf.VFs {
		vf := &p.pf.VFs[i]
		if len(vf.Netdevs) == 0 || vf.Netdevs[0].MTU <= was || p.in.Use.Of(vf.Address).Busy() {
			continue
		}
		s := p.setVFMTU(vf.Index, vf.Netdevs[0].Name, vf.Netdevs[0].MTU, was)
		s.Reason = leftReason
		steps = append(steps, s)
	}
	return steps
}
