package agent

import (
	"github.com/talos-sriov/talos-sriov/pkg/plan"
	"github.com/talos-sriov/talos-sriov/pkg/status"
)

// compute is the plan under the config in force, and what is reported of that.
func (a *Agent) compute(cur *pass) (*plan.Plan, decision) {
	v := cur.decision
	p := plan.Compute(plan.Input{
		Config: v.cfg, Good: v.good, SpecHash: v.hash, Snapshot: cur.snap, Use: cur.use,
		Quiet: cur.quiet, Record: a.store.Record(), BootID: a.bootID, Force: a.store.ForceRequests(),
	})
	if len(p.Refused()) > 0 && v.spec.State == status.SpecAccepted {
		v.spec.State = status.SpecPartly
	}
	v.keepable = p.Displaces()
	return p, v
}
