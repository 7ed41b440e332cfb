package agent

import (
	"context"
	"sync"

	"github.com/talos-sriov/talos-sriov/pkg/cni"
	"github.com/talos-sriov/talos-sriov/pkg/decide"
	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// Attachments knows what the CNI plugin attached to pods, and what of it is left
// over from pods that are gone.
type Attachments interface {
	Orphans() ([]cni.Orphan, error)
	Reclaim(ctx context.Context, o cni.Orphan) error
}

// workers do what was decided, one for each conflict group with work, beside the loop
// and each other: a write that takes its time keeps nothing else waiting. Which runs
// are under way the loop's memory has.
type workers struct {
	agent *Agent
	wg    sync.WaitGroup

	mu    sync.Mutex
	ended []decide.Ended
}

// start starts a worker. snap is the machine as the work was decided on.
func (w *workers) start(ctx context.Context, work decide.Work, snap *inventory.Snapshot) {
	w.wg.Go(func() {
		stuck := false
		for _, r := range work {
			e := decide.Ended{PF: r.PF}
			if !stuck { // else they share hardware with a write that is still under way
				e = w.agent.run(ctx, r, snap)
				stuck = e.Report != nil && e.Report.Stuck
			}
			w.mu.Lock()
			w.ended = append(w.ended, e)
			w.mu.Unlock()
			w.agent.Wake()
		}
	})
}

// run does the work on one PF.
func (a *Agent) run(ctx context.Context, r decide.Run, snap *inventory.Snapshot) decide.Ended {
	e := decide.Ended{PF: r.PF, Plan: r.Plan}
	// First, so that what is not as the config says of a VF that came back is seen by
	// the pass after this run.
	e.Reclaimed = a.reclaim(ctx, snap, r.Reclaim)
	if r.Plan != nil {
		e.Report = a.applier.Run(ctx, r.Plan)
	}
	return e
}

// take returns the runs that have ended since the last call.
func (w *workers) take() []decide.Ended {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.ended
	w.ended = nil
	return out
}

// reclaim reclaims what pods left behind, each behind the gate that also the steps of
// a plan have to pass.
func (a *Agent) reclaim(ctx context.Context, snap *inventory.Snapshot, list []cni.Orphan) []decide.Reclaimed {
	var out []decide.Reclaimed
	for _, o := range list {
		if ctx.Err() != nil {
			return out
		}
		out = append(out, a.reclaimOne(ctx, snap, o))
	}
	return out
}

func (a *Agent) reclaimOne(ctx context.Context, snap *inventory.Snapshot, o cni.Orphan) decide.Reclaimed {
	r := decide.Reclaimed{Orphan: o}
	if _, pf := snap.VF(o.Device); o.HasVF() && pf != nil {
		claims := (gate{a}).Begin(pf.Address)
		defer claims.Release()
		holders, err := claims.Claim(ctx, []string{o.Device})
		if r.Err = err; len(holders) > 0 {
			r.Busy = "in use: " + use.Names(holders)
		}
	}
	if r.Err == nil && r.Busy == "" {
		r.Err = a.opts.Attachments.Reclaim(ctx, o)
	}
	return r
}

// leftovers are what pods that are gone have left, unless the plugin that the
// container runtime calls is not ours: then it is another's affair, since sriov-cni's
// DEL does not release the pod's addresses when its cache file is gone.
func (a *Agent) leftovers() []cni.Orphan {
	if a.opts.Attachments == nil || !a.cni.inCharge() {
		return nil
	}
	list, err := a.opts.Attachments.Orphans()
	if a.unread.news(err) {
		a.log.Warn("cannot read some files of the CNI plugin", "err", err)
	}
	return list
}
