package ledger

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/pool"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

const maxDevices = 2

var (
	exploredIDs   = [maxDevices]string{"0000:21:02.0", "0000:21:02.1"}
	exploredNames = [2]string{"example.com/a", "example.com/b"}
)

// world is one state of everything.
type world struct {
	*bounds
	clock time.Time

	// The daemon, which is one process. ledger is nil while it is not running.
	ledger  *Ledger
	shelf   shelf
	loop    loopActor
	workers [2]worker
	client  client

	// What outlives it.
	disk Books
	late bool            // the disk is not there yet
	want [maxDevices]int // what the config wants a device to be
	name [maxDevices]int // the resource name that the config has for a device
	have [maxDevices]int // what the device is
	// writing are devices that the kernel is destroying and making again.
	writing [maxDevices]bool

	kubelet kubelet
	pods    [2]pod

	left left
	// reserved are devices that nobody may be given: from a claim to the first offer
	// that rests on a look that began after the claim's end.
	reserved [maxDevices]reservation
	// wrong is what was seen to be wrong in a step, "" for nothing.
	wrong string
}

// left is what may still happen.
type left struct{ pods, changes, crashes, restarts, renames int }

// reservation is how far a claim is, as seen from outside.
type reservation int

const (
	unclaimed reservation = iota
	claimed
	ended // and no look has begun since
	observed
)

// shelf is what the device plugin offers: by resource name and device, whether it is
// healthy. Devices that are not in the pool are not either.
type shelf struct {
	seq     uint64
	healthy [2][maxDevices]bool
}

// put takes in an offer, unless a newer one was there first.
func (s *shelf) put(o Offered) {
	if o.Seq <= s.seq {
		return
	}
	*s = shelf{seq: o.Seq}
	if o.Assignment == nil {
		return
	}
	for r := range exploredNames {
		p := o.Assignment.Pool(exploredNames[r])
		for i := range p.Devices {
			s.healthy[r][slices.Index(exploredIDs[:], p.Devices[i].ID)] = p.Devices[i].Healthy
		}
	}
}

// client is what the daemon knows of the kubelet's socket: since when this one answers.
type client struct {
	id    string
	since time.Time
}

// newWorld is a machine on which the daemon has just started, for the first time.
func newWorld(b *bounds) *world {
	w := &world{bounds: b, clock: time.Unix(1e9, 0)}
	w.left = left{pods: b.pods, changes: b.changes, crashes: b.crashes, restarts: b.restarts}
	if b.names > 1 {
		w.left.renames = 1
	}
	w.kubelet.id = 1
	w.start()
	return w
}

// start starts the daemon with what is on the disk.
func (w *world) start() {
	w.ledger = New("boot")
	w.shelf, w.loop, w.workers, w.client = shelf{}, loopActor{}, [2]worker{}, client{}
	w.recover()
}

// startLost starts the daemon with books that cannot be read, or, when late, not yet.
func (w *world) startLost(late bool) {
	w.ledger, w.disk = New("boot"), w.disk.clone()
	if !late {
		w.disk = Books{}
	}
	if w.broken != lostIsEmpty {
		w.ledger.Recover(Books{}, true)
	}
	if w.broken == givesBlind {
		w.ledger.lost = false
	}
	w.late = late
	w.save()
}

// recover reads the books.
func (w *world) recover() {
	w.late = false
	w.ledger.Recover(w.disk, false)
	w.save()
}

// save keeps the books on the disk, when that is there.
func (w *world) save() {
	if w.broken != notKept && !w.late {
		w.disk, _ = w.ledger.Books()
	}
}

// clone is a copy that shares nothing that changes.
func (w *world) clone() *world {
	out := *w
	if w.ledger != nil {
		out.ledger = w.ledger.clone()
	}
	return &out
}

// clone is a ledger that goes its own way. What the ledger replaces and never changes
// is shared.
func (l *Ledger) clone() *Ledger {
	return &Ledger{
		moment: l.moment, books: l.books.clone(), revision: l.revision, noted: maps.Clone(l.noted),
		base: l.base, offered: l.offered, withdrawn: l.withdrawn,
		had: l.had, claims: maps.Clone(l.claims), listed: l.listed, asked: l.asked, lost: l.lost, blind: l.blind,
	}
}

