package ledger

import (
	"fmt"

	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// violated is what must not be in any state, "" for nothing.
func (w *world) violated() string {
	if w.wrong != "" {
		return w.wrong
	}
	for d := range w.devices {
		switch n := w.holders(d); {
		case n > 1:
			return fmt.Sprintf("two pods have device %d", d)
		case n > 0 && w.writing[d]:
			return fmt.Sprintf("device %d is destroyed while a pod has it", d)
		}
	}
	return ""
}

// stranded is what is lost for ever: with nobody left who has or does anything, a kubelet
// that answers and time enough, each device can be given out and changed again.
func (w *world) stranded() string {
	// Without a checkpoint, what was noted for a pod that never came stays noted.
	if !w.quiet() || w.noFile && w.names > 1 {
		return ""
	}
	w = w.clone()
	if w.late {
		w.recover()
	}
	if w.kubelet.down {
		w.kubelet.id++
	}
	w.kubelet.down, w.kubelet.silent, w.kubelet.cold, w.want = false, false, false, w.have
	w.pass() // the one that is under way
	for range 3 {
		w.pass()
		w.clock = w.clock.Add(2 * use.Grace)
	}
	learned := w.learn(w.ledger.Ask(), w.ask(), w.clock)
	for d := range w.devices {
		id, name := exploredIDs[d], exploredNames[w.name[d]]
		if !w.shelf.healthy[w.name[d]][d] {
			return fmt.Sprintf("device %d is never offered again", d)
		}
		if st := learned.Use.Of(id); st.Busy() && !w.noFile {
			return fmt.Sprintf("device %d is never free again: %s", d, use.Names(st.Holders))
		}
		if _, err := w.ledger.Note(name, []string{id}, w.clock); err != nil {
			return fmt.Sprintf("device %d is never given out again: %v", d, err)
		}
	}
	return ""
}

// quiet reports whether there is nobody but the loop.
func (w *world) quiet() bool {
	if w.ledger == nil || w.writing != ([maxDevices]bool{}) {
		return false
	}
	for d := range w.devices {
		if w.running(d) {
			return false
		}
	}
	for _, p := range w.pods {
		if p.has || p.call != idle {
			return false
		}
	}
	return true
}

// pass ends the pass of the loop, without workers.
func (w *world) pass() {
	for _, s := range []struct {
		at loopAt
		do func(*world)
	}{
		{loopIdle, (*world).loopAsks},
		{loopAsked, (*world).loopReads},
		{loopRead, (*world).loopLearns},
		{loopLearned, (*world).loopOffers},
		{loopOffered, (*world).loopPublishes},
	} {
		if w.loop.at == s.at {
			s.do(w)
		}
	}
	w.workers = [2]worker{}
}

// fault is a way to break the protocol: what the ledger's callers must not do, and, in the
// last three, the ledger.
type fault int

const (
	sound fault = iota
	asksFirst
	noNote
	checksOnce
	neverJudges
	endsEarly
	neverEnds
	endsAnyClaim
	settlesYounger
	releasesGiven
	notKept
	lostIsEmpty
	alwaysWarm
	noLock
	stalled
	forgetsClaims
	forgetsNames
	givesBlind
)
