package decide

import (
	"slices"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/plan"
	"github.com/talos-sriov/talos-sriov/pkg/pool"
	"github.com/talos-sriov/talos-sriov/pkg/report"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// withdrawn are the devices that are not given out, and why. Of several reasons the
// first counts: its interface is not there, a change waits for it, it is not configured
// yet, somebody has it under another resource name, a process has it open, it is
// unhealthy.
func withdrawn(p *plan.Plan, pools *pool.Assignment, o *Observation, unhealthy map[string]pool.Reason) map[string]pool.Reason {
	out := unfinished(p, o.Snapshot, o.Use)
	for i := range pools.Pools {
		elsewhere(out, &pools.Pools[i], o.Use)
	}
	for id, answer := range o.Open {
		add(out, id, pool.Reason{Cause: pool.CauseOpen, Text: answer.String() + ", and no pod is known to have it"})
	}
	for id, r := range unhealthy {
		add(out, id, r)
	}
	return out
}

// add keeps the reason that is there: it is nearer to the cause.
func add(to map[string]pool.Reason, id string, r pool.Reason) {
	if _, ok := to[id]; !ok {
		to[id] = r
	}
}

// elsewhere adds the devices of the pool that somebody has under another resource
// name: the kubelet keeps its accounts by name, and takes them for free in this pool.
func elsewhere(to map[string]pool.Reason, p *pool.Pool, used use.Set) {
	for i := range p.Devices {
		id := p.Devices[i].ID
		for _, h := range used.Of(id).Holders {
			if h.Elsewhere(p.Resource) {
				add(to, id, pool.Reason{Cause: pool.CauseHeldElsewhere, Text: h.String() + " has it as " + h.Resource})
				break
			}
		}
	}
}

// unfinished are the VFs on which work is left, those that a waiting step will take
// away, and those whose interface is not there.
func unfinished(p *plan.Plan, snap *inventory.Snapshot, used use.Set) map[string]pool.Reason {
	out := map[string]pool.Reason{}
	for i := range p.PFs {
		f := &p.PFs[i]
		for _, vf := range f.Withdraw {
			out[vf] = pool.Reason{Cause: pool.CauseWaiting, Text: "a change of the PF is waiting for this VF"}
		}
		pf := snap.PF(f.Address)
		if pf == nil {
			continue
		}
		for _, index := range MissingInterfaces(pf, used) {
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

// MissingInterfaces are the VFs of an Ethernet PF whose interface has not come yet,
// or was left in a namespace: a pod that got one would find nothing.
func MissingInterfaces(pf *inventory.PF, used use.Set) []int {
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
