package use

import (
	"cmp"

	"github.com/talos-sriov/talos-sriov/pkg/use/holder"
)

// Holder is who has a device, and how that is known; EvidenceKind is the latter.
type (
	Holder       = holder.Holder
	EvidenceKind = holder.Evidence
)

const (
	// EvidencePodResources: the kubelet's pod-resources List names the container.
	EvidencePodResources EvidenceKind = "pod-resources"
	// EvidenceCheckpoint: the kubelet's checkpoint names the pod, and List does not
	// name the device.
	EvidenceCheckpoint EvidenceKind = "checkpoint"
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

// OfMachine reports whether evidence of the kind is what the machine shows, of
// which it is not known whose it is.
func OfMachine(k EvidenceKind) bool {
	return k == EvidenceKernel || k == EvidenceOpen || k == EvidenceHost
}

// State is what is known of one device.
type State int

const (
	// Unknown is the zero value, and counts as in use.
	Unknown State = iota
	Free
	Held
)

// Status is one device's use.
type Status struct {
	State   State
	Holders []Holder
}

// Busy reports whether the device must be left alone.
func (s Status) Busy() bool { return s.State != Free }

// Set is what one observation found: the use of each device by PCI address, of
// subfunctions by name. The zero Set knows nothing, so everything counts as in use.
type Set struct {
	Devices map[string]Status
	// Why is why devices that are not in Devices are unknown.
	Why string
}

// Of returns the use of the device.
func (s Set) Of(address string) Status {
	st, ok := s.Devices[address]
	if !ok || (st.State == Unknown && len(st.Holders) == 0) {
		return Status{State: Unknown, Holders: []Holder{{
			Device: address, Evidence: EvidenceNone, Text: "use of " + address + " is unknown: " + cmp.Or(s.Why, "nobody could be asked"),
		}}}
	}
	return st
}

// Names joins the holders for a message, each once, in order.
func Names(holders []Holder) string { return holder.Names(holders) }
