package use

import (
	"slices"
	"time"
)

// Note is our own record of an Allocate call. A device may have several.
type Note struct {
	// ID identifies the allocation, 0 in notes of versions that did not write it.
	ID     uint64 `json:"id,omitempty"`
	Device string `json:"device"`
	// Resource is the resource name under which it was allocated, "" in notes of
	// versions that did not write it.
	Resource string    `json:"resource,omitempty"`
	At       time.Time `json:"at"`
	// Listed is when the kubelet that runs now first listed the device as
	// assigned, or else an earlier one; nil when none has yet.
	Listed *time.Time `json:"listed,omitempty"`
}

// noteKey is which note a note is.
type noteKey struct {
	device string
	id     uint64
	at     int64
}

func (n *Note) key() noteKey { return noteKey{n.Device, n.ID, n.At.UnixNano()} }

// in reports whether any of the holders may have the device by the allocation that the
// note is of. What is listed under another resource name is another allocation.
func (n *Note) in(holders []Holder) bool {
	return slices.ContainsFunc(holders, func(h Holder) bool {
		return n.Resource == "" || h.Resource == "" || n.Resource == h.Resource
	})
}

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
// A note stays as long as an entry of the checkpoint counts for it: List leaves out
// what an init container has. Of a checkpoint that cannot be read it is not known
// whether it has one, and a note that was never listed stays.
//
// before are the notes of when the kubelet was asked. The answer says nothing of a
// note that is none of them: what it lists may be the pod that had the device before,
// and what it does not list may have been allocated since.
func Settle(notes, before []Note, k Kubelet, now time.Time) []Note {
	if !k.Answered {
		return notes
	}
	entries := k.Entries(true, now)
	asked := make(map[noteKey]Note, len(before))
	for _, n := range before {
		asked[n.key()] = n
	}
	var keep []Note
	for _, n := range notes {
		was, ok := asked[n.key()]
		switch {
		case !ok || !n.same(was):
		case n.in(k.Held[n.Device]):
			if n.Listed == nil || n.Listed.Before(k.Since) {
				at := now
				n.Listed = &at
			}
		case !n.in(entries[n.Device]) && n.ended(&k, now):
			continue
		}
		keep = append(keep, n)
	}
	return keep
}

// ended reports whether a note is of a pod that is gone, when neither List nor the
// checkpoint names its device.
func (n *Note) ended(k *Kubelet, now time.Time) bool {
	if n.Listed != nil {
		return !n.Listed.Before(k.Since) || k.Warm(now)
	}
	return k.Warm(now) && now.Sub(n.At) >= Grace && k.Checkpoint.Err == nil
}

// Equal reports whether the notes are one, and nothing was learned of it in between.
func (n Note) Equal(o Note) bool { return n.key() == o.key() && n.same(o) }

// same reports whether nothing was learned of the note in between.
func (n *Note) same(o Note) bool {
	if n.Resource != o.Resource || (n.Listed == nil) != (o.Listed == nil) {
		return false
	}
	return n.Listed == nil || n.Listed.Equal(*o.Listed)
}

// Unlisted reports whether the kubelet has not confirmed any of the notes yet, so that it
// has to be asked again soon. entries are those that count, see Kubelet.Entries: a note
// that only they name is of an init container, and stays so.
func Unlisted(notes []Note, entries map[string][]Holder, now time.Time) bool {
	return slices.ContainsFunc(notes, func(n Note) bool {
		return n.Listed == nil && (now.Sub(n.At) < Grace || !n.in(entries[n.Device]))
	})
}
