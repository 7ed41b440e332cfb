package use

import (
	"fmt"
	"strings"
)

// EvidenceKind is how a holder is known.
type EvidenceKind string

const (
	// EvidencePodResources: the kubelet's pod-resources List names the container.
	EvidencePodResources EvidenceKind = "pod-resources"
	// EvidenceAllocation: our own note of an Allocate call, which the kubelet has
	// not settled.
	EvidenceAllocation EvidenceKind = "allocation"
	// EvidenceKernel: the VF's netdev is in another network namespace.
	EvidenceKernel EvidenceKind = "kernel"
	// EvidenceOpen: a process has the VF open through vfio, or the kernel could not
	// be asked.
	EvidenceOpen EvidenceKind = "vfio"
	// EvidenceHost: the host's own network uses the VF.
	EvidenceHost EvidenceKind = "host"
	// EvidenceNone: it is not known whether anybody has it. The holder is then who
	// or what did not answer.
	EvidenceNone EvidenceKind = "none"
)

// EvidenceKinds are all kinds.
func EvidenceKinds() []EvidenceKind {
	return []EvidenceKind{
		EvidencePodResources, EvidenceAllocation, EvidenceKernel, EvidenceOpen, EvidenceHost, EvidenceNone,
	}
}

// OfMachine reports whether evidence of the kind is what the machine shows, of
// which it is not known whose it is.
func (k EvidenceKind) OfMachine() bool {
	return k == EvidenceKernel || k == EvidenceOpen || k == EvidenceHost
}

// Holder is who has a device, and how that is known. Namespace and Pod are
// empty when only the machine shows that the device is taken.
type Holder struct {
	Device    string // PCI address of the VF
	Namespace string
	Pod       string
	Container string
	Evidence  EvidenceKind
	// Text is what was seen, for the person who waits.
	Text string
}

// String names the holder as people do: `pod ns/name`, or what was seen when no
// pod is known.
func (h Holder) String() string {
	if h.Pod != "" {
		return "pod " + h.Namespace + "/" + h.Pod
	}
	if h.Text != "" {
		return h.Text
	}
	return fmt.Sprintf("an unknown holder of %s (%s)", h.Device, h.Evidence)
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

// Set is what one observation found: the use of each device by PCI address. The zero
// Set knows nothing, so everything counts as in use.
type Set struct {
	Devices map[string]Status
	// Why is why devices that are not in Devices are unknown.
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
			Device: address, Evidence: EvidenceNone, Text: "use of " + address + " is unknown: " + why,
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
