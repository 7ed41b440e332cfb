package plan

import (
	"github.com/talos-sriov/talos-sriov/pkg/op"
	"github.com/talos-sriov/talos-sriov/pkg/plan/terms"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// What a step does, whom it disturbs, and what a person has to know.
type (
	Action     = terms.Action
	Disruption = terms.Disruption
	Problem    = terms.Problem
)

// Disruptions, in ascending order.
const (
	DisruptNone      = terms.DisruptNone
	DisruptLink      = terms.DisruptLink
	DisruptReset     = terms.DisruptReset
	DisruptDestroyed = terms.DisruptDestroyed
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
	// Subfunctions are those, by name, that cease to exist.
	Subfunctions []string
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
			return terms.ActionRemove
		}
		return terms.ActionCreate
	case op.AddVDPA:
		return terms.ActionCreate
	case op.DeleteVDPA:
		return terms.ActionRemove
	}
	if !s.Op.Writes() {
		return terms.ActionWait
	}
	return terms.ActionChange
}

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
