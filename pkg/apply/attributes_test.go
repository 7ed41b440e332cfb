package apply_test

import (
	"net"
	"strings"
	"testing"
	"testing/synctest"

	"golang.org/x/sys/unix"

	"github.com/talos-sriov/talos-sriov/pkg/internal/modelkernel"
	"github.com/talos-sriov/talos-sriov/pkg/plan"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

func everything() spec.VFGroup {
	return spec.VFGroup{
		Indexes: indexes(0, 3), Trust: ptr(true), SpoofCheck: ptr(false), VLAN: &spec.VLAN{ID: 100, QoS: 2},
		Rate: &spec.Rate{Max: 500}, MTU: ptr(2000), MACAddresses: spec.MACPolicy{Mode: spec.MACStable},
		Pos: spec.Pos{Line: 7, Column: 9},
	}
}

func TestAttributes(t *testing.T) {
	e := pfEntry(pf0, 5, everything())
	e.MTU = ptr(9000)
	n := newNode(doc(e))
	if p := n.converge(t); !p.Done() {
		t.Fatal(text(p))
	}
	pf := n.k.Snapshot().PF(pf0)
	if pf.Netdevs[0].MTU != 9000 || pf.VFs[0].Netdevs[0].MTU != 2000 || pf.VFs[4].Netdevs[0].MTU != 9000 {
		t.Errorf("MTUs: PF %d, VF 0 %d, VF 4 %d", pf.Netdevs[0].MTU, pf.VFs[0].Netdevs[0].MTU, pf.VFs[4].Netdevs[0].MTU)
	}
	hw, _ := net.ParseMAC("52:54:00:00:00:01")
	for i, vf := range pf.VFs[:4] {
		a := vf.Admin
		if !a.Trust || a.SpoofCheck || a.VLAN != 100 || a.QoS != 2 || a.MaxRate != 500 {
			t.Errorf("VF %d: %+v", i, a)
		}
		if want := plan.StableMAC(hw, i).String(); a.MAC != want || vf.Netdevs[0].MAC != want {
			t.Errorf("VF %d: admin MAC %s, netdev %s, want %s", i, a.MAC, vf.Netdevs[0].MAC, want)
		}
	}
	for _, w := range n.k.Writes() {
		if strings.Contains(w, "unbind") {
			t.Errorf("a new VF was bound twice: %s", w)
		}
	}
	// Drift by hand.
	mac, _ := net.ParseMAC("02:00:00:00:00:77")
	link := n.link(t, pf0)
	for _, err := range []error{
		n.k.SetVFMAC(t.Context(), link, 1, mac), n.k.SetVFTrust(t.Context(), link, 2, false), n.k.SetMTU(t.Context(), link, 9001),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if p := n.converge(t); !p.Done() {
		t.Fatal(text(p))
	}
	pf = n.k.Snapshot().PF(pf0)
	if !pf.VFs[2].Admin.Trust || pf.VFs[1].Netdevs[0].MAC != plan.StableMAC(hw, 1).String() || pf.Netdevs[0].MTU != 9000 {
		t.Errorf("drift is left: %+v", pf)
	}
	// Down: VFs first, then the PF.
	e = pfEntry(pf0, 5)
	e.MTU = ptr(1500)
	n.cfg = doc(e)
	if p := n.converge(t); !p.Done() {
		t.Fatal(text(p))
	}
}

// TestMACOfAnExistingVF: the rebind happens when, and only when, the VF is free.
func TestMACOfAnExistingVF(t *testing.T) {
	n := newNode(doc(pfEntry(pf0, 3)))
	n.converge(t)
	n.hold("0000:21:10.0")
	n.cfg = doc(pfEntry(pf0, 3, spec.VFGroup{Indexes: indexes(0, 1), MACAddresses: spec.MACPolicy{Mode: spec.MACStable}}))
	before := len(n.k.Writes())
	p := n.converge(t)
	if len(p.PFs[0].Notices) != 1 || !strings.Contains(text(p), "left to its holder: pod default/p") {
		t.Error(text(p))
	}
	unbinds := 0
	for _, w := range n.k.Writes()[before:] {
		if strings.Contains(w, "unbind") {
			unbinds++
		}
	}
	if unbinds != 1 {
		t.Errorf("%d unbinds: %q", unbinds, n.k.Writes()[before:])
	}
	n.release("0000:21:10.0")
	if p := n.converge(t); !p.Done() {
		t.Fatal(text(p))
	}
	for _, vf := range n.k.Snapshot().PF(pf0).VFs[:2] {
		if vf.Netdevs[0].MAC != vf.Admin.MAC {
			t.Errorf("VF %d: netdev %s, admin %s", vf.Index, vf.Netdevs[0].MAC, vf.Admin.MAC)
		}
	}
	if v := n.k.Violations(); len(v) > 0 {
		t.Error(v)
	}
}

// TestRefused: what the driver refuses is reported once, by attribute, driver and
// choice, the rest is configured, and the write is not made again.
func TestRefused(t *testing.T) {
	for name, c := range map[string]struct {
		group spec.VFGroup
		deny  map[string]unix.Errno
		want  []string
	}{
		"known beforehand":   {spec.VFGroup{LinkState: spec.LinkStateEnable}, nil, []string{"linkState", "igb", "optional"}},
		"802.1ad":            {spec.VFGroup{VLAN: &spec.VLAN{ID: 5, Protocol: "802.1ad"}}, nil, []string{"vlan", "igb"}},
		"minimum rate":       {spec.VFGroup{Rate: &spec.Rate{Min: 5, Max: 10}}, nil, []string{"rate", "igb"}},
		"seen in the answer": {spec.VFGroup{SpoofCheck: ptr(false)}, map[string]unix.Errno{"spoofchk": unix.EOPNOTSUPP}, []string{"spoofCheck", "EOPNOTSUPP", "optional"}},
		"one driver has it":  {spec.VFGroup{QueryRSS: ptr(true)}, nil, []string{"queryRSS", "EOPNOTSUPP", "optional"}},
		"invalid":            {spec.VFGroup{Rate: &spec.Rate{Max: 10}}, map[string]unix.Errno{"rate": unix.EINVAL}, []string{"rate", "EINVAL"}},
	} {
		for _, optional := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				c.group.Indexes, c.group.Pos = indexes(0, 2), spec.Pos{Line: 8, Column: 3}
				c.group.Trust = ptr(true)
				c.group.Optional.All = optional
				n := newNode(doc(pfEntry(pf0, 3, c.group)))
				n.k.Refuse(pf0, c.deny)
				p := n.converge(t)
				reported, quiet := p.PFs[0].Problems, p.PFs[0].Notices
				if optional {
					reported, quiet = quiet, reported
				}
				if len(reported) != 1 || len(quiet) != 0 || reported[0].Pos.Line != 8 || len(reported[0].VFs) != 3 || !optional && !reported[0].Partial {
					t.Fatalf("%+v\n%s", p.PFs[0].Problems, text(p))
				}
				for _, s := range c.want {
					if !optional && !strings.Contains(reported[0].Msg+reported[0].Hint, s) {
						t.Errorf("%q is not in %q", s, reported[0].Msg)
					}
				}
				for _, vf := range n.k.Snapshot().PF(pf0).VFs {
					if !vf.Admin.Trust {
						t.Errorf("VF %d: the rest is not configured", vf.Index)
					}
				}
			})
		}
	}
}

