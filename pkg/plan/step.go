package plan

import (
	"github.com/talos-sriov/talos-sriov/pkg/op"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// Action is how a step reads in a diff.
type Action string

const (
	ActionCreate Action = "create"
	ActionChange Action = "change"
	ActionRemove Action = "remove"
	ActionWait   Action = "wait" // writes nothing
)

// Disruption is the worst that a step does to those who use the PF, in
// ascending order.
type Disruption string

const (
	DisruptNone      Disruption = "none"
	DisruptLink      Disruption = "link"         // the PF's own link may go down for a moment
	DisruptReset     Disruption = "vf-reset"     // the VFs lose their driver for a moment
	DisruptDestroyed Disruption = "vf-destroyed" // the VFs cease to exist
)

// Step is one operation, with why it is done, whom it disturbs, and what it waits
// for.
type Step struct {
	// ID is unique in the plan, and the same in every plan that has this step:
	// "<pf>/<kind>" or "<pf>/vf<index>/<kind>", with "=<value>" where one kind
	// occurs twice.
	ID string
	Op op.Op
	// Reason is why, for people.
	Reason     string
	Disruption Disruption
	// Wait are the holders that the step waits for. It does not run while this
	// is not empty.
	Wait []use.Holder
	// Needs are the IDs of earlier steps of this plan without which this one
	// must not run.
	Needs []string
	// Forced is set when holders were there and the operator forced the step.
	Forced []use.Holder
	// Optional is set when the config allows the driver to refuse it.
	Optional bool
	// Key is the config's key of a VF attribute ("vlan"), "" for other steps:
	// what a refusal is reported by.
	Key string
	// Pos is where the VF's group stands, zero for steps of the PF.
	Pos spec.Pos
}

// Action is how the step reads in a diff.
func (s *Step) Action() Action {
	switch o := s.Op.(type) {
	case op.SetNumVFs:
		if o.N == 0 {
			return ActionRemove
		}
		return ActionCreate
	case op.AddVDPA:
		return ActionCreate
	case op.DeleteVDPA:
		return ActionRemove
	}
	if !s.Op.Writes() {
		return ActionWait
	}
	return ActionChange
}

// Writes reports whether the step changes anything on the machine.
func (s *Step) Writes() bool { return s.Op.Writes() }

// Held says for each step that cannot run yet, by ID, which step's holders it
// waits for: its own, or those of a step that it needs.
func Held(f *PFPlan) map[string]string { return heldBy(f.Steps) }

func heldBy(steps []Step) map[string]string {
	held := make(map[string]string)
	for i := range steps {
		s := &steps[i]
		if len(s.Wait) > 0 {
			held[s.ID] = s.ID
			continue
		}
		for _, n := range s.Needs {
			if by := held[n]; by != "" {
				held[s.ID] = by
				break
			}
		}
	}
	return held
}
