package status

import (
	"slices"

	"github.com/talos-sriov/talos-sriov/pkg/plan/terms"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/use/holder"
)

// Plan is what has to be done to make a machine what the config says.
type Plan struct {
	PFs      []PFPlan  `json:"pfs" yaml:"pfs"`
	Notices  []Problem `json:"notices,omitempty" yaml:"notices,omitempty"`
	Problems []Problem `json:"problems,omitempty" yaml:"problems,omitempty"`
}

// PFPlan is the work on one PF.
type PFPlan struct {
	Address  string    `json:"address" yaml:"address"`
	Name     string    `json:"name" yaml:"name"`
	Steps    []Step    `json:"steps,omitempty" yaml:"steps,omitempty"`
	Problems []Problem `json:"problems,omitempty" yaml:"problems,omitempty"`
	Notices  []Problem `json:"notices,omitempty" yaml:"notices,omitempty"`
	// Withdraw are the addresses of the VFs that pools stop offering for a step.
	Withdraw []string `json:"withdraw,omitempty" yaml:"withdraw,omitempty"`
	// Force is the config's force token until it is acknowledged.
	Force string `json:"order,omitempty" yaml:"order,omitempty"`
	// Left is true when the PF left the config and its steps reset it.
	Left  bool     `json:"left,omitempty" yaml:"left,omitempty"`
	Entry spec.Pos `json:"entry" yaml:"entry"`
}

// What a step does, whom it disturbs, what a person has to know and who has a device
// are said in the words of those who decide.
type (
	Action     = terms.Action
	Disruption = terms.Disruption
	Problem    = terms.Problem
	Holder     = holder.Holder
)

// Step is one change of a plan. Object, From, To and Reason are for people.
type Step struct {
	// ID is unique in the plan, and the same in every plan that has this step.
	ID string `json:"id" yaml:"id"`
	// Kind is the stable name of the operation.
	Kind   string `json:"kind" yaml:"kind"`
	Action Action `json:"action" yaml:"action"`
	PF     string `json:"pf" yaml:"pf"`
	// VFs are the VFs that it is about or disturbs; nil when it is about the PF
	// alone.
	VFs []int `json:"vfs,omitempty" yaml:"vfs,omitempty,flow"`
	// Object is the kernel object, a path below /sys or "netlink enp1s0f0 vf 3
	// vlan".
	Object string `json:"path" yaml:"path"`
	// Shared is true when the object is not the VF's own, so that it does not say
	// which VF is meant.
	Shared bool `json:"shared,omitempty" yaml:"shared,omitempty"`
	// From is what was found, "" when nothing or not known; To is what will be.
	From       string     `json:"old" yaml:"old"`
	To         string     `json:"new" yaml:"new"`
	Reason     string     `json:"reason" yaml:"reason"`
	Disruption Disruption `json:"disruption" yaml:"disruption"`
	// Wait are the holders that the step waits for.
	Wait []Holder `json:"wait,omitempty" yaml:"wait,omitempty"`
	// Needs are the IDs of earlier steps without which this one does not run, and
	// BlockedBy is the one among those before it whose holders it waits for.
	Needs     []string `json:"needs,omitempty" yaml:"needs,omitempty,flow"`
	BlockedBy string   `json:"blockedBy,omitempty" yaml:"blockedBy,omitempty"`
	// Forced are holders that are not waited for, by force.
	Forced []Holder `json:"forced,omitempty" yaml:"forced,omitempty"`
	// Optional is true when the config allows the driver to refuse it.
	Optional bool `json:"optional,omitempty" yaml:"optional,omitempty"`
	// Key is the config's key of a VF attribute ("vlan"), "" for other steps.
	Key string `json:"key,omitempty" yaml:"key,omitempty"`
}

// Writes reports whether the step changes anything on the machine.
func (s *Step) Writes() bool { return s.Action != terms.ActionWait }

// Held reports whether the step cannot run before a holder is gone.
func (s *Step) Held() bool { return len(s.Wait) > 0 || s.BlockedBy != "" }

// Lasting reports whether any of the problems does not go away by itself.
func Lasting(list []Problem) bool {
	return slices.ContainsFunc(list, func(p Problem) bool { return !p.Pending })
}

// Failed reports whether something in the plan is wrong, and does not go away by
// itself.
func (p *Plan) Failed() bool {
	return len(p.Problems) > 0 || slices.ContainsFunc(p.PFs, func(f PFPlan) bool { return Lasting(f.Problems) })
}
