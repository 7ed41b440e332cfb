package decide

import (
	"testing"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/op"
	"github.com/talos-sriov/talos-sriov/pkg/plan"
)

// TestLateDriverIsNoDrift: a plan that only waits for the kernel shows nobody's change,
// and does not make the PF one that is not as it should be.
func TestLateDriverIsNoDrift(t *testing.T) {
	const pf = "0000:21:00.0"
	plans := map[string]*plan.Plan{
		"ready": {PFs: []plan.PFPlan{{Address: pf}}},
		"work":  {PFs: []plan.PFPlan{{Address: pf, Steps: []plan.Step{{ID: "x", Op: op.SetNumVFs{N: 1}}}}}},
		"late":  {PFs: []plan.PFPlan{{Address: pf, Steps: []plan.Step{{ID: "x", Op: op.AwaitNetdevs{}}}}}},
		"late, with a problem": {PFs: []plan.PFPlan{{
			Address: pf, Steps: []plan.Step{{ID: "x", Op: op.AwaitNetdevs{}}}, Problems: []plan.Problem{{Msg: "x"}},
		}}},
	}
	snap := &inventory.Snapshot{PFs: []inventory.PF{{Function: inventory.Function{Address: pf}}}}
	m := Memory{PFs: map[string]PF{}}
	for i, step := range []struct {
		plan, hash string
		want       bool
	}{
		{"late", "a", false},
		{"work", "a", false}, // it never was ready
		{"ready", "a", false},
		{"late", "a", false},
		{"ready", "a", false},
		{"late, with a problem", "a", false},
		{"work", "a", true},
		{"ready", "a", false},
		{"late", "b", false}, // nor does it count under another config
		{"work", "b", false},
	} {
		if got := len(m.drifted(plans[step.plan], step.hash, snap)) > 0; got != step.want {
			t.Errorf("step %d (%s under %s): drift %v, want %v", i, step.plan, step.hash, got, step.want)
		}
	}
}
