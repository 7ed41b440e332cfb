package terms

import (
	"strconv"

	"github.com/talos-sriov/talos-sriov/pkg/spec"
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
	DisruptReset     Disruption = "vf-reset"     // its VFs lose their driver for a moment
	DisruptDestroyed Disruption = "vf-destroyed" // its VFs cease to exist
)

// Problem is something a person has to know, and what they can do.
type Problem struct {
	Pos  spec.Pos `json:"pos,omitzero" yaml:"pos,omitempty"`
	PF   string   `json:"pf,omitempty" yaml:"pf,omitempty"`
	VFs  []int    `json:"vfs,omitempty" yaml:"vfs,omitempty"`
	Msg  string   `json:"msg" yaml:"msg"`
	Hint string   `json:"hint,omitempty" yaml:"hint,omitempty"`
	// Pending is true when the cure is to wait: the kernel's own event will bring
	// it (a driver not loaded yet, a PF not there yet).
	Pending bool `json:"pending,omitempty" yaml:"pending,omitempty"`
	// Settling is true of a pending problem that is normally over within seconds (udev
	// loads a driver, a driver makes its interface): it is news only if it lasts.
	Settling bool `json:"settling,omitempty" yaml:"settling,omitempty"`
	// Partial is true when everything else that the entry says is in force anyway
	// (one attribute that the driver refuses).
	Partial bool `json:"partial,omitempty" yaml:"partial,omitempty"`
}

// Count is "1 VF" or "4 VFs".
func Count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}
