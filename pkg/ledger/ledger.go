package ledger

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/pool"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// Ledger is safe for concurrent use.
type Ledger struct {
	mu sync.Mutex
	// moment counts what happened, to put it in order.
	moment   uint64
	books    Books
	revision uint64         // of books
	noted    map[string]int // how many notes of books each device has
	// base is what the pools have, nil before the first Offer, and withdrawn why
	// some of it is not given out, by device.
	base      *pool.Assignment
	offered   map[string]*pool.Device // of base, by ID
	resource  map[string]string       // of base, by ID
	withdrawn map[string]pool.Reason
	// had are the devices that were ever offered by this process, nil before the first
	// Offer: which ones an earlier process of this boot offered is not known then.
	had    map[string]bool
	claims map[string]claim // by device
	// listed is who has what as the kubelet said in its last answer, to the question
	// of the moment asked.
	listed map[string][]use.Holder
	asked  uint64
	// lost: the books of an earlier process are not known, nor has the kubelet said since,
	// by an answer of one that has its pods or by its checkpoint, who has what. blind: it
	// was asked, and did not.
	lost, blind bool
}

// claim is a run's on a device.
type claim struct {
	id     Claim
	by     string
	reason pool.Reason
	ended  uint64 // the moment at which it ended; 0 while it has not
}

// Claim identifies a claim.
type Claim uint64

// New returns a ledger that knows nothing but which boot it is.
func New(bootID string) *Ledger {
	return &Ledger{books: Books{BootID: bootID}, claims: map[string]claim{}, noted: map[string]int{}}
}

// Offered is what the pools offer at one moment.
type Offered struct {
	// Assignment has a Reason for each device that is not given out now. It is not
	// changed any more. nil means that there was no Offer yet.
	Assignment *pool.Assignment
	// Given are the devices that pods may have, sorted; see Books.Given.
	Given []string
	// Seq orders what several goroutines are told.
	Seq uint64
}

// now is the next moment. The caller holds the lock.
func (l *Ledger) now() uint64 {
	l.moment++
	return l.moment
}

