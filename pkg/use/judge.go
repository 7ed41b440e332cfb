package use

import (
	"fmt"
	"slices"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/nic"
)

// Kubelet is what the pod-resources socket answered, or why it did not.
type Kubelet struct {
	// Answered is true when a List went through.
	Answered bool
	// Since is when this kubelet first answered; a kubelet that has just come
	// up may not have restored its assignments yet.
	Since time.Time
	// Held are the assignments of running pods, by device ID.
	Held map[string][]Holder
	// Err is why not Answered, as text.
	Err string
}

// Note is our own record of an Allocate call.
type Note struct {
	Device string `json:"device"`
	// Resource is the resource name under which it was allocated, "" in notes of
	// versions that did not write it.
	Resource string    `json:"resource,omitempty"`
	At       time.Time `json:"at"`
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
		set.Devices[ev.Snapshot.PFs[i].Address] = judgePF(&ev, ev.Snapshot.PFs[i].Address, notes)
		for j := range ev.Snapshot.PFs[i].VFs {
			vf := &ev.Snapshot.PFs[i].VFs[j]
			set.Devices[vf.Address] = judge(&ev, vf, notes)
		}
	}
	for i := range ev.Snapshot.Subfunctions {
		name := ev.Snapshot.Subfunctions[i].Name
		set.Devices[name] = judgePF(&ev, name, notes)
	}
	return set
}

// judgePF decides for a PF or subfunction: it is free unless somebody names it.
func judgePF(ev *Evidence, address string, notes map[string]Note) Status {
	holders := slices.Clone(ev.Kubelet.Held[address])
	if n, ok := notes[address]; ok && len(holders) == 0 {
		holders = append(holders, Holder{Device: address, Evidence: EvidenceAllocation, Text: fmt.Sprintf("the pod that %s was allocated to at %s, which the kubelet does not list yet",
			address, n.At.UTC().Format(time.RFC3339))})
	}
	if len(holders) > 0 {
		return Status{State: Held, Holders: holders}
	}
	return Status{State: Free}
}

func judge(ev *Evidence, vf *inventory.VF, notes map[string]Note) Status {
	holders := slices.Clone(ev.Kubelet.Held[vf.Address])
	if len(holders) == 0 { // the pod that the kubelet lists is the whole answer
		holders = append(holders, kernelHolders(ev, vf)...)
		if n, ok := notes[vf.Address]; ok {
			holders = append(holders, heldBy(vf, EvidenceAllocation, "the pod that %s was allocated to at %s, which the kubelet does not list yet",
				vf.Address, n.At.UTC().Format(time.RFC3339)))
		}
	}
	switch unknown := ev.Snapshot.HostUnknown[vf.Address]; {
	case len(holders) > 0:
		return Status{State: Held, Holders: holders}
	case unknown != "":
		return Status{State: Unknown, Holders: []Holder{heldBy(vf, EvidenceNone,
			"the kernel to say whether the host's network uses VF %d (%s): %s", vf.Index, vf.Address, unknown)}}
	case ev.Kubelet.Answered, !ev.KubeletSeen:
		return Status{State: Free}
	default:
		return Status{State: Unknown, Holders: []Holder{heldBy(vf, EvidenceNone,
			"the kubelet to say who holds what (%s)", ev.Kubelet.Err)}}
	}
}

func heldBy(vf *inventory.VF, kind EvidenceKind, format string, args ...any) Holder {
	return Holder{Device: vf.Address, Evidence: kind, Text: fmt.Sprintf(format, args...)}
}

// kernelHolders is what the machine shows of who has the VF.
func kernelHolders(ev *Evidence, vf *inventory.VF) []Holder {
	var out []Holder
	a, asked := ev.Open[vf.Address]
	switch {
	case asked && a.State == Open:
		out = append(out, heldBy(vf, EvidenceOpen, "a process that has VF %d (%s) open (%s)", vf.Index, vf.Address, a))
	case asked && a.State != Closed:
		out = append(out, heldBy(vf, EvidenceOpen, "an answer whether a process has VF %d (%s) open (%s)", vf.Index, vf.Address, a))
	case NetdevAway(&vf.Function):
		out = append(out, heldBy(vf, EvidenceKernel, "a network namespace that VF %d (%s, driver %s) was moved to", vf.Index, vf.Address, vf.Driver))
	}
	if vf.HostUse != "" {
		out = append(out, heldBy(vf, EvidenceHost, "the host, whose network uses VF %d (%s): it %s", vf.Index, vf.Address, vf.HostUse))
	}
	return out
}

// NetdevAway reports whether a network function has a driver that makes netdevs
// but no netdev in the host's network namespace: it is in a pod. It is also
// true in the moment between a driver's probe and its netdev, which errs on the
// safe side and passes.
func NetdevAway(f *inventory.Function) bool {
	if !f.IsNetwork() || len(f.Netdevs) > 0 || f.VDPA != nil {
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
//
// before are the notes of when the kubelet was asked. The answer says nothing of a
// note that is none of them: what it lists may be the pod that had the device before,
// and what it does not list may have been allocated since.
func Settle(notes, before []Note, k Kubelet, now time.Time) []Note {
	if !k.Answered {
		return notes
	}
	warm := now.Sub(k.Since) >= Grace
	asked := make(map[string]Note, len(before))
	for _, n := range before {
		asked[n.Device] = n
	}
	var keep []Note
	for _, n := range notes {
		if was, ok := asked[n.Device]; !ok || !n.same(was) {
			keep = append(keep, n)
			continue
		}
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

// same reports whether the notes are one, and nothing was learned of it in between.
func (n Note) same(o Note) bool {
	if n.Device != o.Device || !n.At.Equal(o.At) || (n.Listed == nil) != (o.Listed == nil) {
		return false
	}
	return n.Listed == nil || n.Listed.Equal(*o.Listed)
}

// Unlisted reports whether any note is not confirmed by the kubelet yet.
func Unlisted(notes []Note) bool {
	return slices.ContainsFunc(notes, func(n Note) bool { return n.Listed == nil })
}
