package agent

import (
	"slices"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/apply"
	"github.com/talos-sriov/talos-sriov/pkg/op"
	"github.com/talos-sriov/talos-sriov/pkg/plan"
)

// A step that failed is tried again when the plan for its PF changed, because
// then the machine or the config did, and else after a pause that doubles from
// firstPause to lastPause: failing writes cause kernel events of their own, and
// without this the events would drive the loop round and round.
const (
	firstPause = time.Second
	lastPause  = 5 * time.Minute
)

// retries remembers which work failed, by PF.
type retries map[string]retry

type retry struct {
	steps []plan.Step // what failed
	pause time.Duration
	after time.Time
}

// sameWork reports whether the same is to be done on a PF: the same steps from the same
// state.
func sameWork(x, y []plan.Step) bool {
	return slices.EqualFunc(x, y, func(a, b plan.Step) bool {
		return a.ID == b.ID && (len(a.Wait) > 0) == (len(b.Wait) > 0) &&
			op.Equal(a.Op.From(), b.Op.From()) && op.Equal(a.Op.Want(), b.Op.Want())
	})
}

// due returns the PFs whose plan may run now, and the time until more of them may; 0
// when that does not depend on time.
func (r retries) due(p *plan.Plan, now time.Time) ([]*plan.PFPlan, time.Duration) {
	var out []*plan.PFPlan
	var wait time.Duration
	for i := range p.PFs {
		f := &p.PFs[i]
		if !ready(f) {
			continue
		}
		if was, failed := r[f.Address]; failed && sameWork(was.steps, f.Steps) && now.Before(was.after) {
			if left := was.after.Sub(now); wait == 0 || left < wait {
				wait = left
			}
			continue
		}
		out = append(out, f)
	}
	return out, wait
}

// ready reports whether any step of the PF waits for nobody.
func ready(f *plan.PFPlan) bool { return len(plan.Held(f)) < len(f.Steps) }

// ended takes in the outcome of a run of f.
func (r retries) ended(f *plan.PFPlan, out *apply.Report, now time.Time) {
	if out.Err == nil && len(out.Problems) == 0 && len(out.Held) == 0 {
		delete(r, f.Address)
		return
	}
	was, pause := r[f.Address], firstPause
	if sameWork(was.steps, f.Steps) {
		pause = min(2*was.pause, lastPause)
	}
	r[f.Address] = retry{steps: f.Steps, pause: pause, after: now.Add(pause)}
}
