package plan_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/plan"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// TestPFThatAPodHasWaits: a PF without VFs can be in a pool itself. Nothing is done to it
// while a pod has it, and nobody else gets it.
func TestPFThatAPodHasWaits(t *testing.T) {
	snap := machine().Snapshot()
	snap.PF(igb0).Netdevs[0].AdminUp = false // so that its link has to be brought up
	e := entry(4, 4, "enp33s0")
	mtu := 9000
	e.MTU, e.AllowUplink = &mtu, true
	holder := use.Holder{Device: igb0, Namespace: "default", Pod: "router", Evidence: use.EvidencePodResources}
	set := judgedAll(snap)
	for name, st := range map[string]use.Status{
		"held":    {State: use.Held, Holders: []use.Holder{holder}},
		"unknown": {State: use.Unknown, Holders: []use.Holder{{Device: igb0, Text: "the kubelet to say"}}},
	} {
		set.Devices[igb0] = st
		in := plan.Input{Config: config(e), Snapshot: snap, Use: set, BootID: "b"}
		f := planned(in).PF(igb0)
		if len(f.Steps) < 3 || !slices.Equal(f.Withdraw, []string{igb0}) {
			t.Fatalf("%s: %d steps, withdrawn: %q", name, len(f.Steps), f.Withdraw)
		}
		for _, s := range f.Steps {
			if !slices.Equal(s.Wait, st.Holders) || s.Forced != nil {
				t.Errorf("%s: %s waits for %v, forced over %v", name, s.ID, s.Wait, s.Forced)
			}
		}
		in.Force = map[string]bool{igb0: true}
		for _, s := range planned(in).PF(igb0).Steps {
			if len(s.Wait) > 0 || !slices.Equal(s.Forced, st.Holders) {
				t.Errorf("%s, forced: %s waits for %v, forced over %v", name, s.ID, s.Wait, s.Forced)
			}
		}
	}
	// One that nobody has goes on.
	set.Devices[igb0] = use.Status{State: use.Free}
	if f := planned(plan.Input{Config: config(e), Snapshot: snap, Use: set, BootID: "b"}).PF(igb0); len(plan.Held(f)) > 0 || len(f.Withdraw) > 0 {
		t.Errorf("free: %+v", f)
	}
}

// TestEswitchModeWaitsForSubfunctions: leaving switchdev deletes them.
func TestEswitchModeWaitsForSubfunctions(t *testing.T) {
	snap := machine().Snapshot()
	snap.PF(cx7).EswitchMode = string(spec.EswitchSwitchdev)
	snap.Subfunctions = []inventory.Subfunction{{Name: "mlx5_core.sf.4", Parent: cx7}, {Name: "mlx5_core.sf.5", Parent: igb1}}
	set := judgedAll(snap)
	for _, sf := range snap.Subfunctions {
		set.Devices[sf.Name] = use.Status{State: use.Held, Holders: []use.Holder{{Device: sf.Name, Namespace: "default", Pod: sf.Name}}}
	}
	e := entry(4, 0, "enp1s0f*")
	e.EswitchMode = spec.EswitchLegacy
	f := planned(plan.Input{Config: config(e), Snapshot: snap, Use: set, Quiet: plan.QuietNow(snap)}).PF(cx7)
	if len(f.Steps) != 1 || use.Names(f.Steps[0].Wait) != "pod default/mlx5_core.sf.4" || !strings.Contains(f.Steps[0].ID, "eswitch") {
		t.Errorf("%+v", f.Steps)
	}
}
