package ledger

import (
	"hash/maphash"
	"slices"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/pool"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// encoder writes a state such that two states from which the same can happen are written
// alike. Of moments and times it writes only what anything is decided by: whether a
// question is later than a claim's end, a List than a kubelet's start, and whether
// use.Grace has passed since.
type encoder struct {
	w         *world
	questions []uint64 // of those that are under way, sorted
	starts    []int64  // of kubelets that are remembered, sorted
	out       []byte
}

var fingerprintSeed = maphash.MakeSeed()

// fingerprint identifies the state.
func (w *world) fingerprint() uint64 {
	e := &encoder{w: w, out: make([]byte, 0, 256)}
	for _, q := range []uint64{w.loop.question.moment, w.workers[0].question.moment, w.workers[1].question.moment} {
		if q != 0 {
			e.questions = append(e.questions, q)
		}
	}
	starts := []time.Time{w.client.since, w.loop.answer.Kubelet.Since, w.workers[0].answer.Kubelet.Since, w.workers[1].answer.Kubelet.Since}
	for _, b := range []*Books{w.books(), &w.disk} {
		if b.Kubelet != nil {
			starts = append(starts, b.Kubelet.Since)
		}
	}
	for _, t := range starts {
		if !t.IsZero() {
			e.starts = append(e.starts, t.UnixNano())
		}
	}
	slices.Sort(e.questions)
	slices.Sort(e.starts)
	e.starts = slices.Compact(e.starts)
	e.world()
	return maphash.Bytes(fingerprintSeed, e.out)
}

// books are those that count: while the daemon runs, the disk has what the ledger has.
func (w *world) books() *Books {
	if w.ledger == nil {
		return &w.disk
	}
	return &w.ledger.books
}

func (e *encoder) world() {
	w := e.w
	e.flags(w.ledger != nil)
	for r := range w.shelf.healthy {
		e.flags(w.shelf.healthy[r][:]...)
		e.flags(w.kubelet.sent[r][:]...)
	}
	e.ints(w.want[:]...)
	e.ints(w.name[:]...)
	e.ints(w.have[:]...)
	e.flags(w.writing[:]...)
	e.flags(w.kubelet.down, w.kubelet.silent, w.kubelet.cold)
	e.kubelet(w.client.id)
	e.start(w.client.since)
	e.ints(w.left.pods, w.left.changes, w.left.crashes, w.left.restarts, w.left.renames)
	for d := range w.reserved {
		e.ints(int(w.reserved[d]))
	}
	for i := range w.pods {
		p := &w.pods[i]
		e.ints(p.resource, p.device, int(p.call))
		e.flags(p.orphan, p.has, p.listed, p.entry)
		e.ints(slices.IndexFunc(w.books().Notes, func(n use.Note) bool { return n.ID == uint64(p.note) }))
	}
	e.books(w.books())
	e.flags(w.late)
	if w.late {
		e.books(&w.disk)
	}
	if w.ledger != nil {
		e.ledger(w.ledger)
		e.loop(&w.loop)
		for i := range w.workers {
			e.worker(&w.workers[i])
		}
	}
}

func (e *encoder) ledger(l *Ledger) {
	e.after(l.asked)
	e.flags(l.base != nil, l.had != nil, l.lost, l.blind)
	for d := range maxDevices {
		id := exploredIDs[d]
		_, withdrawn := l.withdrawn[id]
		c, isClaimed := l.claims[id]
		e.flags(withdrawn, isClaimed, l.offered[id].resource == exploredNames[0], l.offered[id].resource == exploredNames[1])
		e.flags(c.ended != 0)
		e.after(c.ended)
		e.holders(l.listed[id])
	}
}

func (e *encoder) books(b *Books) {
	e.flags(b.KubeletSeen, b.Kubelet != nil)
	if b.Kubelet != nil {
		e.kubelet(b.Kubelet.ID)
		e.start(b.Kubelet.Since)
	}
	e.ints(len(b.Notes))
	for i := range b.Notes {
		e.note(&b.Notes[i])
	}
	for _, id := range exploredIDs {
		e.flags(slices.Contains(b.Given, id))
	}
}

func (e *encoder) loop(l *loopActor) {
	e.ints(int(l.at))
	e.question(&l.question, l.asked)
	e.answer(&l.answer)
	e.ints(l.have[:]...)
	e.pools(l.pools)
	for _, id := range exploredIDs {
		_, is := l.reasons[id]
		e.flags(is)
	}
	e.flags(l.start[:]...)
	e.ints(l.target[:]...)
	e.offer(&l.offer)
}

func (e *encoder) worker(w *worker) {
	e.ints(int(w.at), w.target)
	e.flags(w.early)
	e.offer(&w.offer)
	e.question(&w.question, w.asked)
	e.answer(&w.answer)
}

// question writes when it was asked, and of which of the notes it knows what is known
// now.
func (e *encoder) question(q *Question, asked time.Time) {
	e.after(q.moment)
	e.flags(q.moment != 0)
	if q.moment == 0 {
		return
	}
	for _, n := range e.w.ledger.books.Notes {
		e.flags(slices.ContainsFunc(q.notes, n.Equal), e.w.stalls && asked.Sub(n.At) >= use.Grace)
	}
	if !e.w.stalls {
		return
	}
	for _, t := range e.starts {
		e.flags(asked.UnixNano() < t, asked.UnixNano()-t >= int64(use.Grace))
	}
}

func (e *encoder) note(n *use.Note) {
	e.ints(slices.Index(exploredIDs[:], n.Device), slices.Index(exploredNames[:], n.Resource))
	e.flags(e.w.clock.Sub(n.At) >= use.Grace, n.Listed != nil)
	if n.Listed == nil {
		return
	}
	later := 0
	for _, t := range e.starts {
		if n.Listed.UnixNano() < t {
			later++
		}
	}
	e.ints(later)
}

func (e *encoder) answer(a *Answer) {
	k := &a.Kubelet
	e.flags(k.Answered, k.Listening, k.Checkpoint.Err != nil)
	e.ints(len(k.Pods))
	e.kubelet(k.ID)
	e.start(k.Since)
	for _, id := range exploredIDs {
		e.holders(k.Held[id])
	}
	e.ints(len(k.Checkpoint.Entries))
	for i := range k.Checkpoint.Entries {
		n := &k.Checkpoint.Entries[i]
		e.string(n.PodUID)
		e.ints(slices.Index(exploredIDs[:], n.Devices[0]), slices.Index(exploredNames[:], n.Resource))
	}
}

func (e *encoder) holders(list []use.Holder) {
	e.ints(len(list))
	for i := range list {
		e.string(list[i].Pod)
		e.ints(slices.Index(exploredNames[:], list[i].Resource))
		e.flags(list[i].Evidence == use.EvidenceCheckpoint)
	}
}

// offer writes an offer that the device plugin does not have, unless it has a newer one.
func (e *encoder) offer(o *Offered) {
	fresh := o.Seq > e.w.shelf.seq
	e.flags(fresh)
	if !fresh {
		return
	}
	var s shelf
	s.put(*o)
	for r := range s.healthy {
		e.flags(s.healthy[r][:]...)
	}
	for _, other := range []uint64{e.w.loop.offer.Seq, e.w.workers[0].offer.Seq, e.w.workers[1].offer.Seq} {
		e.flags(other > o.Seq)
	}
}

func (e *encoder) pools(a *pool.Assignment) {
	e.flags(a != nil)
	if a == nil {
		return
	}
	for i := range a.Pools {
		e.ints(len(a.Pools[i].Devices))
		for j := range a.Pools[i].Devices {
			e.ints(slices.Index(exploredIDs[:], a.Pools[i].Devices[j].ID))
		}
	}
}

// kubelet writes whether the kubelet with that ID is none, the one that runs, or another.
func (e *encoder) kubelet(id string) {
	switch id {
	case "":
		e.ints(0)
	case string(rune('0' + e.w.kubelet.id)):
		e.ints(1)
	default:
		e.ints(2)
	}
}

// after writes how many questions under way are later than the moment.
func (e *encoder) after(moment uint64) {
	i, is := slices.BinarySearch(e.questions, moment)
	if is {
		i++
	}
	e.ints(len(e.questions) - i)
}

// start writes which kubelet's start it is, and whether it may have its pods again.
func (e *encoder) start(t time.Time) {
	if t.IsZero() {
		e.ints(0)
		return
	}
	i, _ := slices.BinarySearch(e.starts, t.UnixNano())
	e.ints(i + 1)
	e.flags(e.w.clock.Sub(t) >= use.Grace)
}

func (e *encoder) ints(list ...int) {
	for _, i := range list {
		e.out = append(e.out, byte(i))
	}
}

func (e *encoder) flags(list ...bool) {
	for _, f := range list {
		if f {
			e.out = append(e.out, 1)
		} else {
			e.out = append(e.out, 0)
		}
	}
}

func (e *encoder) string(s string) {
	e.ints(len(s))
	e.out = append(e.out, s...)
}
