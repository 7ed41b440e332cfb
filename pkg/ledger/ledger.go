package ledger

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

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
	offered   map[string]offered // of base, by ID
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

// offered is a device of a pool.
type offered struct {
	*pool.Device
	resource string
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
	// Seq orders the offers that several goroutines get.
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
	devices := map[string]offered{}
	if a != nil {
		for i := range a.Pools {
			p := &a.Pools[i]
			for j := range p.Devices {
				devices[p.Devices[j].ID] = offered{&p.Devices[j], p.Resource}
			}
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.base, l.offered, l.withdrawn = a, devices, reasons
	l.had = maps.Clone(l.had) // what was handed out is not changed
	if l.had == nil {
		l.had = map[string]bool{}
	}
	for id := range devices {
		l.had[id] = true
	}
	maps.DeleteFunc(l.claims, func(_ string, c claim) bool { return c.ended != 0 && c.ended < q.moment })
	return l.current()
}

// current is what is offered now. A device that was withdrawn before it was claimed keeps
// its reason, which is nearer to the cause. The caller holds the lock.
func (l *Ledger) current() Offered {
	reasons := l.withdrawn
	if len(l.claims) > 0 {
		reasons = maps.Clone(reasons)
		if reasons == nil {
			reasons = map[string]pool.Reason{}
		}
		for id, c := range l.claims {
			if _, withdrawn := reasons[id]; !withdrawn {
				reasons[id] = c.reason
			}
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
	d, known := l.offered[id]
	switch r, withdrawn := l.withdrawn[id]; {
	case !known || d.resource != resource:
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
