package agent

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/plan"
	"github.com/talos-sriov/talos-sriov/pkg/status"
)

// The status has the representors of a PF in switchdev mode, and the RDMA mode.
func TestReportNetwork(t *testing.T) {
	const pf = "0000:01:00.0"
	snap := &inventory.Snapshot{RDMANetns: "exclusive", PFs: []inventory.PF{{
		Function: inventory.Function{Address: pf, Driver: "mlx5_core"}, NumVFs: 2, TotalVFs: 8, EswitchMode: "switchdev",
		VFs: []inventory.VF{
			{Function: inventory.Function{Address: "0000:01:00.2"}, Index: 0, Representor: "enp1s0f0npf0vf0"},
			{Function: inventory.Function{Address: "0000:01:00.3"}, Index: 1},
		},
	}}}
	s := report(&turn{snap: snap, plan: &plan.Plan{PFs: []plan.PFPlan{{Address: pf}}}}, nil, nil, nil)
	want := status.Actual{NumVFs: 2, TotalVFs: 8, EswitchMode: "switchdev", Representors: map[int]string{0: "enp1s0f0npf0vf0"}}
	if d := cmp.Diff(want, s.PFs[0].Actual); d != "" {
		t.Error(d)
	}
	if s.RDMANetns != "exclusive" {
		t.Errorf("RDMA mode %q", s.RDMANetns)
	}
}

// A PF is ready when the run that made it so is over.
func TestReadyAfterTheRun(t *testing.T) {
	const pf, other = "0000:01:00.0", "0000:01:00.1"
	done := &plan.Plan{PFs: []plan.PFPlan{{Address: pf}, {Address: other}}}
	for _, c := range []struct {
		busy map[string]bool
		want []status.PFState
	}{
		{nil, []status.PFState{status.PFReady, status.PFReady}},
		{map[string]bool{pf: true}, []status.PFState{status.PFPending, status.PFReady}},
	} {
		s := report(&turn{snap: &inventory.Snapshot{}, plan: done, busy: c.busy}, nil, nil, nil)
		if got := []status.PFState{s.PFs[0].State, s.PFs[1].State}; !cmp.Equal(got, c.want) {
			t.Errorf("while %+v runs: %v, want %v", c.busy, got, c.want)
		}
	}
}
