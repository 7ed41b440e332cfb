package inventory

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/talos-sriov/talos-sriov/pkg/internal/sysfstest"
	"github.com/talos-sriov/talos-sriov/pkg/nl"
)

// fakeNet answers like a kernel. Errors, when set, are the answer instead.
type fakeNet struct {
	links                             []nl.Link
	addrs                             []nl.Addr
	routes                            []nl.Route
	vfs                               map[int][]nl.VFInfo // by the PF's ifindex
	modes                             map[string]string   // by PCI address
	linkErr, addrErr, routeErr, vfErr error
	modeErr                           error
	askedVFs                          []nl.LinkRef
}

func (f *fakeNet) Links(context.Context) ([]nl.Link, error)          { return f.links, f.linkErr }
func (f *fakeNet) Addrs(context.Context) ([]nl.Addr, error)          { return f.addrs, f.addrErr }
func (f *fakeNet) DefaultRoutes(context.Context) ([]nl.Route, error) { return f.routes, f.routeErr }

func (f *fakeNet) VFs(_ context.Context, pf nl.LinkRef) ([]nl.VFInfo, error) {
	f.askedVFs = append(f.askedVFs, pf) // the fixtures used have one PF with VFs
	return f.vfs[pf.Index], f.vfErr
}

func (f *fakeNet) EswitchMode(_ context.Context, bus, dev string) (string, error) {
	if f.modeErr != nil {
		return "", f.modeErr
	}
	if mode, ok := f.modes[dev]; ok && bus == "pci" {
		return mode, nil
	}
	return "", &nl.Error{Op: "read eswitch mode", Target: bus + "/" + dev, Err: syscall.EOPNOTSUPP}
}

func (f *fakeNet) DevlinkInfo(_ context.Context, bus, dev string) (map[string]string, error) {
	return nil, &nl.Error{Op: "read devlink info", Target: bus + "/" + dev, Err: syscall.EOPNOTSUPP}
}

func (f *fakeNet) TCOffload(_ context.Context, ifname string) (bool, error) {
	return false, &nl.Error{Op: "read hw-tc-offload", Target: ifname, Err: syscall.EOPNOTSUPP}
}

func (f *fakeNet) RDMANetnsMode(context.Context) (nl.RDMANetnsMode, error) {
	return "", &nl.Error{Op: "read RDMA network namespace mode", Err: syscall.EOPNOTSUPP}
}

func hw(s string) net.HardwareAddr {
	a, err := net.ParseMAC(s)
	if err != nil {
		panic(err)
	}
	return a
}

func yes() *bool { v := true; return &v }

// igbNet is the network of the 82576 fixture: the PF under a bond that has the
// default route, VF 0 with an address that Talos gave it, VF 1 gone to a pod
// between the reading of sysfs and the dump.
func igbNet() *fakeNet {
	return &fakeNet{
		links: []nl.Link{
			{Index: 1, Name: "lo", Loopback: true, Up: true},
			{Index: 2, Name: "enp33s0", AltNames: []string{"zzz", "enxa"}, MAC: hw("52:54:00:aa:00:01"), PermMAC: hw("52:54:00:aa:00:99"),
				MTU: 9000, MaxMTU: 9216, Up: true, Carrier: true, Type: nl.TypeEthernet, Master: 8, ParentDev: "0000:21:00.0", ParentBus: "pci"},
			{Index: 6, Name: "enp33s16", MAC: hw("0e:2f:00:00:00:01"), MTU: 1500, Up: true, Carrier: true, Type: nl.TypeEthernet, ParentDev: "0000:21:10.0", ParentBus: "pci"},
			{Index: 8, Name: "bond0", Kind: "bond", Up: true, Carrier: true, Type: nl.TypeEthernet},
		},
		addrs: []nl.Addr{
			{Index: 1, Prefix: netip.MustParsePrefix("127.0.0.1/8")},
			{Index: 6, Prefix: netip.MustParsePrefix("10.9.0.7/24")},
		},
		routes: []nl.Route{{Indexes: []int{8}}},
		vfs: map[int][]nl.VFInfo{2: {
			{Index: 0, MAC: hw("02:00:00:00:00:01"), VLAN: 100, QoS: 2, VLANProto: nl.Proto8021Q, MaxRate: 1000, SpoofCheck: yes(), Trust: yes(), QueryRSS: yes()},
			{Index: 1, MAC: hw("00:00:00:00:00:00"), LinkState: nl.LinkStateDisable},
			{Index: 9, MAC: hw("00:00:00:00:00:00")}, // made since sysfs was read
		}},
	}
}

