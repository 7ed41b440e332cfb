package agent

import (
	"context"
	"slices"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/op"
	"github.com/talos-sriov/talos-sriov/pkg/plan"
	"github.com/talos-sriov/talos-sriov/pkg/pool"
	"github.com/talos-sriov/talos-sriov/pkg/selection"
)

// turn is one round of the loop: what was seen, what was decided.
type turn struct {
	verdict verdict
	snap    *inventory.Snapshot
	evidence
	quiet plan.Quiet
	plan  *plan.Plan
	bound selection.Result
	// unhealthy are the devices that are not healthy.
	unhealthy map[string]pool.Reason
	// busy tells of each PF whether a run is under way on it.
	busy    map[string]bool
	readErr error
}

// look reads the world and computes the plan. It changes nothing.
func (a *Agent) look(ctx context.Context, m *memory) *turn {
	a.collector.reconcile()
	t := &turn{verdict: decide(m.newest, a.store.LastGood(), m.parsed.load)}
	if m.newest == nil {
		// Nothing may be done yet, and the document comes in a moment: the
		// first list shall not wait for a look that nobody needs.
		t.snap = &inventory.Snapshot{}
		return t
	}
	t.snap, t.readErr = a.read(ctx, needs(t.verdict, a.store.Record(), a.offered.assignment()))
	if t.readErr != nil {
		t.snap = &inventory.Snapshot{}
	}
	t.quiet = m.quiet.see(t.snap, a.opts.NetworkWait)
	if t.readErr != nil {
		return t
	}
	a.seen.Store(t.snap)
	t.evidence = a.holders(ctx, t.snap)
	if !t.verdict.known {
		return t
	}
	t.plan, t.verdict = a.compute(t)
	t.busy = m.busy()
	// What is seen between our own writes is nobody's change.
	for _, pf := range m.drift.seen(t.idle(), t.verdict.hash) {
		steps := t.plan.PF(pf).Steps
		s := &steps[slices.IndexFunc(steps, writes)]
		a.log.Warn("changed by somebody else, will be repaired", "pf", pf, "times", m.drift[pf].count, "path", s.Op.Object(), "found", op.Text(s.Op.From()), "want", op.Text(s.Op.Want()))
	}
	return t
}

func (a *Agent) read(ctx context.Context, n inventory.Needs) (*inventory.Snapshot, error) {
	return inventory.ReadNeeded(ctx, a.opts.Sysfs, a.opts.Network, n)
}

// idle is the plan for the PFs on which no run is under way.
func (t *turn) idle() *plan.Plan {
	out := &plan.Plan{Configured: t.plan.Configured, ForceTokens: t.plan.ForceTokens}
	for i := range t.plan.PFs {
		if !t.busy[t.plan.PFs[i].Address] {
			out.PFs = append(out.PFs, t.plan.PFs[i])
		}
	}
	return out
}

// open reads the state directory when it is there, and writes what it lacks.
func (a *Agent) open(m *memory) {
	o := a.store.Open()
	if o.Damaged != nil {
		a.log.Warn("state directory damaged", "path", a.opts.StateDir, "err", o.Damaged)
	}
	if o.Made {
		m.saved = false // nor is the status there
		a.log.Warn("state directory removed and recreated", "path", a.opts.StateDir)
	}
	switch {
	case !o.Read:
		m.said.do("state", "wait", func() {
			a.log.Info("state directory missing, state kept in memory", "path", a.opts.StateDir, "err", o.Unwritable)
		})
		m.unwritable = nil
	case o.Unwritable != nil:
		m.said.do("state", o.Unwritable.Error(), func() { a.unsaved(o.Unwritable) })
		m.unwritable = o.Unwritable
	default:
		m.said.do("state", "ok", func() { a.log.Info("state directory in use", "path", a.opts.StateDir) })
		a.unsavedOnce.do("", "", func() {})
		if m.unwritable != nil {
			clear(m.retries) // what failed because no intent could be recorded need not wait
		}
		m.unwritable = nil
	}
}
