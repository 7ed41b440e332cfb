package plan_test

import (
	"net"
	"strings"
	"testing"

	"github.com/talos-sriov/talos-sriov/pkg/internal/modelkernel"
	"github.com/talos-sriov/talos-sriov/pkg/op"
	"github.com/talos-sriov/talos-sriov/pkg/plan"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

// TestOnePermanentAddressTwice: stable addresses that two PFs would share are given
// to neither, whichever is selected first, and both are named.
func TestOnePermanentAddressTwice(t *testing.T) {
	const clone = "0000:61:00.0"
	k := machine()
	k.AddPF(modelkernel.PF{Address: clone, Vendor: "8086", Device: "10c9", VFDevice: "10ca", Driver: "igb", Total: 7, Name: "enp97s0", MAC: "52:54:00:00:00:01"})
	group := []spec.VFGroup{{Indexes: spec.IndexSet{0}, MACAddresses: spec.MACPolicy{Mode: spec.MACStable}}}
	compute := func(entries ...spec.PhysicalFunction) *plan.Plan {
		s := k.Snapshot()
		return planned(plan.Input{Config: config(entries...), Snapshot: s, Quiet: plan.QuietNow(s), BootID: "b"})
	}
	macs := func(p *plan.Plan, pf string) (out []string) {
		for _, s := range p.PF(pf).Steps {
			if s.Op.Kind() == op.KindVFMAC {
				out = append(out, op.Text(s.Op.Want()))
			}
		}
		return out
	}
	a, b := entry(4, 1, "enp33s0"), entry(9, 1, "enp97s0")
	a.VirtualFunctions, b.VirtualFunctions = group, group
	p := compute(b, a)
	for pf, other := range map[string]string{igb0: clone, clone: igb0} {
		f := p.PF(pf)
		if got := macs(p, pf); len(got) > 0 || len(f.Problems) != 1 || !f.Problems[0].Partial ||
			!strings.Contains(f.Problems[0].Msg, other) || !strings.Contains(f.Problems[0].Hint, "list the addresses") {
			t.Errorf("%s: addresses %v, problems %+v", pf, got, f.Problems)
		}
	}
	b.VirtualFunctions = nil
	if p := compute(a, b); len(macs(p, igb0)) != 1 || len(p.PF(igb0).Problems) > 0 {
		t.Errorf("where one derives none, the other is refused: %+v", p.PF(igb0))
	}
}

// TestOneAddressListedForTwoPFs is worth a notice: bonds want it, other networks not.
func TestOneAddressListedForTwoPFs(t *testing.T) {
	mac, err := net.ParseMAC("02:00:00:00:00:01")
	if err != nil {
		t.Fatal(err)
	}
	e := entry(4, 1, "enp*s0")
	e.VirtualFunctions = []spec.VFGroup{{Indexes: spec.IndexSet{0}, MACAddresses: spec.MACPolicy{Mode: spec.MACList, List: []net.HardwareAddr{mac}}}}
	s := machine().Snapshot()
	p := planned(plan.Input{Config: config(e), Snapshot: s, Quiet: plan.QuietNow(s)})
	if len(p.Notices) != 1 || !strings.Contains(p.Notices[0].Msg, igb0) || !strings.Contains(p.Notices[0].Msg, igb1) {
		t.Errorf("notices %+v", p.Notices)
	}
	if len(p.PF(igb0).Problems)+len(p.PF(igb1).Problems) > 0 {
		t.Error("refused")
	}
}
