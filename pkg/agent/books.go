package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/apply"
	"github.com/talos-sriov/talos-sriov/pkg/deviceplugin"
	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/ledger"
	"github.com/talos-sriov/talos-sriov/pkg/pool"
	"github.com/talos-sriov/talos-sriov/pkg/record"
	"github.com/talos-sriov/talos-sriov/pkg/state"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// Who has a device is known to the ledger alone. This file has what goes through its
// doors beside the loop, each on a goroutine of its own: what the kubelet takes
// (plugin), what a run is about to change (gate).

// askTimeout bounds one question to the kubelet; no answer counts as in use.
const askTimeout = 5 * time.Second

// offer hands what is offered now to the device plugin.
func (a *Agent) offer(o ledger.Offered) {
	a.plugin.Offer(deviceplugin.Offer{Assignment: o.Assignment, Given: o.Given, Seq: o.Seq})
}

// keepBooks writes what of the ledger outlives the process.
func (a *Agent) keepBooks() { a.saved(a.store.SetBooks(a.ledger.Books())) }

// holders asks who has the devices of the snapshot. q is from before the snapshot was
// made.
func (a *Agent) holders(ctx context.Context, q ledger.Question, snap *inventory.Snapshot) holders {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	// The answer is of this time: however long it takes to be taken in, a note does not
	// grow old meanwhile.
	asked := time.Now()
	kubelet := a.opts.Kubelet.Ask(ctx)
	if err := errors.Join(kubelet.Checkpoint.Err, kubelet.Checkpoint.NamesErr); a.uncertain.news(err) {
		a.log.Warn("part of what the kubelet has given out is not known", "err", err)
	}
	// A VF that a pod has is not asked about: its program may open it.
	open := a.opened.now(snap, func(id string) bool { return len(kubelet.Held[id]) > 0 || a.ledger.Noted(id) })
	h := holders{open: open, answered: kubelet.Answered}
	h.Learned = a.ledger.Learn(q, ledger.Answer{Kubelet: kubelet, Open: open}, snap, asked)
	a.keepBooks()
	if h.Warm {
		if err := a.plugin.Settle(a.ledger.Holds); err != nil {
			a.log.Warn("cannot remove the files of free devices", "err", err)
		}
	}
	return h
}

// holders is who has the devices.
type holders struct {
	ledger.Learned
	// open are VFs that a process has open though no pod is known to have them.
	open map[string]use.Answer
	// answered is true when the kubelet answered who has what.
	answered bool
}

// books is the ledger as the device plugin sees it.
type books struct{ a *Agent }

// Seen says that a kubelet has shown itself.
func (b books) Seen() {
	if b.a.ledger.Seen() {
		b.a.keepBooks()
	}
}

// Note notes what the kubelet takes, before it gets the answer that it may. A note
// that cannot be written is in force too, and a later process takes the unwritable
// directory for a kubelet that was seen: no device becomes free by it.
//
// A VF that a process has open is refused: the kubelet forgets a pod that was deleted
// by force at once, also while its virtual machine still runs.
func (b books) Note(_ context.Context, got deviceplugin.Allocation) (done func(given bool), err error) {
	a := b.a
	// The loop asks the kubelet until it confirms what it took.
	defer a.Wake()
	if taken := a.opened.take(a.lastSnapshot.Load(), got.IDs); len(taken) > 0 {
		id := slices.Min(slices.Collect(maps.Keys(taken)))
		return nil, fmt.Errorf("%s is in use: %s, by a process of no pod that the kubelet knows; it can be allocated when that process has ended", id, taken[id])
	}
	allocation, err := a.ledger.Note(got.Resource, got.IDs, time.Now().UTC())
	if err != nil {
		return nil, err
	}
	a.keepBooks()
	return func(given bool) {
		if given {
			a.collector.allocate(got.Resource, len(got.IDs))
			return
		}
		// What waits for them need not wait.
		a.ledger.Release(allocation)
		a.keepBooks()
		a.Wake()
	}, nil
}

// gate is the last check before anything of a device is changed.
type gate struct{ a *Agent }

// Begin implements apply.Gate.
func (g gate) Begin(pf string) apply.Claims { return &claims{a: g.a, pf: pf} }

// claims are those of one run, on one goroutine at a time.
type claims struct {
	a  *Agent
	pf string
	id ledger.Claim // 0: none yet
}

// Claim implements apply.Claims. First nobody gets the devices any more, then who has
// them: the other way round a pod could slip in between.
func (c *claims) Claim(ctx context.Context, devices []string) ([]use.Holder, error) {
	a := c.a
	if err := c.withdraw(devices); err != nil {
		return nil, err
	}
	q := a.ledger.Ask()
	snap, err := a.read(ctx, inventory.Needs{})
	if err != nil {
		return nil, fmt.Errorf("read the machine before a change of %s: %w", c.pf, err)
	}
	if pf := snap.PF(c.pf); pf != nil && pf.Silent != "" {
		return nil, fmt.Errorf("read the machine before a change of %s: %s", c.pf, pf.Silent)
	}
	a.opened.probe(snap, devices)
	set := a.holders(ctx, q, snap).Use
	var holders []use.Holder
	for _, id := range devices {
		if st := set.Of(id); st.Busy() {
			holders = append(holders, st.Holders...)
		}
	}
	return holders, nil
}

func (c *claims) withdraw(devices []string) (err error) {
	reason := pool.Reason{Cause: pool.CauseUnfinished, Text: "is being changed"}
	by := "a change of " + c.pf
	var offered ledger.Offered
	if c.id == 0 {
		c.id, offered, err = c.a.ledger.Claim(by, devices, reason)
	} else {
		offered, err = c.a.ledger.Extend(c.id, by, devices, reason)
	}
	if err == nil {
		c.a.offer(offered)
	}
	return err
}

// Release implements apply.Claims.
func (c *claims) Release() { c.a.ledger.End(c.id) }

// journal keeps apply's intents in the store.
type journal struct{ store *state.Store }

func (j journal) Begin(_ context.Context, run record.Run, ids []string) error {
	return j.store.Update(func(r record.Record) record.Record { return r.Begin(run, ids) })
}

func (j journal) End(_ context.Context, run record.Run, out record.Outcome) error {
	return j.store.Update(func(r record.Record) record.Record { return r.End(run, out) })
}
