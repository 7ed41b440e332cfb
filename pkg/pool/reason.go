package pool

// Reason is why a device cannot be allocated; the zero value is that it can.
type Reason struct {
	Cause Cause
	// Text is for people.
	Text string
}

// Cause is a reason in one word, one of a fixed few: what a metric can count by.
// These are all that there are (docs/operations.md).
type Cause string

const (
	CausePFDown         Cause = "pf-down"           // the PF's interface is administratively down
	CauseNoLink         Cause = "no-link"           // the PF has no carrier
	CauseVFLinkDisabled Cause = "vf-link-disabled"  // by the VF's own setting
	CausePCIeErrors     Cause = "pcie-errors"       // the error counters rose lately
	CauseWaiting        Cause = "change-waiting"    // a change waits for the device's holder
	CauseNoInterface    Cause = "interface-missing" // bound, but no interface to be seen
	CauseOpen           Cause = "in-use"            // a process of no known pod has it open
	CauseUnfinished     Cause = "not-configured"    // work is left on the device
	CauseHeldElsewhere  Cause = "held-elsewhere"    // a pod has it under another resource name
	CauseUnusable       Cause = "unusable"          // it cannot be handed out as it is
)

// Unusable is the reason of a device that cannot be handed out as it is, none for
// "".
func Unusable(text string) Reason {
	if text == "" {
		return Reason{}
	}
	return Reason{Cause: CauseUnusable, Text: text}
}
