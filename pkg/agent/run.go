package agent

import (
	"context"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/apply"
	"github.com/talos-sriov/talos-sriov/pkg/cni"
	"github.com/talos-sriov/talos-sriov/pkg/plan"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// ended is what the run on a PF came to. plan and report are nil when the plan had no
// part in it. pf is "" for what belongs to no PF.
type ended struct {
	pf        string
	plan      *plan.PFPlan
	report    *apply.Report
	reclaimed []reclaimed
}

// start runs what may run of the plan, in the background and each PF for itself:
// a write that takes its time must not keep other PFs from being worked on, nor
// their pools from being looked after.
func (a *Agent) start(ctx context.Context, m *memory, cur *pass, orphans []cni.Orphan) {
	due, wait := m.retries.due(cur.idle(), time.Now())
	if (waiting(cur.plan) || len(cur.open) > 0 || use.Unlisted(a.store.Allocations().Notes, cur.entries, time.Now())) && (wait == 0 || wait > askAgain) {
		wait = askAgain
	}
	m.retry.in(wait)
	left := map[string][]cni.Orphan{}
	for _, o := range orphans {
		if pf := cur.pfOf(o.Device); !cur.busy[pf] {
			left[pf] = append(left[pf], o) // else it is considered when that run is over
		}
	}
	work := map[string]*plan.PFPlan{}
	for pf := range left {
		work[pf] = nil
	}
	for _, f := range due {
		work[f.Address] = f
	}
	for pf, f := range work {
		m.runs[pf], cur.busy[pf] = true, true
		go func() {
			e := ended{pf: pf, plan: f}
			// First, so that what is not as the config says of a VF that came
			// back is seen by the pass after this run.
			e.reclaimed = a.reclaim(ctx, cur, left[pf])
			if f != nil {
				e.report = a.applier.Run(ctx, f)
			}
			m.done <- e
		}()
	}
}

// ended takes in and logs what a run came to.
func (a *Agent) ended(m *memory, e ended) {
	delete(m.runs, e.pf)
	a.reclaimEnded(m, e.reclaimed)
	r := e.report
	if r == nil {
		return
	}
	m.retries.ended(e.plan, r, time.Now())
	m.reports[e.pf] = r
	m.logOnChange.failed("run/"+e.pf, r.Err, func() { a.log.Error("not applied", "pf", e.pf, "name", r.Name, "err", r.Err) })
}
