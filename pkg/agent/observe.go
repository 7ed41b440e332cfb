package agent

import (
	"context"
	"maps"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/op"
	"github.com/talos-sriov/talos-sriov/pkg/plan"
	"github.com/talos-sriov/talos-sriov/pkg/pool"
	"github.com/talos-sriov/talos-sriov/pkg/selection"
)

// pass is one pass of the loop: what was observed, what was decided.
type pass struct {
	decision decision
	snap     *inventory.Snapshot
	evidence
	quiet plan.Quiet
	plan  *plan.Plan
	bound selection.Result
	// unhealthy are the devices that are not healthy.
	unhealthy map[string]pool.Reason
	// busy reports of each PF whether a run is under way on it.
	busy    map[string]bool
	readErr error
}

// observe reads the world and computes the plan. It changes nothing.
func (a *Agent) observe(ctx context.Context, m *memory) *pass {
	a.collector.reconciles.Inc()
	cur := &pass{decision: decide(m.newest, a.store.LastGood(), m.parsed.load)}
	if m.newest == nil {
		// Nothing may be done yet, and the config comes in a moment: the
		// first list must not wait for a read that nobody needs.
		cur.snap = &inventory.Snapshot{}
		return cur
	}
	cur.snap, cur.readErr = a.read(ctx, needs(cur.decision, a.store.Record(), a.offered.assignment()))
	if cur.readErr != nil {
		cur.snap = &inventory.Snapshot{}
	}
	// A read that failed has seen no PF.
	quiet, next := m.quiet.See(cur.snap, time.Now(), a.opts.NetworkWait)
	cur.quiet = quiet
	m.quietAt.in(next)
	if cur.readErr != nil {
		return cur
	}
	a.lastSnapshot.Store(cur.snap)
	cur.evidence = a.holders(ctx, cur.snap)
	if !cur.decision.known {
		return cur
	}
	cur.plan, cur.decision = a.compute(cur)
	cur.busy = maps.Clone(m.runs)
	// What is seen between our own writes is nobody's change.
	for _, pf := range m.drift.observe(cur.idle(), cur.decision.hash) {
		d := changed(cur.snap.PF(pf), cur.plan.PF(pf).Steps)
		a.log.Warn("changed by somebody else, will be repaired", "pf", pf, "times", m.drift[pf].count, "path", d.object, "found", op.Text(d.found), "want", op.Text(d.want))
	}
	return cur
}

func (a *Agent) read(ctx context.Context, n inventory.Needs) (*inventory.Snapshot, error) {
	return a.reader.Read(ctx, n)
}

// idle is the plan for the PFs on which no run is under way.
func (cur *pass) idle() *plan.Plan {
	out := &plan.Plan{Configured: cur.plan.Configured, ForceTokens: cur.plan.ForceTokens}
	for i := range cur.plan.PFs {
		if !cur.busy[cur.plan.PFs[i].Address] {
			out.PFs = append(out.PFs, cur.plan.PFs[i])
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
		m.logOnChange.do("state", "wait", func() {
			a.log.Info("state directory missing, state kept in memory", "path", a.opts.StateDir, "err", o.Unwritable)
		})
		m.unwritable = nil
	case o.Unwritable != nil:
		m.logOnChange.do("state", o.Unwritable.Error(), func() { a.saved(o.Unwritable) })
		m.unwritable = o.Unwritable
	default:
		m.logOnChange.do("state", "ok", func() { a.log.Info("state directory in use", "path", a.opts.StateDir) })
		a.unsaved.failed("", nil, nil)
		if m.unwritable != nil {
			clear(m.retries) // what failed because no intent could be recorded need not wait
		}
		m.unwritable = nil
	}
}