func TestReadWithNetwork(t *testing.T) {
	fake := igbNet()
	s, err := Read(t.Context(), sysfstest.Load(t, "testdata/82576.sysfs").Tree(t), fake)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Notes) > 0 {
		t.Errorf("notes: %v", s.Notes)
	}
	pf := &s.PFs[0]
	if want := []Netdev{{
		Name: "enp33s0", Index: 2, AltNames: []string{"enxa", "zzz"}, MAC: "52:54:00:aa:00:01", PermMAC: "52:54:00:aa:00:99",
		MTU: 9000, MaxMTU: 9216, AdminUp: true, Carrier: true, SpeedMbps: 1000, LinkType: "ethernet",
	}}; !cmp.Equal(pf.Netdevs, want) {
		t.Errorf("PF's interface:\n%s", cmp.Diff(want, pf.Netdevs))
	}
	if !s.DefaultRoute || pf.Uplink != "is below bond0 (bond), which carries the IPv4 default route" {
		t.Errorf("default route %v, uplink %q", s.DefaultRoute, pf.Uplink)
	}
	if pf.EswitchMode != "" {
		t.Errorf("eswitch mode %q of a NIC without", pf.EswitchMode)
	}
	if want := []nl.LinkRef{{Index: 2, Name: "enp33s0"}}; !cmp.Equal(fake.askedVFs, want) {
		t.Errorf("VF attributes asked of %v", fake.askedVFs)
	}
	if got := pf.VFs[0].HostUse; got != "carries the address 10.9.0.7/24" {
		t.Errorf("VF 0 host use %q", got)
	}
	// VF 1's interface is unknown to netlink: sysfs described it.
	if got := pf.VFs[1].Netdevs; len(got) != 1 || got[0].Index != 7 || got[0].MAC != "0e:2f:00:00:00:02" || pf.VFs[1].HostUse != "" {
		t.Errorf("VF 1 %+v", pf.VFs[1])
	}
	want := []*VFAdmin{
		{MAC: "02:00:00:00:00:01", VLAN: 100, QoS: 2, VLANProto: "802.1q", MaxRate: 1000, SpoofCheck: true, Trust: true, QueryRSS: yes(), LinkState: "auto"},
		{MAC: "00:00:00:00:00:00", LinkState: "disable", Unreported: []string{"spoofCheck", "trust"}},
	}
	if got := []*VFAdmin{pf.VFs[0].Admin, pf.VFs[1].Admin}; !cmp.Equal(got, want) {
		t.Errorf("VF attributes:\n%s", cmp.Diff(want, got))
	}
	var table bytes.Buffer
	if err := Table(&table, s); err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/82576-network.txt", table.Bytes())
}

// The eswitch mode that devlink reports wins over what representors suggest.
func TestEswitchMode(t *testing.T) {
	tree := sysfstest.Load(t, "testdata/switchdev.sysfs").Tree(t)
	for mode, want := range map[string]string{"legacy": "legacy", "": "switchdev"} {
		fake := &fakeNet{}
		if mode != "" {
			fake.modes = map[string]string{"0000:81:00.0": mode}
		}
		s, err := Read(t.Context(), tree, fake)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.PFs[0].EswitchMode; got != want || len(s.Notes) > 0 {
			t.Errorf("devlink says %q: mode %q, notes %v; want %q", mode, got, s.Notes, want)
		}
	}
}

// An interface of the same name on another device is not this one: the tree
// may be a copy of another machine's.
func TestLinkOfAnotherDevice(t *testing.T) {
	fake := igbNet()
	fake.links[1].ParentDev = "0000:99:00.0"
	s, err := Read(t.Context(), sysfstest.Load(t, "testdata/82576.sysfs").Tree(t), fake)
	if err != nil {
		t.Fatal(err)
	}
	if d := s.PFs[0].Netdevs[0]; d.MTU != 1500 || d.PermMAC != "52:54:00:aa:00:01" {
		t.Errorf("described by the other machine's link: %+v", d)
	}
}

// What netlink does not answer costs a note, and sysfs fills in.
func TestNetworkErrors(t *testing.T) {
	broken := errors.New("broken")
	for _, tc := range []struct {
		name  string
		spoil func(*fakeNet)
		notes []Note
	}{
		{"links", func(f *fakeNet) { f.linkErr = broken }, []Note{{Device: "network", What: "interfaces", Err: "broken"}}},
		{"addresses", func(f *fakeNet) { f.addrs, f.addrErr = nil, broken }, []Note{{Device: "network", What: "addresses", Err: "broken"}}},
		{"routes", func(f *fakeNet) { f.routes, f.routeErr = nil, broken }, []Note{{Device: "network", What: "routes", Err: "broken"}}},
		{"VFs", func(f *fakeNet) { f.vfErr = broken }, []Note{{Device: "0000:21:00.0", What: "VF attributes", Err: "broken"}}},
		{"eswitch", func(f *fakeNet) { f.modeErr = broken }, []Note{{Device: "0000:21:00.0", What: "eswitch mode", Err: "broken"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fake := igbNet()
			tc.spoil(fake)
			s, err := Read(t.Context(), sysfstest.Load(t, "testdata/82576.sysfs").Tree(t), fake)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.notes, s.Notes); diff != "" {
				t.Errorf("notes:\n%s", diff)
			}
			if s.PFs[0].Name() != "enp33s0" || len(s.PFs[0].VFs) != 2 {
				t.Errorf("the PF suffered: %+v", s.PFs[0])
			}
		})
	}
}