// Offer makes a what the pools have, and withdraws the devices in reasons, by ID. Both
// rest on an observation that began with the question q: claims of runs that ended
// before it end here.
func (l *Ledger) Offer(q Question, a *pool.Assignment, reasons map[string]pool.Reason) Offered {
	offered, resource := map[string]*pool.Device{}, map[string]string{}
	if a != nil {
		for i := range a.Pools {
			p := &a.Pools[i]
			for j := range p.Devices {
				offered[p.Devices[j].ID], resource[p.Devices[j].ID] = &p.Devices[j], p.Resource
			}
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.base, l.offered, l.resource, l.withdrawn = a, offered, resource, reasons
	l.had = maps.Clone(l.had) // what was handed out is not changed
	if l.had == nil {
		l.had = map[string]bool{}
	}
	for id := range offered {
		l.had[id] = true
	}
	maps.DeleteFunc(l.claims, func(_ string, c claim) bool { return c.ended != 0 && c.ended < q.moment })
	return l.current()
}

// current is what is offered now. The caller holds the lock.
func (l *Ledger) current() Offered {
	reasons := l.withdrawn
	if len(l.claims) > 0 {
		reasons = maps.Clone(reasons)
		if reasons == nil {
			reasons = map[string]pool.Reason{}
		}
		for id, c := range l.claims {
			reasons[id] = c.reason
		}
	}
	return Offered{Assignment: l.base.Withhold(reasons), Given: slices.Clone(l.books.Given), Seq: l.now()}
}

// ClaimedError says that somebody else has a claim on the device.
type ClaimedError struct{ Device, By string }

func (e *ClaimedError) Error() string {
	return fmt.Sprintf("%s is being changed for %s", e.Device, e.By)
}

// Claim withdraws the devices for whoever by says, for people. With an error nothing
// was claimed.
func (l *Ledger) Claim(by string, devices []string, reason pool.Reason) (Claim, Offered, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	id := Claim(l.now())
	o, err := l.claim(id, by, devices, reason)
	return id, o, err
}

// Extend is Claim for more devices, and for those that it has, by who has a claim.
func (l *Ledger) Extend(id Claim, by string, devices []string, reason pool.Reason) (Offered, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.claim(id, by, devices, reason)
}

// claim is Extend for callers that hold the lock.
func (l *Ledger) claim(id Claim, by string, devices []string, reason pool.Reason) (Offered, error) {
	for _, device := range devices {
		if c, ok := l.claims[device]; ok && c.ended == 0 && c.id != id {
			return Offered{}, &ClaimedError{Device: device, By: c.by}
		}
	}
	for _, device := range devices {
		l.claims[device] = claim{id: id, by: by, reason: reason}
	}
	return l.current(), nil
}

// End says that nothing is written any more under the claim. Its devices stay
// withdrawn until an Offer rests on an observation that began after this.
func (l *Ledger) End(id Claim) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := l.now()
	for device, c := range l.claims {
		if c.id == id && c.ended == 0 {
			c.ended = at
			l.claims[device] = c
		}
	}
}

// Allocation are the notes of one allocation.
type Allocation uint64

// RefusedError says that a device cannot be given out, and why.
type RefusedError struct {
	Resource, Device string
	Reason           string
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("%s cannot be allocated as %s: %s", e.Device, e.Resource, e.Reason)
}

// Note records that the kubelet is given the devices under the resource name, or
// returns a *RefusedError and records nothing.
func (l *Ledger) Note(resource string, devices []string, now time.Time) (Allocation, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen()
	for _, id := range devices {
		if why := l.refused(resource, id); why != "" {
			return 0, &RefusedError{Resource: resource, Device: id, Reason: why}
		}
	}
	at := l.now()
	for _, id := range devices {
		l.books.Notes = append(l.books.Notes, use.Note{ID: at, Device: id, Resource: resource, At: now})
		l.noted[id]++
	}
	l.revision++
	return Allocation(at), nil
}

// refused is why the device is not given out, "" when it is. The caller holds the lock.
func (l *Ledger) refused(resource, id string) string {
	c, claimed := l.claims[id]
	d := l.offered[id]
	switch r, withdrawn := l.withdrawn[id]; {
	case d == nil || l.resource[id] != resource:
		return "it is not one of that resource's devices any more"
	case claimed:
		return words(c.reason)
	case withdrawn:
		return words(r)
	case !d.Healthy:
		return words(d.Reason)
	case l.blind:
		return "it is not known what was allocated before, and the kubelet has not said yet who has it"
	}
	for _, h := range l.listed[id] {
		if h.Elsewhere(resource) {
			return fmt.Sprintf("%s has it as %s", h, h.Resource)
		}
	}
	for i := range l.books.Notes {
		if l.noted[id] == 0 {
			break
		}
		if n := &l.books.Notes[i]; n.Device == id && n.Resource != "" && n.Resource != resource {
			return "it was allocated as " + n.Resource + ", and the kubelet has not said that it is free"
		}
	}
	return ""
}

// words are never "", whatever the reason: that is for what is given out.
func words(r pool.Reason) string { return cmp.Or(r.Text, "it is not given out now") }

// Release removes the notes of an allocation that was refused after all. Nobody got
// the devices by it.
func (l *Ledger) Release(a Allocation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.setNotes(slices.DeleteFunc(slices.Clone(l.books.Notes), func(n use.Note) bool { return n.ID == uint64(a) }))
}

// setNotes replaces the notes. The caller holds the lock.
func (l *Ledger) setNotes(notes []use.Note) {
	if slices.EqualFunc(notes, l.books.Notes, use.Note.Equal) {
		return
	}
	l.revision++
	l.books.Notes = notes
	l.noted = make(map[string]int, len(notes))
	for i := range notes {
		l.noted[notes[i].Device]++
	}
}

// Seen says that a kubelet has shown itself, or may have: from now on its silence is
// no evidence that nobody has a device. It returns whether that is new.
func (l *Ledger) Seen() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.revision
	l.seen()
	return l.revision != before
}

func (l *Ledger) seen() {
	if !l.books.KubeletSeen {
		l.books.KubeletSeen = true
		l.revision++
	}
}

// Holds reports whether a pod has the device, by the kubelet's last answer or by a
// note.
func (l *Ledger) Holds(id string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.listed[id]) > 0 || l.noted[id] > 0
}

// Noted reports whether the kubelet was given the device, and has not settled that.
func (l *Ledger) Noted(id string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.noted[id] > 0
}

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
	a.Kubelet.Since = l.since(&a.Kubelet)
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

// since is since when the kubelet has answered, whichever process of ours it answered.
// The caller holds the lock.
func (l *Ledger) since(k *use.Kubelet) time.Time {
	if !k.Answered || k.ID == "" {
		return k.Since
	}
	if was := l.books.Kubelet; was != nil && was.ID == k.ID && was.Since.Before(k.Since) {
		return was.Since
	}
	if l.books.Kubelet == nil || l.books.Kubelet.ID != k.ID {
		l.books.Kubelet = &Kubelet{ID: k.ID, Since: k.Since}
		l.revision++
	}
	return k.Since
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
		if l.offered[id] != nil {
			given[id] = true
		}
	}
	if next := slices.Sorted(maps.Keys(given)); !slices.Equal(next, l.books.Given) {
		l.books.Given = next
		l.revision++
	}
}
