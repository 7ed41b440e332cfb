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
	work  work // what failed
	pause time.Duration
	after time.Time
}

// work identifies what is to be done on a PF: the same steps from the same state.
type work []change

type change struct {
	id         string
	from, want op.Value
	waits      bool
}

func workOn(f *plan.PFPlan) work {
	out := make(work, 0, len(f.Steps))
	for i := range f.Steps {
		s := &f.Steps[i]
		out = append(out, change{id: s.ID, from: s.Op.From(), want: s.Op.Want(), waits: len(s.Wait) > 0})
	}
	return out
}

func (w work) equal(o work) bool {
	return slices.EqualFunc(w, o, func(a, b change) bool {
		return a.id == b.id && a.waits == b.waits && op.Equal(a.from, b.from) && op.Equal(a.want, b.want)
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
		if was, failed := r[f.Address]; failed && was.work.equal(workOn(f)) && now.Before(was.after) {
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
	was, work := r[f.Address], workOn(f)
	pause := firstPause
	if was.work.equal(work) {
		pause = min(2*was.pause, lastPause)
	}
	r[f.Address] = retry{work: work, pause: pause, after: now.Add(pause)}
}