func TestTableWithoutPFs(t *testing.T) {
	var b strings.Builder
	if err := Table(&b, &Snapshot{}); err != nil {
		t.Fatal(err)
	}
	want := "No SR-IOV capable network device or accelerator was found.\n"
	if b.String() != want {
		t.Errorf("table %q, want %q", b.String(), want)
	}
}

// infoNet also has devlink's versions.
type infoNet struct {
	*fakeNet
	asked []string
}

func (n *infoNet) DevlinkInfo(_ context.Context, bus, dev string) (map[string]string, error) {
	n.asked = append(n.asked, bus+"/"+dev)
	return map[string]string{"fw.app.name": "ICE COMMS Package"}, nil
}

// TestSelectorFacts: what only the device plugin's selectors ask for.
func TestSelectorFacts(t *testing.T) {
	text := `
devices/pci0000:10/0000:10:00.0
  vendor = 0x8086
  device = 0x1593
  class = 0x020000
  driver -> ice
devices/pci0000:10/0000:11:00.0
  vendor = 0x15b3
  device = 0x101c
  class = 0x020700
  driver -> mlx5_core
devices/pci0000:10/0000:11:00.0/net/eth9
  ifindex = 9
  type = 1
  flags = 0x1003
devices/pci0000:10/0000:11:00.0/infiniband/mlx5_7
  node_guid = 0000:0000:0000:0007
  ports/1/pkeys/0 = 0x8001
devices/virtual/misc/vhost-net
  dev = 10:238
`
	n := &infoNet{fakeNet: &fakeNet{
		links: []nl.Link{{Index: 9, Name: "eth9", ParentDev: "0000:11:00.0"}},
		addrs: []nl.Addr{{Index: 9, Prefix: netip.MustParsePrefix("10.0.0.2/24")}},
	}}
	s, err := Read(t.Context(), sysfstest.Parse(t, "facts", text).Tree(t), n)
	if err != nil {
		t.Fatal(err)
	}
	if !s.VhostNet || s.Tun {
		t.Errorf("vhost-net %v, tun %v", s.VhostNet, s.Tun)
	}
	if d := cmp.Diff(map[string]string{"0000:11:00.0": "carries the address 10.0.0.2/24"}, s.OtherUse); d != "" {
		t.Error(d)
	}
	if len(s.Others) != 2 || s.Others[0].DDPProfile != "ICE COMMS Package" || len(s.Others[1].RDMA) != 1 || s.Others[1].RDMA[0].PKey != "0x8001" {
		t.Errorf("functions %+v", s.Others)
	}
	if d := cmp.Diff([]string{"pci/0000:10:00.0"}, n.asked); d != "" {
		t.Errorf("asked for their versions (-want +got):\n%s", d)
	}
}

// rdmaNet also has the mode of RDMA devices.
type rdmaNet struct {
	*fakeNet
	mode nl.RDMANetnsMode
}

func (n *rdmaNet) RDMANetnsMode(context.Context) (nl.RDMANetnsMode, error) { return n.mode, nil }

// TestRDMAMode: the mode is that of the machine's RDMA devices, and nothing without any.
func TestRDMAMode(t *testing.T) {
	for _, tc := range []struct {
		machine string
		mode    nl.RDMANetnsMode
		want    string
	}{
		{"82576", nl.RDMAShared, "shared"},
		{"82576", nl.RDMAExclusive, "exclusive"},
		{"e1000e", nl.RDMAShared, ""},
	} {
		s, err := Read(t.Context(), sysfstest.Load(t, "testdata/"+tc.machine+".sysfs").Tree(t), &rdmaNet{igbNet(), tc.mode})
		if err != nil {
			t.Fatal(err)
		}
		if s.RDMANetns != tc.want {
			t.Errorf("%s, mode %q: %q", tc.machine, tc.mode, s.RDMANetns)
		}
	}
}

// The list of modules is evidence only when it is there.
func TestVFIOType1(t *testing.T) {
	const pci = "bus/pci/devices\n"
	for _, c := range []struct {
		name, tree string
		want       Presence
	}{
		{"loaded or built in", pci + "module/vfio_iommu_type1/parameters\n  allow_unsafe_interrupts = N\nmodule/vfio\n", Present},
		{"not loaded", pci + "module/vfio\n", Absent},
		{"no list of modules", pci, PresenceUnknown},
		{"a list that cannot be read", pci + "module/vfio\nmodule\n  . ! EIO\n", PresenceUnknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := Read(t.Context(), sysfstest.Parse(t, c.name, c.tree).Tree(t), nil)
			if err != nil {
				t.Fatal(err)
			}
			if s.VFIOType1 != c.want {
				t.Errorf("%v, want %v (notes %v)", s.VFIOType1, c.want, s.Notes)
			}
		})
	}
}