// steps are all that can be done now.
func (w *world) steps() []step {
	var out []step
	add := func(do func(*world), format string, args ...any) {
		out = append(out, step{do, format, args})
	}
	if w.ledger != nil {
		w.loopSteps(add)
		for i := range w.writers {
			w.workerSteps(add, i)
		}
		for i := range w.pods {
			w.allocateSteps(add, i)
		}
	}
	w.kubeletSteps(add)
	w.configSteps(add)
	w.crashSteps(add)
	w.timeSteps(add)
	return out
}

// adder adds a step.
type adder func(do func(*world), format string, args ...any)

// configSteps are what the config may want next.
func (w *world) configSteps(add adder) {
	if w.left.changes > 0 {
		for d := range w.devices {
			add(func(w *world) { w.left.changes--; w.want[d] = 1 - w.want[d] }, "the config wants device %d to be changed, or not any more", d)
		}
	}
	if w.left.renames > 0 {
		add(func(w *world) { w.left.renames--; w.name[0] = 1 }, "the config renames the resource of device 0 to b")
	}
}

// crashSteps are the end of the daemon and its next start. The process of a write that
// the kernel has not answered does not end, and its lock keeps the next one waiting.
func (w *world) crashSteps(add adder) {
	if w.ledger != nil {
		if w.left.crashes > 0 {
			add((*world).crash, "the daemon is killed")
		}
		if w.late {
			add((*world).recover, "the state directory comes, and the ledger has the books")
		}
		return
	}
	for d := range w.devices {
		if w.writing[d] {
			add(func(w *world) { w.wrote(d) }, "the kernel answers the write to device %d that nobody waits for", d)
		}
	}
	if w.writing != ([maxDevices]bool{}) && w.broken != noLock {
		return
	}
	add((*world).start, "the daemon starts")
	// Without books, what the kubelet is about to list cannot be known. A process takes
	// longer to start than a kubelet does to write down what it was given.
	if w.unlisted() {
		return
	}
	if w.lost {
		add(func(w *world) { w.startLost(false) }, "the daemon starts, and cannot read its books")
	}
	if w.bounds.late {
		add(func(w *world) { w.startLost(true) }, "the daemon starts, and its state directory is not there yet")
	}
}

func (w *world) crash() {
	w.left.crashes--
	w.ledger = nil
	w.shelf, w.loop, w.workers, w.client = shelf{}, loopActor{}, [2]worker{}, client{}
	w.reserved = [maxDevices]reservation{}
	for i := range w.pods {
		if w.pods[i].call != idle { // the call fails
			w.pods[i] = pod{}
		}
	}
}

// timeSteps are the passing of use.Grace. A pod is listed, a kubelet has its pods again,
// and an answer is taken in within it.
func (w *world) timeSteps(add adder) {
	if w.kubelet.cold || w.unlisted() || !w.stalls && w.answering() {
		return
	}
	for i := range w.pods {
		if w.pods[i].call != idle {
			return
		}
	}
	add(func(w *world) { w.clock = w.clock.Add(2 * use.Grace) }, "two minutes and more pass")
}

// answering reports whether somebody has an answer that the ledger has not.
func (w *world) answering() bool {
	return w.loop.at == loopRead || w.workers[0].at == workerRead || w.workers[1].at == workerRead
}

// snapshot is a machine that shows nothing of who has a device.
var exploredSnapshot = func() *inventory.Snapshot {
	pf := inventory.PF{Function: inventory.Function{Address: "0000:21:00.0", Class: "020000", Driver: "ice"}}
	for i, id := range exploredIDs {
		pf.VFs = append(pf.VFs, inventory.VF{Index: i, Function: inventory.Function{
			Address: id, Class: "020000", Driver: "iavf", Netdevs: []inventory.Netdev{{Name: fmt.Sprintf("v%d", i)}},
		}})
	}
	return &inventory.Snapshot{PFs: []inventory.PF{pf}}
}()

// assignment is the pools of the config.
func (w *world) assignment() *pool.Assignment {
	out := &pool.Assignment{}
	for r := range exploredNames {
		p := pool.Pool{Resource: exploredNames[r]}
		for d := range w.devices {
			if w.name[d] == r {
				p.Devices = append(p.Devices, pool.Device{ID: exploredIDs[d], Healthy: true})
			}
		}
		out.Pools = append(out.Pools, p)
	}
	return out
}
