package use

import (
	"fmt"
	"slices"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/nic"
)

// Evidence is all that is known about who holds what.
type Evidence struct {
	Snapshot *inventory.Snapshot
	Kubelet  Kubelet
	// Now is when the kubelet was asked. The zero time is that of a kubelet that has
	// just come up.
	Now time.Time
	// KubeletSeen is true when a kubelet has been seen during this boot, in
	// any way: its sockets, an answer, a registration.
	KubeletSeen bool
	Notes       []Note
	// Given are devices that pods are known to have had, also in the boot before: the
	// kubelet lets its pods have them again without an Allocate.
	Given []string
	// Offered are the devices that our pools have or had during this boot, by ID; nil
	// when that is not known, and then it may be any.
	Offered map[string]bool
	// Open are devices that a process has open or that could not be asked about,
	// by PCI address (see VFIO.OpenVFs).
	Open map[string]Answer
}

// Judge decides for every device of the snapshot whether it is free, by the rule in
// the package documentation: PFs, VFs and other functions by PCI address,
// subfunctions by name.
func Judge(ev Evidence) Set {
	set := Set{Devices: make(map[string]Status)}
	if ev.Snapshot == nil {
		return set
	}
	j := newJudge(&ev)
	for i := range ev.Snapshot.PFs {
		pf := &ev.Snapshot.PFs[i]
		set.Devices[pf.Address] = j.device(pf.Address)
		for k := range pf.VFs {
			set.Devices[pf.VFs[k].Address] = j.vf(&pf.VFs[k])
		}
	}
	for i := range ev.Snapshot.Others {
		id := ev.Snapshot.Others[i].Address
		set.Devices[id] = j.device(id)
	}
	for i := range ev.Snapshot.Subfunctions {
		id := ev.Snapshot.Subfunctions[i].Name
		set.Devices[id] = j.device(id)
	}
	return set
}

// judge is the evidence by device.
type judge struct {
	*Evidence
	notes   map[string][]Note
	entries map[string][]Holder
	given   map[string]bool
}

func newJudge(ev *Evidence) *judge {
	j := &judge{
		Evidence: ev, entries: ev.Kubelet.Entries(ev.KubeletSeen, ev.Now),
		notes: make(map[string][]Note, len(ev.Notes)), given: make(map[string]bool, len(ev.Given)),
	}
	for _, n := range ev.Notes {
		j.notes[n.Device] = append(j.notes[n.Device], n)
	}
	for _, id := range ev.Given {
		j.given[id] = true
	}
	return j
}

// vf judges a VF, of which also the kernel shows who has it.
func (j *judge) vf(vf *inventory.VF) Status {
	id := vf.Address
	if listed := j.Kubelet.Held[id]; len(listed) > 0 { // the pod that the kubelet lists is the whole answer
		return Status{State: Held, Holders: slices.Clone(listed)}
	}
	if holders := append(j.kernelHolders(vf), j.unlisted(id)...); len(holders) > 0 {
		return Status{State: Held, Holders: holders}
	}
	if unknown := j.Snapshot.HostUnknown[id]; unknown != "" {
		return unknownBy(id, "the kernel to say whether the host's network uses VF %d (%s): %s", vf.Index, id, unknown)
	}
	return j.unnamed(id)
}

// device judges what is no VF: by what the kubelet and we have written down. Such a
// device has a driver, an interface and the host's network for reasons of its own.
func (j *judge) device(id string) Status {
	if listed := j.Kubelet.Held[id]; len(listed) > 0 {
		return Status{State: Held, Holders: slices.Clone(listed)}
	}
	if holders := append(j.open(id, id), j.unlisted(id)...); len(holders) > 0 {
		return Status{State: Held, Holders: holders}
	}
	if offered := j.Offered == nil || j.Offered[id] || j.given[id]; !offered {
		return Status{State: Free}
	}
	return j.unnamed(id)
}

// unlisted is who has a device that List does not name, by the checkpoint and by our
// notes. A note says less of an allocation that the checkpoint has.
func (j *judge) unlisted(id string) []Holder {
	out := slices.Clone(j.entries[id])
	for i := range j.notes[id] {
		n := &j.notes[id][i]
		if n.in(j.entries[id]) {
			continue
		}
		h := heldBy(id, EvidenceAllocation, "the pod that %s was allocated to at %s, which the kubelet does not list yet",
			id, n.At.UTC().Format(time.RFC3339))
		h.Resource = n.Resource
		out = append(out, h)
	}
	return out
}

// unnamed judges a device that no evidence names.
func (j *judge) unnamed(id string) Status {
	k := &j.Kubelet
	switch {
	case !k.Answered && (j.KubeletSeen || k.seen()):
		return unknownBy(id, "the kubelet to say who holds what (%s)", k.Err)
	case k.Answered && !k.Warm(j.Now) && k.Checkpoint.Err != nil && j.given[id]:
		return unknownBy(id, "the kubelet, which has just started, to have its pods again (its checkpoint cannot be read: %v)", k.Checkpoint.Err)
	}
	return Status{State: Free}
}

func unknownBy(id, format string, args ...any) Status {
	return Status{State: Unknown, Holders: []Holder{heldBy(id, EvidenceNone, format, args...)}}
}

func heldBy(id string, kind EvidenceKind, format string, args ...any) Holder {
	return Holder{Device: id, Evidence: kind, Text: fmt.Sprintf(format, args...)}
}

// kernelHolders is what the machine shows of who has the VF.
func (j *judge) kernelHolders(vf *inventory.VF) []Holder {
	name := fmt.Sprintf("VF %d (%s)", vf.Index, vf.Address)
	out := j.open(vf.Address, name)
	if len(out) == 0 && NetdevAway(&vf.Function) {
		out = append(out, heldBy(vf.Address, EvidenceKernel, "a network namespace that VF %d (%s, driver %s) was moved to", vf.Index, vf.Address, vf.Driver))
	}
	if vf.HostUse != "" {
		out = append(out, heldBy(vf.Address, EvidenceHost, "the host, whose network uses %s: it %s", name, vf.HostUse))
	}
	return out
}

// open is who has the device open, if anybody has or may have.
func (j *judge) open(id, name string) []Holder {
	a, asked := j.Open[id]
	switch {
	case asked && a.State == Open:
		return []Holder{heldBy(id, EvidenceOpen, "a process that has %s open (%s)", name, a)}
	case asked && a.State != Closed:
		return []Holder{heldBy(id, EvidenceOpen, "an answer whether a process has %s open (%s)", name, a)}
	}
	return nil
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
