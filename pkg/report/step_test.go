package report_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/op"
	"github.com/talos-sriov/talos-sriov/pkg/plan"
	"github.com/talos-sriov/talos-sriov/pkg/plan/terms"
	"github.com/talos-sriov/talos-sriov/pkg/report"
	"github.com/talos-sriov/talos-sriov/pkg/status"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// TestStep: every value of a step is reported.
func TestStep(t *testing.T) {
	pod := use.Holder{Device: vf, Namespace: "default", Pod: "web", Evidence: use.EvidencePodResources}
	got := report.Step(&plan.Step{
		ID: "id", Op: op.SetVFVLAN{Attribute: op.Attribute[op.VLAN]{
			OnVF: op.OnVF{OnPF: op.OnPF{Address: pfA, Name: "enp1s0f0"}, Index: 3}, Found: op.Found{Was: op.VLAN{ID: 7}},
			To: op.VLAN{ID: 100, QoS: 2},
		}},
		Reason: "the config asks for it", Disruption: plan.DisruptReset,
		Wait: []use.Holder{pod}, Needs: []string{"other"}, Forced: []use.Holder{pod}, Optional: true, Key: "vlan",
	})
	holder := status.Holder{Device: vf, Namespace: "default", Pod: "web", Evidence: "pod-resources"}
	want := status.Step{
		ID: "id", Kind: "vf-vlan", Action: terms.ActionChange, PF: pfA, VFs: []int{3}, Object: "netlink enp1s0f0 vf 3 vlan",
		From: "7 0 802.1q", To: "100 2 802.1q", Reason: "the config asks for it", Disruption: terms.DisruptReset,
		Wait: []status.Holder{holder}, Needs: []string{"other"}, Forced: []status.Holder{holder}, Optional: true, Key: "vlan",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// TestBlockedBy: a step is blocked by the one whose holders it waits for, however
// far away.
func TestBlockedBy(t *testing.T) {
	f := &plan.PFPlan{Steps: []plan.Step{
		{ID: "a", Wait: []use.Holder{{Pod: "p"}}}, {ID: "b", Needs: []string{"a"}}, {ID: "c", Needs: []string{"x", "b"}}, {ID: "d", Needs: []string{"x"}},
	}}
	for i := range f.Steps {
		f.Steps[i].Op = op.SetMTU{MTU: 9000}
	}
	var got []string
	for _, s := range report.Steps(f) {
		got = append(got, s.BlockedBy)
	}
	if d := cmp.Diff([]string{"", "a", "a", ""}, got); d != "" {
		t.Error(d)
	}
}

// TestPlan: a plan is reported whole.
func TestPlan(t *testing.T) {
	got := report.Plan(&plan.Plan{
		Notices: []plan.Problem{{Msg: "n"}}, Problems: []plan.Problem{{Msg: "p"}},
		PFs: []plan.PFPlan{{
			Address: pfA, Name: "enp1s0f0", Withdraw: []string{vf}, ForceToken: "now", Left: true,
			Problems: []plan.Problem{{PF: pfA, VFs: []int{1}, Msg: "x", Hint: "h", Pending: true, Partial: true}},
			Notices:  []plan.Problem{{Msg: "y"}},
		}},
	})
	want := &status.Plan{
		Notices: []status.Problem{{Msg: "n"}}, Problems: []status.Problem{{Msg: "p"}},
		PFs: []status.PFPlan{{
			Address: pfA, Name: "enp1s0f0", Withdraw: []string{vf}, Force: "now", Left: true,
			Problems: []status.Problem{{PF: pfA, VFs: []int{1}, Msg: "x", Hint: "h", Pending: true, Partial: true}},
			Notices:  []status.Problem{{Msg: "y"}},
		}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// TestEveryOperation: a step with any operation crosses the status file and says what it is about: which
// object, which VF, from what to what, and why.
func TestEveryOperation(t *testing.T) {
	for _, o := range op.All() {
		s := plan.Step{ID: string(o.Kind()), Op: o, Reason: "why"}
		sent := report.Status(&report.Input{Snapshot: &inventory.Snapshot{}, Plan: &plan.Plan{PFs: []plan.PFPlan{{Address: pfA, Steps: []plan.Step{s}}}}})
		data, err := status.Encode(sent)
		if err != nil {
			t.Fatal(err)
		}
		got, err := status.Decode(data)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(sent, got); d != "" {
			t.Errorf("%s (-node +workstation):\n%s", o.Kind(), d)
		}
		var b bytes.Buffer
		if err := status.PlanText(&b, &status.Plan{PFs: []status.PFPlan{{Address: pfA, Steps: got.PFs[0].Steps}}}); err != nil {
			t.Fatal(err)
		}
		want := []string{" " + o.Object(), "      why\n"}
		if o.Writes() {
			want = append(want, " -> ", "1 change")
		}
		for _, w := range want {
			if !strings.Contains(b.String(), w) {
				t.Errorf("%s: no %q in:\n%s", o.Kind(), w, b.String())
			}
		}
	}
}

// TestSharedObject: an operation on one VF whose object every VF has is reported with
// the VF.
func TestSharedObject(t *testing.T) {
	first, second := op.OnVF{Index: 1}, op.OnVF{Index: 2}
	for _, c := range [][2]op.Op{
		{op.UnbindVF{OnVF: first}, op.UnbindVF{OnVF: second}},
		{op.ProbeVF{OnVF: first}, op.ProbeVF{OnVF: second}},
		{op.BindVDPA{OnVF: first}, op.BindVDPA{OnVF: second}},
		{op.SetDriverOverride{OnVF: first}, op.SetDriverOverride{OnVF: second}},
		{op.SetVFMTU{OnVF: first}, op.SetVFMTU{OnVF: second}},
		{op.AwaitVFRDMA{OnVF: first}, op.AwaitVFRDMA{OnVF: second}},
	} {
		shared := c[0].Object() == c[1].Object()
		if got := report.Step(&plan.Step{Op: c[0]}).Shared; got != shared {
			t.Errorf("%s: reported as shared: %v, is shared: %v", c[0].Kind(), got, shared)
		}
	}
}
