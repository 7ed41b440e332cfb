package plan

import (
	"github.com/talos-sriov/talos-sriov/pkg/record"
	"github.com/talos-sriov/talos-sriov/pkg/selection"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

// Plan is what has to be done to make the machine what the config says.
// It is pure data: computing it touches nothing.
type Plan struct {
	// PFs has one entry for each PF that the config selects, or that an
	// earlier run configured, sorted by address. PFs are independent of each
	// other and may be applied in parallel.
	PFs []PFPlan
	// Notices are entries of the config that select nothing and the like:
	// worth telling, not wrong.
	Notices []Problem
	// Problems are errors of the config against this machine that belong to
	// no PF (a required PF that is not there).
	Problems []Problem
	// Configured is true when a config is in force, and ForceTokens are all that
	// it gives, also for PFs that are not there.
	Configured  bool
	ForceTokens []string
	// Bound says which entry of which config governs each PF: what pools must go by
	// too.
	Bound selection.Result
}

// PFPlan is the work on one PF. Steps run in order; a step whose Wait is not
// empty does not run now, and neither does any later step that needs it.
type PFPlan struct {
	Address string
	Name    string
	// Steps is empty when the PF is as the config says.
	Steps []Step
	// Problems are why (part of) the config is not in force on this PF.
	Problems []Problem
	Notices  []Problem
	// Withdraw are the addresses of what pools must stop offering: of the PF itself
	// when its steps wait for whoever has it, then of the VFs that a step destroys or
	// resets, now or when their holders are gone, sorted by index.
	Withdraw []string
	// ForceToken is the config's, until it is carried out.
	ForceToken string
	// Card is which card the PF is, and Found what it is like now: what a reset would
	// have to bring back. Both are for the record.
	Card  record.Card
	Found record.Made
	// Safe is true when the PF is seen not to carry the machine's network, now and
	// for some seconds: worth recording with the config's hash for the next early
	// start.
	Safe bool
	// Uplink is true when there is evidence that it is one.
	Uplink bool
	// Left is true when the PF left the config and its steps reset it.
	Left bool
	// Driver is the PF's driver, which a refusal is reported with.
	Driver string
	// Carrier is whether the PF's port had a link when the plan was made.
	Carrier bool
	// Entry is where the newest config's entry for this PF stands; zero for a PF
	// that left the config.
	Entry spec.Pos
	// Governed says which config governs the PF; zero for one that left the config.
	Governed Governed
}

// Done reports whether nothing is left to do and nothing is wrong.
func (p *Plan) Done() bool {
	if len(p.Problems) > 0 {
		return false
	}
	for i := range p.PFs {
		if len(p.PFs[i].Steps) > 0 || len(p.PFs[i].Problems) > 0 {
			return false
		}
	}
	return true
}

// PF returns the plan of the PF with the address, or nil.
func (p *Plan) PF(address string) *PFPlan {
	for i := range p.PFs {
		if p.PFs[i].Address == address {
			return &p.PFs[i]
		}
	}
	return nil
}
