package agent

import (
	"slices"

	"github.com/talos-sriov/talos-sriov/pkg/plan"
	"github.com/talos-sriov/talos-sriov/pkg/selection"
	"github.com/talos-sriov/talos-sriov/pkg/status"
)

// compute is the plan under the config in force, or, on the PFs where that
// is not supported, under the last good one.
func (a *Agent) compute(cur *pass) (*plan.Plan, decision) {
	v := cur.decision
	in := plan.Input{
		Config: v.cfg, SpecHash: v.hash, Snapshot: cur.snap, Use: cur.use,
		Quiet: cur.quiet, Record: a.store.Record(), BootID: a.bootID, Force: a.store.ForceRequests(),
	}
	p := plan.Compute(in)
	bad := refused(p)
	if len(bad) == 0 {
		return p, v
	}
	if v.spec.State == status.SpecAccepted {
		v.spec.State = status.SpecPartly
	}
	if v.good == nil {
		v.keepable = true
		return p, v
	}
	v.cfg = keep(v.cfg, v.good, selection.PFs(v.good, cur.snap), bad)
	in.Config = v.cfg
	kept := plan.Compute(in)
	stillBad := refused(kept)
	v.keepable = true
	for _, pf := range bad {
		from, to := p.PF(pf), kept.PF(pf)
		if to != nil && !slices.Contains(stillBad, pf) {
			v.keepable = false // the older config has something better for this PF
		}
		if from != nil && to != nil {
			// What the newest config got wrong comes first, and with its place.
			to.Problems = append(append([]plan.Problem(nil), from.Problems...), to.Problems...)
			to.Entry = from.Entry
		} else if from != nil {
			kept.PFs = append(kept.PFs, *from)
		}
	}
	kept.Notices, kept.Problems = p.Notices, p.Problems
	return kept, v
}
