package plan

import (
	"github.com/talos-sriov/talos-sriov/pkg/record"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

// Plan is what has to be done to make the machine what the config says.
// It is pure data: computing it touches nothing.
type Plan struct {
	// PFs has one entry for each PF that the config selects, or that an
	// earlier run configured, sorted by address. PFs are independent of each
	// other and may be applied in parallel.
	PFs []PFPlan `json:"pfs" yaml:"pfs"`
	// Notices are entries of the config that select nothing and the like:
	// worth telling, not wrong.
	Notices []Problem `json:"notices,omitempty" yaml:"notices,omitempty"`
	// Problems are errors of the config against this machine that belong to
	// no PF (a required PF that is not there).
	Problems []Problem `json:"problems,omitempty" yaml:"problems,omitempty"`
	// Configured is true when a config is in force, and ForceTokens are all that
	// it gives, also for PFs that are not there.
	Configured  bool     `json:"-" yaml:"-"`
	ForceTokens []string `json:"-" yaml:"-"`
}

// PFPlan is the work on one PF. Steps run in order; a step whose Wait is not
// empty does not run now, and neither does any later step that needs it.
type PFPlan struct {
	Address string `json:"address" yaml:"address"`
	Name    string `json:"name" yaml:"name"`
	// Steps is empty when the PF is as the config says.
	Steps []Step `json:"steps,omitempty" yaml:"steps,omitempty"`
	// Problems are why (part of) the config is not in force on this PF.
	Problems []Problem `json:"problems,omitempty" yaml:"problems,omitempty"`
	Notices  []Problem `json:"notices,omitempty" yaml:"notices,omitempty"`
	// Withdraw are the addresses of the VFs that pools must stop offering,
	// because a step destroys or resets them: now, or when their holders are
	// gone. Sorted by index.
	Withdraw []string `json:"withdraw,omitempty" yaml:"withdraw,omitempty"`
	// ForceToken is the config's, until it is carried out.
	ForceToken string `json:"force,omitempty" yaml:"force,omitempty"`
	// Card is which card the PF is, and Found what it is like now: what a reset would
	// have to bring back. Both are for the record.
	Card  record.Card `json:"-" yaml:"-"`
	Found record.Made `json:"-" yaml:"-"`
	// Safe is true when the PF is seen not to carry the machine's network, now and
	// for some seconds: worth recording with the config's hash for the next early
	// start.
	Safe bool `json:"-" yaml:"-"`
	// Uplink is true when there is evidence that it is one.
	Uplink bool `json:"-" yaml:"-"`
	// Left is true when the PF left the config and its steps reset it.
	Left bool `json:"left,omitempty" yaml:"left,omitempty"`
	// Driver is the PF's driver, which a refusal is reported with.
	Driver string `json:"-" yaml:"-"`
	// Carrier is whether the PF's port had a link when the plan was made.
	Carrier bool `json:"-" yaml:"-"`
	// Entry is where the config's entry for this PF stands; zero for a PF
	// that left the config.
	Entry spec.Pos `json:"entry" yaml:"entry"`
}

// Problem is something a person has to know, and what they can do.
type Problem struct {
	Pos  spec.Pos `json:"pos,omitzero" yaml:"pos,omitempty"`
	PF   string   `json:"pf,omitempty" yaml:"pf,omitempty"`
	VFs  []int    `json:"vfs,omitempty" yaml:"vfs,omitempty"`
	Msg  string   `json:"msg" yaml:"msg"`
	Hint string   `json:"hint,omitempty" yaml:"hint,omitempty"`
	// Pending is true when the cure is to wait: the kernel's own event will
	// bring it (a driver not loaded yet, a PF not there yet).
	Pending bool `json:"pending,omitempty" yaml:"pending,omitempty"`
	// Partial is true when everything else that the entry says is in force all
	// the same (one attribute that the driver refuses).
	Partial bool `json:"partial,omitempty" yaml:"partial,omitempty"`
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
