package use

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/nic"
)

// Kubelet is what the pod-resources socket said, or why it said nothing.
type Kubelet struct {
	// Answered is true when a List went through.
	Answered bool
	// Since is when this kubelet first answered; a kubelet that has just come
	// up may not have restored its assignments yet.
	Since time.Time
	// Held are the assignments of running pods, by device ID.
	Held map[string][]Holder
	// Err says why not Answered, in words.
	Err string
}

// Note is our own record of an Allocate call.
type Note struct {
	Device string    `json:"device"`
	At     time.Time `json:"at"`
	// Listed is when the kubelet that runs now first listed the device as
	// assigned, or else an earlier one; nil when none has yet.
	Listed *time.Time `json:"listed,omitempty"`
}

// Evidence is all that is known about who holds what.
type Evidence struct {
	Snapshot *inventory.Snapshot
	Kubelet  Kubelet
	// KubeletSeen is true when a kubelet has been seen during this boot, in
	// any way: its sockets, an answer, a registration.
	KubeletSeen bool
	Notes       []Note
	// Open are devices that a process has open or that could not be asked about,
	// by PCI address (see VFIO.OpenVFs).
	Open map[string]Answer
}

// Judge decides for every VF of the snapshot whether it is free, by the rule in
// the package documentation.
func Judge(ev Evidence) Set {
	set := Set{Devices: make(map[string]Status)}
	if ev.Snapshot == nil {
		return set
	}
	notes := make(map[string]Note, len(ev.Notes))
	for _, n := range ev.Notes {
		notes[n.Device] = n
	}
	for i := range ev.Snapshot.PFs {
		for j := range ev.Snapshot.PFs[i].VFs {
			vf := &ev.Snapshot.PFs[i].VFs[j]
			set.Devices[vf.Address] = judge(&ev, vf, notes)
		}
	}
	return set
}

func judge(ev *Evidence, vf *inventory.VF, notes map[string]Note) Status {
	listed := ev.Kubelet.Held[vf.Address]
	holders := slices.Clone(listed)
	if why := kernelEvidence(ev, vf); why != "" && len(listed) == 0 {
		holders = append(holders, Holder{Device: vf.Address, Source: SourceKernel, Evidence: why})
	}
	if why := hostEvidence(vf); why != "" && len(listed) == 0 {
		holders = append(holders, Holder{Device: vf.Address, Source: SourceKernel, Evidence: why})
	}
	if n, ok := notes[vf.Address]; ok && len(listed) == 0 {
		holders = append(holders, Holder{
			Device: vf.Address, Source: SourceNote,
			Evidence: fmt.Sprintf("the pod that %s was allocated to at %s, which the kubelet does not list yet",
				vf.Address, n.At.UTC().Format(time.RFC3339)),
		})
	}
	switch unknown := ev.Snapshot.HostUnknown[vf.Address]; {
	case len(holders) > 0:
		return Status{State: Held, Holders: holders}
	case unknown != "":
		return Status{State: Unknown, Holders: []Holder{{
			Device: vf.Address, Source: SourceKernel,
			Evidence: fmt.Sprintf("the kernel to say whether the host's network uses VF %d (%s): %s", vf.Index, vf.Address, unknown),
		}}}
	case ev.Kubelet.Answered, !ev.KubeletSeen:
		return Status{State: Free}
	default:
		return Status{State: Unknown, Holders: []Holder{{
			Device: vf.Address, Source: SourcePodResources,
			Evidence: fmt.Sprintf("the kubelet to say who holds what (%s)", ev.Kubelet.Err),
		}}}
	}
}

// kernelEvidence says what in the kernel shows that somebody has the VF.
func kernelEvidence(ev *Evidence, vf *inventory.VF) string {
	if a, ok := ev.Open[vf.Address]; ok && a.State != Closed {
		if a.State == Open {
			return fmt.Sprintf("a process that has VF %d (%s) open (%s)", vf.Index, vf.Address, a)
		}
		return fmt.Sprintf("an answer whether a process has VF %d (%s) open (%s)", vf.Index, vf.Address, a)
	}
	if NetdevAway(&vf.Function) {
		return fmt.Sprintf("a network namespace that VF %d (%s, driver %s) was moved to", vf.Index, vf.Address, vf.Driver)
	}
	return ""
}

// hostEvidence says how the host itself uses the VF. A pod that the kubelet
// lists goes before it: the VF is the pod's, whatever the host still has on it.
func hostEvidence(vf *inventory.VF) string {
	if vf.HostUse == "" {
		return ""
	}
	return fmt.Sprintf("the host, whose network uses VF %d (%s): it %s", vf.Index, vf.Address, vf.HostUse)
}

// NetdevAway reports whether a network function has a driver that makes netdevs
// but no netdev in the host's network namespace: it is in a pod. It is also
// true in the moment between a driver's probe and its netdev, which errs on the
// safe side and passes.
func NetdevAway(f *inventory.Function) bool {
	if !strings.HasPrefix(f.Class, "02") || len(f.Netdevs) > 0 || f.VDPA != nil {
		return false
	}
	return f.Driver != "" && !WithoutNetdev(f.Driver)
}

// WithoutNetdev reports whether functions of the driver have no netdev: they are
// for user space, or for nobody.
func WithoutNetdev(driver string) bool { return driver == "pci-stub" || nic.Userspace(driver) }

// Grace is how long the kubelet's silence about a device is not believed: after
// an allocation until the pod is admitted, and after a kubelet's start until it
// has its assignments back.
const Grace = 2 * time.Minute

// Settle returns the notes that are still needed. A note goes when the kubelet
// listed its device before and does not any more, or did not list it within
// Grace; a kubelet that does not answer removes nothing, and one that has not
// answered for Grace only what it had listed itself: it may not have the
// assignments of its predecessor back yet.
func Settle(notes []Note, k Kubelet, now time.Time) []Note {
	if !k.Answered {
		return notes
	}
	warm := now.Sub(k.Since) >= Grace
	var keep []Note
	for _, n := range notes {
		if len(k.Held[n.Device]) > 0 {
			if n.Listed == nil || n.Listed.Before(k.Since) {
				at := now
				n.Listed = &at
			}
			keep = append(keep, n)
			continue
		}
		switch {
		case n.Listed != nil && !n.Listed.Before(k.Since): // by this same kubelet
			continue
		case warm && (n.Listed != nil || now.Sub(n.At) >= Grace):
			continue
		}
		keep = append(keep, n)
	}
	return keep
}

// Unlisted reports whether any note is not confirmed by the kubelet yet.
func Unlisted(notes []Note) bool {
	for _, n := range notes {
		if n.Listed == nil {
			return true
		}
	}
	return false
}
