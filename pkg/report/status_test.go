package report_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/talos-sriov/talos-sriov/pkg/consttest"
	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/op"
	"github.com/talos-sriov/talos-sriov/pkg/plan"
	"github.com/talos-sriov/talos-sriov/pkg/pool"
	"github.com/talos-sriov/talos-sriov/pkg/report"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/status"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

const pfA, pfB = "0000:01:00.0", "0000:01:00.1"

// The status has the representors of a PF in switchdev mode, and the RDMA mode.
func TestNetwork(t *testing.T) {
	snap := &inventory.Snapshot{RDMANetns: "exclusive", PFs: []inventory.PF{{
		Function: inventory.Function{Address: pfA, Driver: "mlx5_core"}, NumVFs: 2, TotalVFs: 8, EswitchMode: "switchdev",
		VFs: []inventory.VF{
			{Function: inventory.Function{Address: "0000:01:00.2"}, Index: 0, Representor: "enp1s0f0npf0vf0"},
			{Function: inventory.Function{Address: "0000:01:00.3"}, Index: 1},
		},
	}}}
	s := report.Status(&report.Input{Snapshot: snap, Plan: &plan.Plan{PFs: []plan.PFPlan{{Address: pfA}}}})
	want := status.Actual{NumVFs: 2, TotalVFs: 8, EswitchMode: "switchdev", Representors: map[int]string{0: "enp1s0f0npf0vf0"}}
	if d := cmp.Diff(want, s.PFs[0].Actual); d != "" {
		t.Error(d)
	}
	if s.RDMANetns != "exclusive" || s.PFs[0].Driver != "mlx5_core" {
		t.Errorf("RDMA mode %q, driver %q", s.RDMANetns, s.PFs[0].Driver)
	}
}

// TestPFState: the state of a PF is what is worst of it, and ready is what none of
// us writes to any more.
func TestPFState(t *testing.T) {
	step := plan.Step{ID: "a", Op: op.SetNumVFs{OnPF: op.OnPF{Address: pfA}, N: 4}}
	waits := step
	waits.Wait = []use.Holder{{Pod: "p"}}
	failure := report.Run{Failures: []report.Failure{{Step: &step, Answer: "no such device", Remedy: "reseat it"}}}
	pending := []plan.Problem{{Msg: "not yet", Pending: true}}
	for name, c := range map[string]struct {
		f    plan.PFPlan
		in   report.Input
		want status.PFState
		errs int
	}{
		"nothing left":            {plan.PFPlan{}, report.Input{}, status.PFReady, 0},
		"a run is under way":      {plan.PFPlan{}, report.Input{Busy: map[string]bool{pfA: true}}, status.PFPending, 0},
		"one on another PF":       {plan.PFPlan{}, report.Input{Busy: map[string]bool{pfB: true}}, status.PFReady, 0},
		"a step":                  {plan.PFPlan{Steps: []plan.Step{step}}, report.Input{}, status.PFPending, 0},
		"a step that waits":       {plan.PFPlan{Steps: []plan.Step{step, waits}}, report.Input{}, status.PFWaiting, 0},
		"pending":                 {plan.PFPlan{Problems: pending}, report.Input{}, status.PFPending, 1},
		"pending and waits":       {plan.PFPlan{Problems: pending, Steps: []plan.Step{waits}}, report.Input{}, status.PFWaiting, 1},
		"a problem goes first":    {plan.PFPlan{Problems: []plan.Problem{{Msg: "no"}}, Steps: []plan.Step{waits}}, report.Input{}, status.PFFailed, 1},
		"the last run failed":     {plan.PFPlan{Steps: []plan.Step{step}}, report.Input{Runs: map[string]report.Run{pfA: failure}}, status.PFFailed, 1},
		"it failed, all is well":  {plan.PFPlan{}, report.Input{Runs: map[string]report.Run{pfA: failure}}, status.PFReady, 0},
		"an interface is missing": {plan.PFPlan{}, report.Input{Missing: map[string][]int{pfA: {3}}}, status.PFPending, 1},
		"notices are no problems": {plan.PFPlan{Notices: []plan.Problem{{Msg: "slow slot"}}}, report.Input{}, status.PFReady, 0},
	} {
		c.f.Address, c.f.Entry = pfA, spec.Pos{Line: 4, Column: 5}
		c.in.Snapshot, c.in.Plan = &inventory.Snapshot{}, &plan.Plan{PFs: []plan.PFPlan{c.f}}
		got := report.Status(&c.in).PFs[0]
		if len(c.in.Missing) > 0 && !got.Errors[0].Settling {
			t.Errorf("%s: a driver that has just bound is news at once", name)
		}
		if got.State != c.want || len(got.Errors) != c.errs {
			t.Errorf("%s: %s with %+v, want %s with %d problems", name, got.State, got.Errors, c.want, c.errs)
		}
	}
}

