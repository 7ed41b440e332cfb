package ledger

import (
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/pool"
)

// loopAt is what the loop has done of its pass.
type loopAt int

const (
	loopIdle loopAt = iota
	loopAsked
	loopRead
	loopLearned
	loopOffered // the device plugin does not have it yet
)

// loopActor is the loop: it asks, reads, learns, offers, and starts workers.
type loopActor struct {
	at       loopAt
	asked    time.Time
	question Question
	answer   Answer
	have     [maxDevices]int // as it was read
	pools    *pool.Assignment
	reasons  map[string]pool.Reason
	start    [maxDevices]bool // what is to be changed and is free
	target   [maxDevices]int
	offer    Offered
}

func (w *world) loopSteps(add adder) {
	switch w.loop.at {
	case loopIdle:
		if !w.fine {
			add(func(w *world) { w.loopAsks(); w.loopReads() }, "the loop begins a pass, reads the machine and asks the kubelet")
			return
		}
		add((*world).loopAsks, "the loop begins a pass")
	case loopAsked:
		add((*world).loopReads, "the loop reads the machine and asks the kubelet")
	case loopRead:
		add((*world).loopLearns, "the ledger learns what the loop was answered, and it decides")
	case loopLearned:
		if !w.fine {
			add(func(w *world) { w.loopOffers(); w.loopPublishes() }, "the loop offers, and the device plugin has it")
			return
		}
		add((*world).loopOffers, "the loop offers")
	case loopOffered:
		add((*world).loopPublishes, "the device plugin has the loop's offer")
	}
}

func (w *world) loopAsks() {
	w.loop = loopActor{at: loopAsked, asked: w.clock, question: w.ledger.Ask()}
	for d := range w.reserved {
		if w.reserved[d] == ended {
			w.reserved[d] = observed
		}
	}
}

func (w *world) loopReads() {
	w.loop.at, w.loop.answer, w.loop.have = loopRead, w.ask(), w.have
}

func (w *world) loopLearns() {
	l := &w.loop
	learned := w.learn(l.question, l.answer, l.asked)
	l.at, l.pools, l.reasons, l.target, l.answer = loopLearned, w.assignment(), map[string]pool.Reason{}, [maxDevices]int{}, Answer{}
	for d := range w.devices {
		st := learned.Use.Of(exploredIDs[d])
		changes := w.want[d] != l.have[d]
		l.start[d] = changes && !st.Busy()
		if l.start[d] {
			l.target[d] = w.want[d]
		}
		for _, h := range st.Holders {
			if h.Elsewhere(exploredNames[w.name[d]]) {
				l.reasons[exploredIDs[d]] = pool.Reason{Cause: pool.CauseHeldElsewhere, Text: "held elsewhere"}
			}
		}
		if changes {
			l.reasons[exploredIDs[d]] = pool.Reason{Cause: pool.CauseUnfinished, Text: "not configured yet"}
		}
	}
	l.have = [maxDevices]int{}
}

func (w *world) loopOffers() {
	l := &w.loop
	q := l.question
	if w.broken == endsAnyClaim {
		q = w.ledger.Ask()
	}
	l.offer = w.ledger.Offer(q, l.pools, l.reasons)
	for d := range w.reserved {
		if w.reserved[d] == observed {
			w.reserved[d] = unclaimed
		}
	}
	for i, d := range w.writers {
		if l.start[d] && w.workers[i].at == workerIdle {
			w.workers[i] = worker{at: workerStarted, target: l.target[d]}
		}
	}
	*l = loopActor{at: loopOffered, offer: l.offer}
}

func (w *world) loopPublishes() {
	w.shelf.put(w.loop.offer)
	w.loop = loopActor{}
}

