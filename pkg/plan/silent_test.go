package plan_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/plan"
	"github.com/talos-sriov/talos-sriov/pkg/record"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

const noAnswer = "the kernel has not answered for 3s"

// TestSilentPF: nothing is done on a PF about which the kernel does not answer, whatever
// was seen of it before; what pools keep back for it stays so, and nothing more.
func TestSilentPF(t *testing.T) {
	k := machine()
	write(t, k, "bus/pci/devices/"+igb0+"/sriov_numvfs", "3")
	trust := true
	attributes := entry(4, 3, "enp33s0")
	attributes.VirtualFunctions = []spec.VFGroup{{Indexes: spec.IndexSet{1}, Trust: &trust}}
	left := record.Record{BootID: "b", PFs: map[string]record.PF{igb0: {Device: "8086:10c9", SafeSpec: "h", Made: &record.Made{
		AutoProbe: true, Wrote: map[record.Setting][]string{record.NumVFs: {"3"}},
	}}}}
	for name, c := range map[string]struct {
		in   plan.Input
		want []string
	}{
		"VFs are destroyed":     {plan.Input{Config: config(entry(4, 6, "enp33s0"))}, []string{"0000:21:10.0", "0000:21:10.2", "0000:21:10.4"}},
		"one VF is not ready":   {plan.Input{Config: config(attributes)}, []string{"0000:21:10.2"}},
		"nothing is to be done": {plan.Input{Config: config(entry(4, 3, "enp33s0"))}, nil},
		"it is not possible":    {plan.Input{Config: config(entry(4, 99, "enp33s0"))}, nil},
		"it left the config":    {plan.Input{Record: left}, []string{"0000:21:10.0", "0000:21:10.2", "0000:21:10.4"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := k.Snapshot()
			c.in.Snapshot, c.in.Use, c.in.BootID, c.in.Quiet = s, judgedAll(s), "b", plan.QuietNow(s)
			answers := planned(c.in).PF(igb0)
			s.PF(igb0).Silent = noAnswer
			f := planned(c.in).PF(igb0)
			if f == nil || len(f.Steps) > 0 || f.Safe || len(f.Problems) != 1 || !f.Problems[0].Pending || !strings.Contains(f.Problems[0].Msg, noAnswer) {
				t.Fatalf("%+v", f)
			}
			if !slices.Equal(f.Withdraw, c.want) {
				t.Errorf("withdrawn: %q, want %q (before: %q)", f.Withdraw, c.want, answers.Withdraw)
			}
		})
	}
}

// TestSilentPFIsNoEvidence: it is not quiet, and no other way out.
func TestSilentPFIsNoEvidence(t *testing.T) {
	s := machine().Snapshot()
	if !plan.QuietNow(s)[igb0] {
		t.Fatal("not quiet before")
	}
	s.PF(igb0).Silent = noAnswer
	if plan.QuietNow(s)[igb0] {
		t.Error("quiet, though the kernel does not answer about it")
	}
	steps := func(s *inventory.Snapshot) int {
		e, mtu := entry(4, 0, "enp65s0"), 1400
		e.MTU, e.AllowUplink = &mtu, true
		return len(planned(plan.Input{Config: config(e), Snapshot: s}).PF(igb1).Steps)
	}
	s.PF(igb0).Uplink, s.PF(igb1).Uplink = "carries the IPv4 default route", "carries the IPv4 default route"
	if n := steps(s); n != 0 {
		t.Errorf("%d steps on the only way out that is known", n)
	}
	s.PF(igb0).Silent = ""
	if n := steps(s); n != 1 {
		t.Errorf("%d steps with another way out", n)
	}
}
