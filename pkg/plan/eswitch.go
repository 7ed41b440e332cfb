package plan

import (
	"fmt"

	"github.com/talos-sriov/talos-sriov/pkg/op"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

// eswitchPossible checks the mode against what the driver has. A driver without
// an eswitch is in legacy mode by nature.
func (w *work) eswitchPossible() bool {
	if w.entry.EswitchMode != spec.EswitchSwitchdev || w.pf.EswitchMode != "" {
		return true
	}
	if w.pf.Driver == "" {
		return true
	}
	w.problem(Problem{
		Msg:  fmt.Sprintf("the config says eswitchMode switchdev, but the driver %s shows no eswitch for this PF", w.pf.Driver),
		Hint: "remove eswitchMode; switchdev needs a card and driver that have it (ConnectX from 5 on, Intel E810), and the firmware's SR-IOV setting on",
	})
	return false
}

// eswitch is the PF's mode now.
func (p *port) eswitch() spec.EswitchMode {
	if p.pf.EswitchMode == "" {
		return spec.EswitchLegacy
	}
	return spec.EswitchMode(p.pf.EswitchMode)
}

// newMode is the eswitch mode that has to be set, "" when it is right.
func (p *port) newMode() spec.EswitchMode {
	if p.entry.EswitchMode == "" || p.entry.EswitchMode == p.eswitch() {
		return ""
	}
	return p.entry.EswitchMode
}

// modeReason is why an entry wants the eswitch mode.
func (p *port) modeReason(mode spec.EswitchMode) string {
	if p.entry.EswitchMode != mode {
		return "the driver " + p.pf.Driver + " makes VFs in legacy mode"
	}
	return "the config says eswitchMode " + string(mode)
}

// setMode plans a change of the eswitch mode, with what switchdev wants before
// and after it, and returns the ID of the change itself too.
func (p *port) setMode(from, to spec.EswitchMode, reason string, needs []string) ([]Step, string) {
	var steps []Step
	if to == spec.EswitchSwitchdev && p.nic.SteeringMode != "" {
		s := p.step(op.SetSteeringMode{OnPF: p.onPF(), Mode: op.SteeringMode(p.nic.SteeringMode)}, "")
		s.Reason, s.Needs, s.Optional = "switchdev offloads best with it", needs, true
		steps = append(steps, s)
	}
	o := op.SetEswitchMode{OnPF: p.onPF(), Found: op.Found{Was: op.EswitchMode(from)}, Mode: op.EswitchMode(to)}
	s := p.step(o, o.Mode.String())
	s.Reason, s.Disruption, s.Needs = reason, DisruptLink, needs
	// Leaving switchdev does (mlx5_sf_esw_event in the kernel's mlx5 driver).
	s = p.deletesSFs(s)
	steps = append(steps, s)
	if to == spec.EswitchSwitchdev {
		steps = append(steps, p.tcOffload([]string{s.ID}))
	}
	return steps, s.ID
}

func (p *port) tcOffload(needs []string) Step {
	s := p.step(op.SetTCOffload{OnPF: p.onPF(), On: true}, "")
	s.Reason, s.Needs = "switchdev without it sends every packet through the CPU", needs
	return s
}
