package ledger

import (
	"maps"
	"slices"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// Books are what outlives the daemon, in the format of their file.
type Books struct {
	BootID string `json:"bootID"`
	// KubeletSeen is set once any kubelet has shown itself during the boot, and when
	// it cannot be known whether one has.
	KubeletSeen bool `json:"kubeletSeen"`
	// Notes are what the kubelet was given, in the order in which it was.
	Notes []use.Note `json:"notes,omitempty"`
	// Given are the devices that pods have as far as is known, sorted. Unlike
	// the rest they are carried over a boot: the kubelet lets its pods have their
	// devices again after it, without an Allocate. They are no evidence of use.
	Given []string `json:"given,omitempty"`
	// Kubelet is the one that answered last, nil when none did.
	Kubelet *Kubelet `json:"kubelet,omitempty"`
}

// Kubelet is one kubelet (use.Kubelet.ID), and since when it has answered: it need not
// have just come up because we have.
type Kubelet struct {
	ID    string    `json:"id"`
	Since time.Time `json:"since"`
	// Pods are those that it has listed and that its checkpoint has, by UID.
	Pods map[string]use.Pod `json:"pods,omitempty"`
}

// listed is k after an answer: with the pods that the answer lists.
func (k Kubelet) listed(a *use.Kubelet) Kubelet {
	before := k.Pods
	k.Pods = map[string]use.Pod{}
	for i := range a.Checkpoint.Entries {
		uid := a.Checkpoint.Entries[i].PodUID
		if pod, ok := a.Checkpoint.Names[uid]; ok && a.Pods[pod] {
			k.Pods[uid] = pod
		} else if pod, ok := before[uid]; ok {
			k.Pods[uid] = pod
		}
	}
	if a.Checkpoint.Err != nil {
		maps.Copy(k.Pods, before) // it is not known which of them the file still has
	}
	return k
}

// clone is a copy that shares nothing.
func (b Books) clone() Books {
	b.Notes = append([]use.Note(nil), b.Notes...)
	b.Given = slices.Clone(b.Given)
	if b.Kubelet != nil {
		k := *b.Kubelet
		k.Pods = maps.Clone(k.Pods)
		b.Kubelet = &k
	}
	return b
}

// with are the books with those of an earlier process added.
func (b Books) with(old Books) Books {
	out := b.clone()
	given := append(slices.Clone(old.Given), out.Given...)
	for i := range old.Notes {
		given = append(given, old.Notes[i].Device)
	}
	slices.Sort(given)
	out.Given = slices.Compact(given)
	if old.BootID != b.BootID {
		return out
	}
	out.KubeletSeen = out.KubeletSeen || old.KubeletSeen
	if out.Kubelet == nil {
		out.Kubelet = old.Kubelet
	}
	own := make(map[noteKey]bool, len(out.Notes))
	for i := range out.Notes {
		own[keyOf(&out.Notes[i])] = true
	}
	var notes []use.Note
	for i := range old.Notes {
		if !own[keyOf(&old.Notes[i])] {
			notes = append(notes, old.Notes[i])
		}
	}
	out.Notes = append(notes, out.Notes...)
	return out
}

// noteKey identifies a note also when each process counts for itself.
type noteKey struct {
	device string
	at     int64
}

func keyOf(n *use.Note) noteKey { return noteKey{n.Device, n.At.UnixNano()} }

// Books returns what is to be kept on the disk, and its revision, which grows with each
// change: of two, the higher one is the newer.
func (l *Ledger) Books() (Books, uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.books.clone(), l.revision
}

// Recover adds the books of an earlier process. Books that are unknown, because they
// cannot be read or could not be written, leave it open who has what: then a kubelet
// counts as seen, so that nothing is free without its answer, and nothing is given out
// before it has said in any way who has what: a device may be held under another name.
func (l *Ledger) Recover(old Books, unknown bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if unknown {
		l.seen()
		l.lost = true
	}
	old = old.clone()
	l.renumber(old.Notes)
	next := l.books.with(old)
	l.setNotes(next.Notes)
	l.books = next
	l.revision++
}

// renumber gives the notes of an earlier process, which has counted for itself, numbers
// that none of ours has or will have: Release goes by them. The caller holds the lock.
func (l *Ledger) renumber(old []use.Note) {
	own := make(map[noteKey]uint64, len(l.books.Notes))
	for i := range l.books.Notes {
		own[keyOf(&l.books.Notes[i])] = l.books.Notes[i].ID
	}
	ours := l.moment
	for i := range old {
		l.moment = max(l.moment, old[i].ID)
	}
	for i := range old {
		n := &old[i]
		if id, is := own[keyOf(n)]; n.ID != 0 && n.ID <= ours && (!is || id != n.ID) {
			n.ID = l.now()
		}
	}
}