// learn takes in an answer. Whoever may be held up before that must go by when it was
// asked for: what is young by then may be old now.
func (w *world) learn(q Question, a Answer, asked time.Time) Learned {
	now := w.clock
	if w.stalls && w.broken != stalled {
		now = asked
	}
	if w.broken == settlesYounger {
		q = w.ledger.Ask()
	}
	if w.broken == alwaysWarm {
		a.Kubelet.Since = a.Kubelet.Since.AddDate(-1, 0, 0)
	}
	out := w.ledger.Learn(q, a, exploredSnapshot, now)
	w.save()
	return out
}

// workerAt is what a worker has done of its run.
type workerAt int

const (
	workerIdle workerAt = iota
	workerStarted
	workerClaimed // the device plugin does not have it yet
	workerPublished
	workerAsked
	workerRead
	workerMayWrite
	workerWrites
)

// worker is a run on one device.
type worker struct {
	at       workerAt
	target   int // what the device is to be
	claim    Claim
	offer    Offered
	asked    time.Time
	question Question
	answer   Answer
	early    bool // it asked before it claimed
}

func (w *world) workerSteps(add adder, i int) {
	d := w.writers[i]
	switch w.workers[i].at {
	case workerStarted:
		if w.broken == asksFirst && !w.workers[i].early {
			add(func(w *world) { w.workerAsksFirst(i) }, "worker %d asks who has device %d", i, d)
			return
		}
		if !w.fine {
			add(func(w *world) { w.workerClaims(i); w.workerPublishes(i) }, "worker %d claims device %d, and the device plugin has it", i, d)
			return
		}
		add(func(w *world) { w.workerClaims(i) }, "worker %d claims device %d", i, d)
	case workerClaimed:
		add(func(w *world) { w.workerPublishes(i) }, "the device plugin has the claim of worker %d", i)
	case workerPublished:
		if !w.fine {
			add(func(w *world) { w.workerAsks(i); w.workerReads(i) }, "worker %d reads the machine and asks the kubelet", i)
			return
		}
		add(func(w *world) { w.workerAsks(i) }, "worker %d begins to look who has device %d", i, d)
	case workerAsked:
		add(func(w *world) { w.workerReads(i) }, "worker %d reads the machine and asks the kubelet", i)
	case workerRead:
		add(func(w *world) { w.workerLearns(i) }, "the ledger learns what worker %d was answered, and it judges", i)
	case workerMayWrite:
		add(func(w *world) { w.workerWrites(i) }, "worker %d writes: device %d is destroyed", i, d)
	case workerWrites:
		add(func(w *world) { w.workerIsAnswered(i) }, "the kernel answers worker %d, which ends its claim", i)
	}
}

func (w *world) workerAsksFirst(i int) {
	q := w.ledger.Ask()
	if w.learn(q, w.ask(), w.clock).Use.Of(exploredIDs[w.writers[i]]).Busy() {
		w.workers[i] = worker{}
		return
	}
	w.workers[i].early = true
}

func (w *world) workerClaims(i int) {
	d := w.writers[i]
	id, offer, err := w.ledger.Claim("a test", []string{exploredIDs[d]}, pool.Reason{Cause: pool.CauseUnfinished, Text: "is being changed"})
	if err != nil {
		w.workers[i] = worker{}
		return
	}
	if w.broken == forgetsClaims {
		clear(w.ledger.claims)
	}
	w.reserved[d] = claimed
	w.workers[i].at, w.workers[i].claim, w.workers[i].offer = workerClaimed, id, offer
}

func (w *world) workerPublishes(i int) {
	r := &w.workers[i]
	if r.at != workerClaimed {
		return // it could not claim
	}
	w.shelf.put(r.offer)
	r.at, r.offer = workerPublished, Offered{}
	if r.early {
		r.at = workerMayWrite
	}
}

func (w *world) workerAsks(i int) {
	w.workers[i].at, w.workers[i].question = workerAsked, w.ledger.Ask()
}

func (w *world) workerReads(i int) { w.workers[i].at, w.workers[i].answer = workerRead, w.ask() }