// TestMutedDriver: what the driver does not report is written when the VF is
// made, and again only after a run that may not have come to it.
func TestMutedDriver(t *testing.T) {
	n := newNode(nil)
	n.k.Mute(pf0, "trust")
	n.cfg = doc(pfEntry(pf0, 2, spec.VFGroup{Indexes: indexes(0, 1), Trust: ptr(true)}))
	fail := true
	n.k.Faults(func(name, _ string) modelkernel.Fault {
		if fail && strings.HasSuffix(name, "vf1/trust") {
			fail = false
			return modelkernel.Fault{Errno: unix.EIO}
		}
		return modelkernel.Fault{}
	})
	if err := n.a.Run(t.Context(), n.plan()).Err(); err == nil {
		t.Fatal("no error")
	}
	n.converge(t)
	trust := 0
	for _, w := range n.k.Writes() {
		if strings.Contains(w, "/trust=") {
			trust++
		}
	}
	if trust != 3 {
		t.Errorf("%d writes of trust, want 2 and one again: %q", trust, n.k.Writes())
	}
}

// TestAddressNotTaken: a VF driver that ignores the admin MAC is reported, and not
// bound again and again.
func TestAddressNotTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(doc(pfEntry(pf0, 1)))
		n.converge(t)
		n.k.IgnoreAdminMAC("igbvf")
		n.cfg = doc(pfEntry(pf0, 1, spec.VFGroup{Indexes: indexes(0, 0), MACAddresses: spec.MACPolicy{Mode: spec.MACStable}}))
		p := n.converge(t)
		if len(p.PFs[0].Problems) != 1 || !strings.Contains(text(p), "did not take") {
			t.Error(text(p))
		}
	})
}

