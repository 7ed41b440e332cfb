package agent

import (
	"slices"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/plan"
	"github.com/talos-sriov/talos-sriov/pkg/pool"
	"github.com/talos-sriov/talos-sriov/pkg/report"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// unfinished are the VFs that must not be allocated for what the plan is about,
// and why: those on which work is left, those that a waiting step will take away,
// and those whose interface is not there.
func unfinished(p *plan.Plan, snap *inventory.Snapshot, used use.Set) map[string]pool.Reason {
	out := map[string]pool.Reason{}
	if p == nil {
		return out
	}
	for i := range p.PFs {
		f := &p.PFs[i]
		for _, vf := range f.Withdraw {
			out[vf] = pool.Reason{Cause: pool.CauseWaiting, Text: "a change of the PF is waiting for this VF"}
		}
		pf := snap.PF(f.Address)
		if pf == nil {
			continue
		}
		for _, index := range missingInterfaces(pf, used) {
			out[pf.VF(index).Address] = pool.Reason{Cause: pool.CauseNoInterface, Text: report.MissingInterface}
		}
		for j := range f.Steps {
			for _, index := range f.Steps[j].Op.VFs() {
				if vf := pf.VF(index); vf != nil {
					add(out, vf.Address, pool.Reason{Cause: pool.CauseUnfinished, Text: "not configured yet: " + f.Steps[j].Reason})
				}
			}
		}
	}
	return out
}

// add keeps the reason that is there: it is nearer to the cause.
func add(to map[string]pool.Reason, id string, r pool.Reason) {
	if _, ok := to[id]; !ok {
		to[id] = r
	}
}

// unallocatable are the devices that are not offered, and why: what the plan waits
// for, what processes have open, what is unhealthy.
func (cur *pass) unallocatable() map[string]pool.Reason {
	out := unfinished(cur.plan, cur.snap, cur.use)
	for id, answer := range cur.open {
		add(out, id, pool.Reason{Cause: pool.CauseOpen, Text: answer.String() + ", and no pod is known to have it"})
	}
	for id, r := range cur.unhealthy {
		add(out, id, r)
	}
	return out
}

// missingInterfaces are the VFs of an Ethernet PF whose interface has not come yet,
// or was left in a namespace: a pod that got one would find nothing.
func missingInterfaces(pf *inventory.PF, used use.Set) []int {
	var out []int
	for i := range pf.VFs {
		vf := &pf.VFs[i]
		if !vf.IsEthernet() || !use.NetdevAway(&vf.Function) {
			continue
		}
		if !slices.ContainsFunc(used.Of(vf.Address).Holders, func(h use.Holder) bool { return !use.OfMachine(h.Evidence) }) {
			out = append(out, vf.Index)
		}
	}
	return out
}