func (w *world) workerLearns(i int) {
	r := &w.workers[i]
	learned := w.learn(r.question, r.answer, r.asked)
	r.at, r.asked, r.question, r.answer = workerMayWrite, time.Time{}, Question{}, Answer{}
	if learned.Use.Of(exploredIDs[w.writers[i]]).Busy() && w.broken != neverJudges {
		w.workerEnds(i)
	}
}

func (w *world) workerWrites(i int) {
	r := &w.workers[i]
	d := w.writers[i]
	if w.writing[d] {
		w.wrong = "two writes to one device"
	}
	r.at, w.writing[d] = workerWrites, true
	w.have[d] = r.target
	if w.broken == endsEarly {
		w.ledger.End(r.claim)
	}
}

func (w *world) workerIsAnswered(i int) {
	w.wrote(w.writers[i])
	w.workerEnds(i)
}

func (w *world) workerEnds(i int) {
	if w.broken != neverEnds {
		w.ledger.End(w.workers[i].claim)
	}
	w.reserved[w.writers[i]] = ended
	w.workers[i] = worker{}
}

func (w *world) wrote(d int) { w.writing[d] = false }

// running reports whether a worker is at the device.
func (w *world) running(d int) bool {
	for i := range w.writers {
		if w.writers[i] == d && w.workers[i].at != workerIdle {
			return true
		}
	}
	return false
}

// callAt is what the device plugin has done of an Allocate.
type callAt int

const (
	idle callAt = iota
	called
	noted
	answering
)

func (w *world) allocateSteps(add adder, i int) {
	p := &w.pods[i]
	switch p.call {
	case called:
		add(func(w *world) { w.allocateNotes(i) }, "the device plugin finds device %d on its list, and it is noted for pod %d", p.device, i)
	case noted:
		add(func(w *world) { w.allocateChecks(i) }, "the device plugin looks again at its list for pod %d", i)
	case answering:
		add(func(w *world) { w.allocateAnswers(i) }, "the kubelet has the answer for pod %d", i)
	}
}

func (w *world) allocateNotes(i int) {
	p := &w.pods[i]
	if !w.shelf.healthy[p.resource][p.device] {
		w.allocateRefuses(i)
		return
	}
	w.clock = w.clock.Add(1) // no two notes are of one moment
	if w.broken != noNote {
		id, err := w.ledger.Note(exploredNames[p.resource], []string{exploredIDs[p.device]}, w.clock)
		if err != nil {
			w.allocateRefuses(i)
			return
		}
		if w.reserved[p.device] != unclaimed {
			w.wrong = "a device was noted between its claim and the next offer"
		}
		if w.broken == forgetsNames {
			for k := range w.ledger.books.Notes {
				w.ledger.books.Notes[k].Resource = ""
			}
		}
		p.note = id
		w.save()
	}
	p.call = noted
}

func (w *world) allocateChecks(i int) {
	p := &w.pods[i]
	if w.broken != checksOnce && !w.shelf.healthy[p.resource][p.device] {
		w.ledger.Release(p.note)
		w.save()
		w.allocateRefuses(i)
		return
	}
	if w.broken == releasesGiven {
		w.ledger.Release(p.note)
		w.save()
	}
	p.call, p.note = answering, 0
}

// allocateRefuses ends a call without a device.
func (w *world) allocateRefuses(i int) { w.pods[i] = pod{} }

// allocateAnswers gives the pod its device, unless whoever asked is gone.
func (w *world) allocateAnswers(i int) {
	if w.pods[i].orphan {
		w.pods[i] = pod{}
		return
	}
	w.pods[i].call, w.pods[i].has = idle, true
}

// has reports whether a pod has the device, or is about to get it.
func (w *world) holders(d int) int {
	n := 0
	for _, p := range w.pods {
		if p.device == d && (p.has || p.call == answering && !p.orphan) {
			n++
		}
	}
	return n
}
