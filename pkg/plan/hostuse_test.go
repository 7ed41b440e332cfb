package plan_test

import (
	"testing"

	"github.com/talos-sriov/talos-sriov/pkg/op"
	"github.com/talos-sriov/talos-sriov/pkg/plan"
)

// A VF that carries the host's own network is not taken away by a change of its
// PF's number of VFs: the step waits for the host, until it is forced.
func TestStepsWaitForTheHostsOwnVF(t *testing.T) {
	k := machine()
	write(t, k, "bus/pci/devices/"+igb0+"/sriov_numvfs", "2")
	snap := k.Snapshot()
	snap.PF(igb0).VFs[0].HostUse = "is below bond0 (bond), which carries the IPv4 default route"
	in := plan.Input{Config: config(entry(4, 4, "enp33s0")), Snapshot: snap, Use: judgedAll(snap), BootID: "b", Quiet: plan.QuietNow(snap)}
	destroys := 0
	for _, s := range planned(in).PF(igb0).Steps {
		if s.Disruption == plan.DisruptDestroyed {
			destroys++
			if len(s.Wait) != 1 || s.Wait[0].Device != snap.PF(igb0).VFs[0].Address {
				t.Errorf("step %s (%s -> %s) waits for %v, want for the host alone", s.ID, op.Text(s.Op.From()), op.Text(s.Op.Want()), s.Wait)
			}
		}
	}
	if destroys == 0 {
		t.Error("no step takes VFs away: the test shows nothing")
	}
}
