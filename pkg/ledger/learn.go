package ledger

import (
	"maps"
	"slices"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// Question is the moment at which the kubelet and the kernel are asked.
type Question struct {
	moment uint64
	notes  []use.Note
}

// Ask is called right before they are asked.
func (l *Ledger) Ask() Question {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Question{moment: l.now(), notes: slices.Clone(l.books.Notes)}
}

// Answer is what came of a question.
type Answer struct {
	Kubelet use.Kubelet
	// Open are devices that a process has open or that could not be asked about, by
	// PCI address.
	Open map[string]use.Answer
}

// Learned is what an answer shows.
type Learned struct {
	// Use is who has each device of the snapshot.
	Use use.Set
	// Held are the devices that pods have, by the answer or by a note.
	Held map[string]bool
	// Warm is true when the kubelet answered and has all of its pods.
	Warm bool
	// Unconfirmed: the kubelet has not listed all of what it was given.
	Unconfirmed bool
}

// Learn takes in the answer to q, which was asked at the time now. Notes that the answer
// settles go.
func (l *Ledger) Learn(q Question, a Answer, snap *inventory.Snapshot, now time.Time) Learned {
	l.mu.Lock()
	if a.Kubelet.Answered || a.Kubelet.Listening {
		l.seen()
	}
	l.recognise(&a.Kubelet)
	entries := a.Kubelet.Entries(l.books.KubeletSeen, now)
	held := heldBy(&a.Kubelet, entries)
	if a.Kubelet.Answered && q.moment > l.asked {
		l.listed, l.asked = held, q.moment
	}
	l.lost = l.lost && !a.Kubelet.Warm(now) && a.Kubelet.Checkpoint.Err != nil
	l.blind = l.lost
	l.settle(q, &a.Kubelet, held, now)
	ev := use.Evidence{
		Snapshot: snap, Kubelet: a.Kubelet, Now: now, Open: a.Open, Offered: l.had,
		KubeletSeen: l.books.KubeletSeen, Notes: slices.Clone(l.books.Notes), Given: slices.Clone(l.books.Given),
	}
	out := Learned{
		Held: make(map[string]bool, len(held)+len(l.noted)), Warm: a.Kubelet.Warm(now),
		Unconfirmed: use.Unlisted(l.books.Notes, entries, now),
	}
	for id := range held {
		out.Held[id] = true
	}
	for id := range l.noted {
		out.Held[id] = true
	}
	l.mu.Unlock()
	out.Use = use.Judge(ev)
	return out
}

// recognise adds what is known of the kubelet that answered, whichever process of ours it
// answered before: since when it has, and which pods it has listed. The caller holds the
// lock.
func (l *Ledger) recognise(k *use.Kubelet) {
	if !k.Answered || k.ID == "" {
		return
	}
	known := Kubelet{ID: k.ID, Since: k.Since}
	if was := l.books.Kubelet; was != nil && was.ID == k.ID {
		known = *was
		if k.Since.Before(known.Since) {
			known.Since = k.Since
		}
	}
	k.Since, k.Before = known.Since, known.Pods
	known = known.listed(k)
	if was := l.books.Kubelet; was == nil || was.ID != known.ID || !was.Since.Equal(known.Since) || !maps.Equal(was.Pods, known.Pods) {
		l.books.Kubelet = &known
		l.revision++
	}
}

// heldBy is who has what by List and the entries of the checkpoint that count.
func heldBy(k *use.Kubelet, entries map[string][]use.Holder) map[string][]use.Holder {
	out := make(map[string][]use.Holder, len(k.Held)+len(entries))
	for _, from := range []map[string][]use.Holder{k.Held, entries} {
		for id, list := range from {
			out[id] = append(out[id], list...)
		}
	}
	return out
}

// settle drops the notes that the answer settles, and takes in which devices pods have:
// those that the kubelet was given or holds, and, as long as a kubelet that has just
// come up may not have its assignments back, those of before. The kubelet also lists
// the devices of other plugins. The caller holds the lock.
func (l *Ledger) settle(q Question, k *use.Kubelet, held map[string][]use.Holder, now time.Time) {
	l.setNotes(use.Settle(l.books.Notes, q.notes, *k, now))
	given := map[string]bool{}
	if !k.Warm(now) {
		for _, id := range l.books.Given {
			given[id] = true
		}
	}
	for id := range l.noted {
		given[id] = true
	}
	for id := range held {
		if _, ours := l.offered[id]; ours {
			given[id] = true
		}
	}
	if next := slices.Sorted(maps.Keys(given)); !slices.Equal(next, l.books.Given) {
		l.books.Given = next
		l.revision++
	}
}