// TestFailure: a step that failed is a problem at its entry, with what was written
// where, the answer and what to do.
func TestFailure(t *testing.T) {
	step := plan.Step{ID: "a", Op: op.SetVFMTU{OnVF: op.OnVF{OnPF: op.OnPF{Address: pfA}, Index: 2}, Netdev: "x", MTU: 4}}
	s := report.Status(&report.Input{
		Snapshot: &inventory.Snapshot{}, Plan: &plan.Plan{PFs: []plan.PFPlan{{Address: pfA, Entry: spec.Pos{Line: 4, Column: 5}, Steps: []plan.Step{step}}}},
		Runs: map[string]report.Run{pfA: {
			Problems: []plan.Problem{{PF: pfA, Msg: "met by the run", Partial: true}},
			Failures: []report.Failure{{Step: &step, Answer: "no such device", Remedy: "reseat it"}},
		}},
	})
	want := []status.Problem{
		{PF: pfA, Msg: "met by the run", Partial: true},
		{Pos: spec.Pos{Line: 4, Column: 5}, PF: pfA, VFs: []int{2}, Msg: `writing "4" to /sys/class/net/x/mtu failed: no such device`, Hint: "reseat it"},
	}
	if d := cmp.Diff(want, s.PFs[0].Errors); d != "" {
		t.Error(d)
	}
}

// TestProblemsOfTheMachine: those of the pass come before those of the plan.
func TestProblemsOfTheMachine(t *testing.T) {
	problems := []status.Problem{{Msg: "cannot be read"}}
	s := report.Status(&report.Input{
		Snapshot: &inventory.Snapshot{}, Problems: problems[:1:1],
		Plan: &plan.Plan{Problems: []plan.Problem{{Msg: "required"}}, Notices: []plan.Problem{{Msg: "selects nothing"}}},
	})
	if d := cmp.Diff([]status.Problem{{Msg: "cannot be read"}, {Msg: "required"}}, s.Problems); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]status.Problem{{Msg: "selects nothing"}}, s.Notices); d != "" {
		t.Error(d)
	}
	if s.APIVersion != status.APIVersion || s.Kind != status.Kind || s.Healthy() {
		t.Errorf("%+v", s)
	}
}

// TestEveryCause: the cause of a device's reason is the device's own, whatever its
// text is.
func TestEveryCause(t *testing.T) {
	p := pool.Pool{Resource: "x.y/z"}
	causes := consttest.Of(t, "../pool/reason.go", "Cause")
	for _, c := range causes {
		p.Devices = append(p.Devices, pool.Device{ID: "dev-" + c, Reason: pool.Reason{Cause: pool.Cause(c), Text: "the same text for all"}})
	}
	p.Devices = append(p.Devices, pool.Device{ID: "healthy", Healthy: true})
	got := report.Pool(&p, nil, use.Set{})
	if got.Devices != len(p.Devices) || got.Healthy != 1 || got.Registered {
		t.Errorf("%+v", got)
	}
	for i, c := range causes {
		if r := got.Members[i].Reason; r != (status.Reason{Cause: c, Text: "the same text for all"}) || c == "" {
			t.Errorf("%s: %+v", c, r)
		}
	}
	if r := got.Members[len(p.Devices)-1].Reason; r != (status.Reason{}) {
		t.Errorf("a healthy device has the reason %+v", r)
	}
}

func TestRegistration(t *testing.T) {
	p := &pool.Pool{Resource: "x.y/z", Notices: []string{"n"}}
	for name, c := range map[string]struct {
		r    *report.Registration
		want status.Pool
	}{
		"not known":      {nil, status.Pool{}},
		"registered":     {&report.Registration{Registered: true, Waiting: "nothing"}, status.Pool{Registered: true}},
		"waits":          {&report.Registration{Waiting: "the kubelet"}, status.Pool{Error: "waits for the kubelet"}},
		"failed":         {&report.Registration{Err: "refused", Waiting: "the kubelet"}, status.Pool{Error: "refused"}},
		"not yet, quiet": {&report.Registration{}, status.Pool{}},
	} {
		c.want.ResourceName, c.want.Notices = "x.y/z", []string{"n"}
		if d := cmp.Diff(c.want, report.Pool(p, c.r, use.Set{})); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}
