package agent

import (
	"errors"
	"testing"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/apply"
	"github.com/talos-sriov/talos-sriov/pkg/op"
	"github.com/talos-sriov/talos-sriov/pkg/plan"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// TestRetry: what failed is tried again at once when it is another piece of work,
// and else after a pause that doubles.
func TestRetry(t *testing.T) {
	t.Parallel()
	const pf = "0000:21:00.0"
	step := func(was, n int, waits ...use.Holder) *plan.Plan {
		return &plan.Plan{PFs: []plan.PFPlan{{Address: pf, Steps: []plan.Step{
			{ID: "x", Op: op.SetNumVFs{Found: op.Found{Was: op.Count(was)}, N: op.Count(n)}},
			{ID: "y", Op: op.SetAutoProbe{}, Wait: waits},
		}}}}
	}
	failed := &apply.Report{Err: errors.New("no")}
	now := time.Unix(1e9, 0)
	r := retries{}
	for i, pause := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second} {
		if p, _ := r.due(step(0, 4), now); p == nil {
			t.Fatalf("try %d is not due", i)
		}
		r.ended(&step(0, 4).PFs[0], failed, now)
		if p, wait := r.due(step(0, 4), now); p != nil || wait != pause {
			t.Errorf("after failure %d: due %v, or in %v, want %v", i, p != nil, wait, pause)
		}
		now = now.Add(pause)
	}
	r.ended(&step(0, 4).PFs[0], failed, now)
	for name, other := range map[string]*plan.Plan{
		"wants another value": step(0, 5), "finds another value": step(2, 4), "waits for a pod": step(0, 4, use.Holder{Pod: "p"}),
	} {
		if p, _ := r.due(other, now); p == nil {
			t.Errorf("%s: not due", name)
		}
	}
	r.ended(&step(0, 5).PFs[0], failed, now)
	if _, wait := r.due(step(0, 5), now); wait != time.Second {
		t.Errorf("other work begins with a pause of %v", wait)
	}
	r.ended(&step(0, 5).PFs[0], &apply.Report{}, now)
	if len(r) > 0 {
		t.Errorf("success is remembered as failure: %v", r)
	}
}
