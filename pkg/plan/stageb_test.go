package plan_test

import (
	"bytes"
	"net"
	"strings"
	"testing"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/plan"
	"github.com/talos-sriov/talos-sriov/pkg/report"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/status"
)

func ptr[T any](v T) *T { return &v }

func parseMAC(t *testing.T, s string) net.HardwareAddr {
	t.Helper()
	m, err := net.ParseMAC(s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestStableMAC(t *testing.T) {
	pfs := []string{"b8:3f:d2:00:00:01", "b8:3f:d2:00:00:02", "b8:3f:d2:01:00:01", "52:54:00:00:00:01", "b4:96:91:00:00:01"}
	seen := map[string]string{}
	for _, pf := range pfs {
		for i := range 300 {
			m := plan.StableMAC(parseMAC(t, pf), i)
			if m[0]&0x03 != 0x02 {
				t.Fatalf("%s is not a locally administered unicast address", m)
			}
			if was, twice := seen[m.String()]; twice {
				t.Fatalf("%s VF %d and %s have %s", pf, i, was, m)
			}
			seen[m.String()] = pf
		}
	}
	// The same after every boot and in every version.
	if got := plan.StableMAC(parseMAC(t, "b8:3f:d2:00:00:01"), 3).String(); got != stableMAC3 {
		t.Errorf("VF 3 has %s now, and had %s in earlier versions", got, stableMAC3)
	}
	if plan.StableMAC(nil, 0) != nil || plan.StableMAC(make(net.HardwareAddr, 20), 0) != nil {
		t.Error("a MAC address was made of no MAC address")
	}
}

const stableMAC3 = "e6:2b:03:00:00:01"

func TestStableGUID(t *testing.T) {
	pf := append(make(net.HardwareAddr, 12), 0xb8, 0x3f, 0xd2, 0x03, 0, 0, 0, 1)
	if got, want := plan.StableGUID(pf, 1).String(), "ba:3f:d2:03:02:00:00:01"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if plan.StableGUID(pf[:6], 0) != nil {
		t.Error("a GUID was made of an Ethernet address")
	}
}

// TestImpossible: what no step can cure is a problem that says both sides.
func TestImpossible(t *testing.T) {
	cases := map[string]struct {
		entry func(*spec.PhysicalFunction)
		snap  func(*inventory.Snapshot)
		say   []string
		steps bool // the rest goes on
	}{
		"link type": {
			entry: func(e *spec.PhysicalFunction) { e.LinkType = spec.LinkInfiniBand },
			say:   []string{"infiniband", "ethernet", "firmware"},
		},
		"mtu": {
			entry: func(e *spec.PhysicalFunction) { e.MTU = ptr(10000) },
			say:   []string{"10000", "9216"},
		},
		"no eswitch": {
			entry: func(e *spec.PhysicalFunction) { e.EswitchMode = spec.EswitchSwitchdev },
			say:   []string{"igb", "eswitch"},
		},
		"only way out": {
			entry: func(e *spec.PhysicalFunction) { e.AllowUplink, e.MTU = true, ptr(9000) },
			snap:  func(s *inventory.Snapshot) { s.PF(igb0).Uplink = "carries the IPv4 default route" },
			say:   []string{"only way out", "mtu"}, steps: true,
		},
		"no permanent address": {
			entry: func(e *spec.PhysicalFunction) {
				e.VirtualFunctions = []spec.VFGroup{{Indexes: spec.IndexSet{0}, MACAddresses: spec.MACPolicy{Mode: spec.MACStable}}}
			},
			snap: func(s *inventory.Snapshot) { s.PF(igb0).Netdevs[0].PermMAC = "" },
			say:  []string{"permanent address"}, steps: true,
		},
		"no RDMA": {
			entry: func(e *spec.PhysicalFunction) {
				e.VirtualFunctions = []spec.VFGroup{{Indexes: spec.IndexSet{0}, RDMA: true}}
			},
			snap: func(s *inventory.Snapshot) {
				pf := s.PF(igb0)
				pf.NumVFs = 1
				pf.VFs = []inventory.VF{{Function: inventory.Function{Address: "0000:21:10.0", Class: "020000", Driver: "igbvf", Netdevs: []inventory.Netdev{{Name: "v", MTU: 1500}}}}}
			},
			say: []string{"igb", "RDMA"},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			e := entry(4, 1, "enp33s0")
			c.entry(&e)
			s := machine().Snapshot()
			if c.snap != nil {
				c.snap(s)
			}
			p := planned(plan.Input{Config: config(e), Snapshot: s, Quiet: plan.QuietNow(s), Use: judgedAll(s)})
			if len(p.PFs[0].Problems) != 1 || p.PFs[0].Problems[0].Partial != (c.steps || name == "no RDMA") || (len(p.PFs[0].Steps) > 0) != c.steps {
				t.Fatalf("%+v", p.PFs[0])
			}
			var b bytes.Buffer
			if err := status.PlanText(&b, report.Plan(p)); err != nil {
				t.Fatal(err)
			}
			for _, say := range c.say {
				if !strings.Contains(b.String(), say) {
					t.Errorf("%q is not in:\n%s", say, b.String())
				}
			}
		})
	}
}

// TestSecondPathAllowsTheLinkToDrop: with another uplink the MTU is changed.
func TestSecondPathAllowsTheLinkToDrop(t *testing.T) {
	s := machine().Snapshot()
	s.PF(igb0).Uplink, s.PF(igb1).Uplink = "is a port of bond0", "is a port of bond0"
	e := entry(4, 0, "enp33s0")
	e.AllowUplink, e.MTU = true, ptr(9000)
	if p := planned(plan.Input{Config: config(e), Snapshot: s}); len(p.PFs[0].Steps) != 1 || len(p.PFs[0].Problems) != 0 {
		t.Errorf("%+v", p.PFs[0])
	}
}

// TestRDMAMode: a config that asks for RDMA hears once which mode the kernel is
// in and what changes it, and one that does not, nothing.
func TestRDMAMode(t *testing.T) {
	for _, c := range []struct {
		mode string
		rdma bool
		want int
	}{{"shared", true, 1}, {"exclusive", true, 0}, {"", true, 0}, {"shared", false, 0}} {
		e := entry(4, 2, "enp33s0")
		e.VirtualFunctions = []spec.VFGroup{
			{Indexes: spec.IndexSet{0}, RDMA: c.rdma, Pos: spec.Pos{Line: 7, Column: 9}},
			{Indexes: spec.IndexSet{1}, RDMA: c.rdma},
		}
		s := machine().Snapshot()
		s.RDMANetns = c.mode
		p := planned(plan.Input{Config: config(e), Snapshot: s, Quiet: plan.QuietNow(s), Use: judgedAll(s)})
		if len(p.Notices) != c.want || len(p.Problems) != 0 {
			t.Errorf("mode %q, rdma %v: notices %+v, problems %+v", c.mode, c.rdma, p.Notices, p.Problems)
		}
		if c.want > 0 && (p.Notices[0].Pos.Line != 7 || !strings.Contains(p.Notices[0].Hint, "ib_core.netns_mode=0")) {
			t.Errorf("notice %+v", p.Notices[0])
		}
	}
}
