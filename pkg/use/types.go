package use

import (
	"fmt"
	"strings"
)

// Source is how a holder is known.
type Source string

const (
	SourcePodResources Source = "pod-resources" // the kubelet's pod-resources List
	SourceKernel       Source = "kernel"        // what the kernel shows of the device
	SourceNote         Source = "allocation"    // our own note of an Allocate call
)

// Holder is who has a device, and how that is known. Namespace and Pod are
// empty when only the kernel knows that the device is taken.
type Holder struct {
	Device    string `json:"device" yaml:"device"` // PCI address of the VF
	Namespace string `json:"namespace,omitempty" yaml:"namespace,omitempty"`
	Pod       string `json:"pod,omitempty" yaml:"pod,omitempty"`
	Container string `json:"container,omitempty" yaml:"container,omitempty"`
	Source    Source `json:"source" yaml:"source"`
	// Evidence says in words what was seen, for the person who waits.
	Evidence string `json:"evidence,omitempty" yaml:"evidence,omitempty"`
}

// String names the holder as people do: `pod ns/name`, or the evidence when no
// pod is known.
func (h Holder) String() string {
	if h.Pod != "" {
		return "pod " + h.Namespace + "/" + h.Pod
	}
	if h.Evidence != "" {
		return h.Evidence
	}
	return fmt.Sprintf("an unknown holder of %s (%s)", h.Device, h.Source)
}

// State is what is known of one device.
type State int

const (
	// Unknown is the zero value, and counts as in use.
	Unknown State = iota
	Free
	Held
)

func (s State) String() string {
	switch s {
	case Free:
		return "free"
	case Held:
		return "held"
	default:
		return "unknown"
	}
}

// Status is one device's use.
type Status struct {
	State   State
	Holders []Holder
}

// Busy reports whether the device must be left alone.
func (s Status) Busy() bool { return s.State != Free }

// Set is what one look found: the use of each device by PCI address. The zero
// Set knows nothing, so everything counts as in use.
type Set struct {
	Devices map[string]Status
	// Why says why devices that are not in Devices are unknown.
	Why string
}

// Of returns the use of the device.
func (s Set) Of(address string) Status {
	st, ok := s.Devices[address]
	if !ok || (st.State == Unknown && len(st.Holders) == 0) {
		why := s.Why
		if why == "" {
			why = "nobody could be asked"
		}
		return Status{State: Unknown, Holders: []Holder{{
			Device: address, Evidence: "use of " + address + " is unknown: " + why,
		}}}
	}
	return st
}

// Names joins the holders for a message, each once, in order.
func Names(holders []Holder) string {
	var out []string
	seen := make(map[string]bool, len(holders))
	for _, h := range holders {
		if n := h.String(); !seen[n] {
			seen[n] = true
			out = append(out, n)
		}
	}
	return strings.Join(out, ", ")
}
