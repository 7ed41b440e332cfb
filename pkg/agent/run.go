package agent

import (
	"context"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/apply"
	"github.com/talos-sriov/talos-sriov/pkg/cni"
	"github.com/talos-sriov/talos-sriov/pkg/plan"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// ended is what the run on a PF came to. report is nil when the plan had no part
// in it. pf is "" for what belongs to no PF.
type ended struct {
	pf        string
	report    *apply.Report
	reclaimed []reclaimed
}

// start runs what may run of the plan, in the background and each PF for itself:
// a write that takes its time must not keep other PFs from being worked on, nor
// their pools from being looked after.
func (a *Agent) start(ctx context.Context, m *memory, cur *pass, orphans []cni.Orphan) {
	due, wait := m.retries.due(cur.idle(), time.Now())
	if (waiting(cur.plan) || len(cur.open) > 0 || use.Unlisted(a.store.Allocations().Notes)) && (wait == 0 || wait > askAgain) {
		wait = askAgain
	}
	m.retry.in(wait)
	left := map[string][]cni.Orphan{}
	for _, o := range orphans {
		if pf := cur.pfOf(o.Device); !cur.busy[pf] {
			left[pf] = append(left[pf], o) // else it is considered when that run is over
		}
	}
	work := map[string]*plan.Plan{}
	for pf := range left {
		work[pf] = nil
	}
	if due != nil {
		for i := range due.PFs {
			work[due.PFs[i].Address] = &plan.Plan{PFs: due.PFs[i : i+1]}
		}
	}
	for pf, p := range work {
		m.runs[pf] = p
		cur.busy[pf] = true
		go func() {
			e := ended{pf: pf}
			// First, so that what is not as the config says of a VF that came
			// back is seen by the pass after this run.
			e.reclaimed = a.reclaim(ctx, cur, left[pf])
			if p != nil {
				e.report = a.applier.Run(ctx, p)
			}
			m.done <- e
		}()
	}
}

// ended takes in what a run came to.
func (a *Agent) ended(m *memory, e ended) {
	ran := m.runs[e.pf]
	delete(m.runs, e.pf)
	a.reclaimEnded(m, e.reclaimed)
	if e.report != nil {
		a.outcome(m, ran, e.report)
	}
}

// outcome takes in and logs what a run came to.
func (a *Agent) outcome(m *memory, ran *plan.Plan, r *apply.Report) {
	m.retries.ended(ran, r, time.Now())
	for i := range r.PFs {
		f := &r.PFs[i]
		m.reports[f.Address] = f
		if f.Err != nil {
			m.logOnChange.do("run/"+f.Address, f.Err.Error(), func() { a.log.Error("not applied", "pf", f.Address, "name", f.Name, "err", f.Err) })
			continue
		}
		m.logOnChange.do("run/"+f.Address, "", func() {})
	}
}