// TestRateWantsALink: igb takes a rate only with a link, which making VFs takes
// down for a moment. The VFs are not offered without it, and get it then.
func TestRateWantsALink(t *testing.T) {
	n := newNode(doc(pfEntry(pf0, 2, spec.VFGroup{Indexes: indexes(0, 0), Rate: &spec.Rate{Max: 100}})))
	n.k.Plug(pf0, false)
	p := n.converge(t)
	if len(p.PFs[0].Problems) != 1 || !p.PFs[0].Problems[0].Pending || len(p.PFs[0].Withdraw) != 1 {
		t.Fatalf("%+v\n%s", p.PFs[0], text(p))
	}
	n.k.Plug(pf0, true)
	if p := n.converge(t); !p.Done() {
		t.Fatal(text(p))
	}
	if r := n.k.Snapshot().PF(pf0).VFs[0].Admin.MaxRate; r != 100 {
		t.Errorf("rate %d", r)
	}
}

func TestListedMACs(t *testing.T) {
	macs := []net.HardwareAddr{{2, 0, 0, 0, 0, 1}, {2, 0, 0, 0, 0, 2}}
	n := newNode(doc(pfEntry(pf0, 3, spec.VFGroup{Indexes: spec.IndexSet{0, 2}, MACAddresses: spec.MACPolicy{Mode: spec.MACList, List: macs}})))
	if p := n.converge(t); !p.Done() {
		t.Fatal(text(p))
	}
	vfs := n.k.Snapshot().PF(pf0).VFs
	if vfs[0].Netdevs[0].MAC != macs[0].String() || vfs[2].Netdevs[0].MAC != macs[1].String() {
		t.Errorf("VF 0 %s, VF 2 %s", vfs[0].Netdevs[0].MAC, vfs[2].Netdevs[0].MAC)
	}
}

// TestRefusedAndNotReported: what the driver refuses and does not report either is
// a problem for as long as it is refused, and the write is not made again.
func TestRefusedAndNotReported(t *testing.T) {
	n := newNode(doc(pfEntry(pf0, 1, spec.VFGroup{Indexes: indexes(0, 0), Trust: ptr(true)})))
	n.k.Mute(pf0, "trust")
	n.k.Refuse(pf0, map[string]unix.Errno{"trust": unix.EOPNOTSUPP})
	p := n.converge(t)
	if f := p.PF(pf0); len(f.Problems) != 1 || !strings.Contains(f.Problems[0].Msg, "trust: the driver igb refuses") {
		t.Errorf("problems %+v", f.Problems)
	}
}
