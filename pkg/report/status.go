package report

import (
	"slices"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/plan"
	"github.com/talos-sriov/talos-sriov/pkg/pool"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/status"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// Input is what a pass of the daemon observed and decided.
type Input struct {
	Spec     status.Spec
	Snapshot *inventory.Snapshot
	// Plan is nil while there is none.
	Plan *plan.Plan
	Use  use.Set
	// Desired are the config's entries in force, by PF.
	Desired map[string]*spec.PhysicalFunction
	// Runs are the outcomes of the last runs, by PF; Busy are the PFs on which a
	// run is under way.
	Runs map[string]Run
	Busy map[string]bool
	// Missing are the VFs, by PF, that are not offered because their interface is
	// not there.
	Missing map[string][]int
	// Offered is nil while nothing is; its devices have the reasons for which they
	// are not allocatable.
	Offered *pool.Assignment
	// Registrations are by resource.
	Registrations map[string]Registration
	// Drift is how often each PF was found changed.
	Drift map[string]int
	// Problems belong to no PF, beside those of the plan.
	Problems []status.Problem
}

// Run is what the last run on a PF met.
type Run struct {
	Problems []plan.Problem
	Failures []Failure
}

// MissingInterface is why a VF without its interface is not offered.
const MissingInterface = "its driver is bound, but its interface is not in the host's network namespace, and no pod is known to have it"

// Status is the status of a pass, without what only its process knows: the
// daemon, the CNI plugin, orphans.
func Status(in *Input) *status.Status {
	s := &status.Status{
		APIVersion: status.APIVersion, Kind: status.Kind, Spec: in.Spec,
		RDMANetns: in.Snapshot.RDMANetns, Problems: slices.Clone(in.Problems),
	}
	if in.Plan != nil {
		s.Problems = append(s.Problems, in.Plan.Problems...)
		s.Notices = in.Plan.Notices
		for i := range in.Plan.PFs {
			s.PFs = append(s.PFs, pf(in, &in.Plan.PFs[i]))
		}
	}
	if in.Offered != nil {
		for i := range in.Offered.Pools {
			p := &in.Offered.Pools[i]
			var r *Registration
			if known, ok := in.Registrations[p.Resource]; ok {
				r = &known
			}
			s.Pools = append(s.Pools, Pool(p, r, in.Use))
		}
	}
	return s
}

func pf(in *Input, f *plan.PFPlan) status.PF {
	out := status.PF{
		Address: f.Address, Name: f.Name, Entry: f.Entry, Drift: in.Drift[f.Address],
		Steps: Steps(f), Errors: slices.Clone(f.Problems), Notices: f.Notices,
	}
	if found := in.Snapshot.PF(f.Address); found != nil {
		out.Driver, out.Actual = found.Driver, actual(found)
	}
	if e := in.Desired[f.Address]; e != nil {
		out.Desired = status.Desired{NumVFs: e.NumVFs, MTU: e.MTU, EswitchMode: string(e.EswitchMode)}
	}
	if vfs := in.Missing[f.Address]; len(vfs) > 0 {
		out.Errors = append(out.Errors, status.Problem{
			Pos: f.Entry, PF: f.Address, VFs: vfs, Pending: true, Settling: true,
			Msg:  "a VF is not offered: " + MissingInterface,
			Hint: "taken up when the interface appears; one that a dead pod left in a namespace comes back when that is removed",
		})
	}
	if run, ok := in.Runs[f.Address]; ok && len(f.Steps) > 0 {
		// What the last run met counts as long as work is left.
		out.Errors = append(out.Errors, run.Problems...)
		for i := range run.Failures {
			out.Errors = append(out.Errors, run.Failures[i].problem(f.Entry))
		}
	}
	out.State = state(&out, in.Busy[f.Address])
	return out
}

// state is how the PF is. Ready is what none of us writes to any more.
func state(pf *status.PF, busy bool) status.PFState {
	switch {
	case status.Lasting(pf.Errors):
		return status.PFFailed
	case slices.ContainsFunc(pf.Steps, func(s status.Step) bool { return len(s.Wait) > 0 }):
		return status.PFWaiting
	case len(pf.Steps) > 0 || len(pf.Errors) > 0 || busy:
		return status.PFPending
	}
	return status.PFReady
}

func actual(pf *inventory.PF) status.Actual {
	out := status.Actual{NumVFs: pf.NumVFs, TotalVFs: pf.TotalVFs, EswitchMode: pf.EswitchMode}
	if len(pf.Netdevs) > 0 {
		out.MTU, out.Carrier = pf.Netdevs[0].MTU, pf.Netdevs[0].Carrier
	}
	for i := range pf.VFs {
		vf := &pf.VFs[i]
		if vf.Representor == "" {
			continue
		}
		if out.Representors == nil {
			out.Representors = map[int]string{}
		}
		out.Representors[vf.Index] = vf.Representor
	}
	return out
}
