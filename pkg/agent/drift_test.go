package agent

import (
	"slices"
	"testing"

	"github.com/talos-sriov/talos-sriov/pkg/op"
	"github.com/talos-sriov/talos-sriov/pkg/plan"
)

func TestDrift(t *testing.T) {
	t.Parallel()
	const pf = "0000:21:00.0"
	plans := map[string]*plan.Plan{
		"ready":   {PFs: []plan.PFPlan{{Address: pf}}},
		"work":    {PFs: []plan.PFPlan{{Address: pf, Steps: []plan.Step{{ID: "x", Op: op.SetNumVFs{N: 1}}}}}},
		"late":    {PFs: []plan.PFPlan{{Address: pf, Steps: []plan.Step{{ID: "x", Op: op.AwaitNetdevs{}}}}}},
		"problem": {PFs: []plan.PFPlan{{Address: pf, Problems: []plan.Problem{{Msg: "x"}}}}},
	}
	d := drift{}
	for i, step := range []struct {
		plan, hash string
		want       bool
	}{
		{"work", "a", false}, // the first time is no drift
		{"work", "a", false},
		{"ready", "a", false},
		{"work", "b", false}, // a new config is no drift
		{"ready", "b", false},
		{"work", "b", true},
		{"work", "b", false}, // one change is counted once
		{"ready", "b", false},
		{"late", "b", false}, // a driver that binds late is nobody's change
		{"ready", "b", false},
		{"problem", "b", false},
		{"work", "b", true},
	} {
		got := slices.Contains(d.observe(plans[step.plan], step.hash), pf)
		if got != step.want {
			t.Errorf("step %d (%s under %s): drift %v, want %v", i, step.plan, step.hash, got, step.want)
		}
	}
	if d[pf].count != 2 {
		t.Errorf("counted %d, want 2", d[pf].count)
	}
}
