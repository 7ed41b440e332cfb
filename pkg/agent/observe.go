package agent

import (
	"context"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/decide"
	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/ledger"
)

// observed is an observation, and the moment at which it began.
type observed struct {
	decide.Observation
	question ledger.Question
}

// snapshot is what was read, or an empty one.
func (o *observed) snapshot() *inventory.Snapshot {
	if o.Snapshot == nil {
		return &inventory.Snapshot{}
	}
	return o.Snapshot
}

// observe reads the world. It changes nothing on the machine.
func (l *loop) observe(ctx context.Context) observed {
	a := l.agent
	a.collector.reconciles.Inc()
	o := observed{question: a.ledger.Ask()}
	o.Ended, o.Relieved, l.relieved = l.workers.take(), l.relieved, false
	l.configs.keep(a.store.LastGood())
	if c := l.configs.now(); c.Newest != nil {
		a.look(ctx, &o, needs(c, a.store.Record(), l.offered))
	}
	// Else nothing may be done yet, and the config comes in a moment: the first list
	// must not wait for a read that nobody needs.
	o.At = time.Now()
	return o
}

// look reads the machine and asks who has which device.
func (a *Agent) look(ctx context.Context, o *observed, n inventory.Needs) {
	o.Snapshot, o.Err = a.read(ctx, n)
	if o.Err != nil {
		o.Snapshot = &inventory.Snapshot{}
		return
	}
	a.lastSnapshot.Store(o.Snapshot)
	h := a.holders(ctx, o.question, o.Snapshot)
	o.Use, o.Held, o.Unconfirmed = h.Use, h.Held, h.Unconfirmed
	o.Open, o.Answered = h.open, h.answered
	o.Leftovers = a.leftovers()
	o.Stuck = a.applier.Stuck()
	o.Record, o.Recorded, o.Forced = a.store.Record(), a.store.Read(), a.store.ForceRequests()
}

func (a *Agent) read(ctx context.Context, n inventory.Needs) (*inventory.Snapshot, error) {
	return a.reader.Read(ctx, n)
}

// open reads the state directory when it is there, and writes what it lacks.
func (l *loop) open() {
	a := l.agent
	o := a.store.Open()
	switch {
	case o.Books != nil:
		a.ledger.Recover(*o.Books, o.Unknown)
		a.saved(a.store.Adopt(a.ledger.Books()))
	case o.Unknown && !o.Read:
		// An earlier process may have known anything.
		a.ledger.Recover(ledger.Books{}, true)
	case o.Unknown:
		a.ledger.Seen()
	}
	if o.Damaged != nil {
		a.log.Warn("state directory damaged", "path", a.opts.StateDir, "err", o.Damaged)
	}
	if o.Made {
		l.written = false // nor is the status there
		a.log.Warn("state directory removed and recreated", "path", a.opts.StateDir)
	}
	was := l.state
	l.state = stateDir{read: o.Read, unwritable: o.Unwritable, known: true}
	switch {
	case !o.Read:
		if !was.known || was.read {
			a.log.Info("state directory missing, state kept in memory", "path", a.opts.StateDir, "err", o.Unwritable)
		}
	case o.Unwritable != nil:
		a.saved(o.Unwritable)
	case !was.usable():
		a.unsaved.news(nil)
		l.relieved = was.read
		a.log.Info("state directory in use", "path", a.opts.StateDir)
	}
}

// stateDir is how the state directory was at the last pass.
type stateDir struct {
	known      bool // there was a pass
	read       bool // it is there and was read
	unwritable error
}

func (s stateDir) usable() bool { return s.read && s.unwritable == nil }

// problem is why the directory, which is there, cannot be written.
func (s stateDir) problem() error {
	if !s.read {
		return nil
	}
	return s.unwritable
}
