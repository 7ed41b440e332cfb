package inventory

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
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
	if err := Table(&table, s, true); err != nil {
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

func TestUplinks(t *testing.T) {
	link := func(index int, name, kind string, master, lower int) nl.Link {
		return nl.Link{Index: index, Name: name, Kind: kind, Master: master, Lower: lower, Loopback: name == "lo"}
	}
	addr := func(index int, prefix string) nl.Addr {
		return nl.Addr{Index: index, Prefix: netip.MustParsePrefix(prefix)}
	}
	v4 := func(indexes ...int) nl.Route { return nl.Route{Indexes: indexes} }
	v6 := func(indexes ...int) nl.Route { return nl.Route{IPv6: true, Indexes: indexes} }
	for _, tc := range []struct {
		name   string
		links  []nl.Link
		addrs  []nl.Addr
		routes []nl.Route
		want   map[int]string
	}{
		{"nothing", []nl.Link{link(1, "lo", "", 0, 0), link(2, "pf", "", 0, 0)}, []nl.Addr{addr(1, "127.0.0.1/8"), addr(1, "10.0.0.1/32")}, nil, nil},
		{"IPv4 default route", []nl.Link{link(2, "pf", "", 0, 0), link(3, "pf1", "", 0, 0)}, nil, []nl.Route{v4(2)},
			map[int]string{2: "carries the IPv4 default route"}},
		{"IPv6 default route only", []nl.Link{link(2, "pf", "", 0, 0)}, []nl.Addr{addr(2, "fe80::1/64")}, []nl.Route{v6(2)},
			map[int]string{2: "carries the IPv6 default route"}},
		{"route goes before address", []nl.Link{link(2, "pf", "", 0, 0)}, []nl.Addr{addr(2, "10.0.0.2/24")}, []nl.Route{v6(2)},
			map[int]string{2: "carries the IPv6 default route"}},
		{"several next hops", []nl.Link{link(2, "a", "", 0, 0), link(3, "b", "", 0, 0)}, nil, []nl.Route{v4(2, 3)},
			map[int]string{2: "carries the IPv4 default route", 3: "carries the IPv4 default route"}},
		{"address without a route", []nl.Link{link(2, "pf", "", 0, 0)}, []nl.Addr{addr(2, "192.168.7.1/24")}, nil,
			map[int]string{2: "carries the address 192.168.7.1/24"}},
		{"global IPv6 address", []nl.Link{link(2, "pf", "", 0, 0)}, []nl.Addr{addr(2, "2001:db8::1/64")}, nil,
			map[int]string{2: "carries the address 2001:db8::1/64"}},
		{"unique local IPv6 address", []nl.Link{link(2, "pf", "", 0, 0)}, []nl.Addr{addr(2, "fd00::1/64")}, nil,
			map[int]string{2: "carries the address fd00::1/64"}},
		{"link-local is no use", []nl.Link{link(2, "pf", "", 0, 0)}, []nl.Addr{addr(2, "169.254.3.4/16"), addr(2, "fe80::1/64")}, nil, nil},
		{"bond", []nl.Link{link(2, "a", "", 5, 0), link(3, "b", "", 5, 0), link(4, "c", "", 0, 0), link(5, "bond0", "bond", 0, 0)}, nil, []nl.Route{v4(5)},
			map[int]string{
				2: "is below bond0 (bond), which carries the IPv4 default route", 3: "is below bond0 (bond), which carries the IPv4 default route",
				5: "carries the IPv4 default route",
			}},
		{"team", []nl.Link{link(2, "a", "", 5, 0), link(5, "team0", "team", 0, 0)}, []nl.Addr{addr(5, "10.0.0.2/24")}, nil,
			map[int]string{2: "is below team0 (team), which carries the address 10.0.0.2/24", 5: "carries the address 10.0.0.2/24"}},
		{"VLAN on bond on PFs, under a bridge",
			[]nl.Link{link(2, "pf", "", 5, 0), link(5, "bond0", "bond", 0, 0), link(6, "bond0.7", "vlan", 7, 5), link(7, "br0", "bridge", 0, 0)},
			[]nl.Addr{addr(7, "10.0.0.2/24")}, nil,
			map[int]string{
				2: "is below bond0 (bond), which carries the address 10.0.0.2/24",
				5: "is below bond0.7 (vlan), which carries the address 10.0.0.2/24",
				6: "is below br0 (bridge), which carries the address 10.0.0.2/24",
				7: "carries the address 10.0.0.2/24",
			}},
		{"macvlan", []nl.Link{link(2, "pf", "", 0, 0), link(3, "mac0", "macvlan", 0, 2)}, []nl.Addr{addr(3, "10.0.0.2/24")}, nil,
			map[int]string{2: "is below mac0 (macvlan), which carries the address 10.0.0.2/24", 3: "carries the address 10.0.0.2/24"}},
		{"Open vSwitch", []nl.Link{link(2, "pf", "", 5, 0), link(5, "ovs-system", "openvswitch", 0, 0), link(6, "br-ex", "openvswitch", 0, 0)}, nil, []nl.Route{v4(6)},
			map[int]string{2: "is below br-ex (openvswitch), which carries the IPv4 default route", 6: "carries the IPv4 default route"}},
		{"Open vSwitch for pods only", []nl.Link{link(2, "pf", "", 5, 0), link(5, "ovs-system", "openvswitch", 0, 0), link(3, "eth0", "", 0, 0)}, nil, []nl.Route{v4(3)},
			map[int]string{3: "carries the IPv4 default route"}},
		// The pods' bridge does not lead to a PF, nor does one PF's VLAN to another PF.
		{"unrelated devices", []nl.Link{link(2, "pf", "", 0, 0), link(3, "cni0", "bridge", 0, 0), link(4, "veth", "veth", 3, 0)}, []nl.Addr{addr(3, "10.244.0.1/24")}, nil,
			map[int]string{3: "carries the address 10.244.0.1/24", 4: "is below cni0 (bridge), which carries the address 10.244.0.1/24"}},
		{"devices that point at each other", []nl.Link{link(2, "a", "veth", 0, 3), link(3, "b", "veth", 0, 2)}, []nl.Addr{addr(2, "10.0.0.1/24")}, nil,
			map[int]string{2: "carries the address 10.0.0.1/24", 3: "is below a (veth), which carries the address 10.0.0.1/24"}},
		{"an index that is gone", []nl.Link{link(2, "pf", "vlan", 0, 77)}, []nl.Addr{addr(99, "10.0.0.1/24"), addr(2, "10.0.0.2/24")}, []nl.Route{v4(98)},
			map[int]string{2: "carries the address 10.0.0.2/24"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := Uplinks(tc.links, tc.addrs, tc.routes)
			if tc.want == nil {
				tc.want = map[int]string{}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestTableWithoutPFs(t *testing.T) {
	var b strings.Builder
	if err := Table(&b, &Snapshot{Others: make([]Function, 2)}, false); err != nil {
		t.Fatal(err)
	}
	want := "No SR-IOV capable network device or accelerator was found.\n2 without SR-IOV (-v lists them).\n"
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

// TestTableRDMAMode: the mode is printed with what changes it.
func TestTableRDMAMode(t *testing.T) {
	for mode, want := range map[string]string{"shared": "ib_core.netns_mode=0", "exclusive": "one network namespace each", "": ""} {
		var b strings.Builder
		if err := Table(&b, &Snapshot{RDMANetns: mode}, false); err != nil {
			t.Fatal(err)
		}
		if printed := strings.Contains(b.String(), "RDMA"); printed != (mode != "") || !strings.Contains(b.String(), want) {
			t.Errorf("mode %q: %s", mode, b.String())
		}
	}
}

// A VF or SF that is a part of another device of the host is used by the host,
// with an address somewhere above it or not; a link-local address alone is no
// use.
func TestHostUse(t *testing.T) {
	vf := nl.Link{Index: 6, Name: "enp33s16", MTU: 1500, Up: true, Type: nl.TypeEthernet, ParentDev: "0000:21:10.0", ParentBus: "pci"}
	lo := nl.Link{Index: 1, Name: "lo", Loopback: true, Up: true}
	portOf := func(kind string) []nl.Link {
		port := vf
		port.Master = 8
		return []nl.Link{lo, port, {Index: 8, Name: "up0", Kind: kind, Up: true}}
	}
	addr := func(index int, prefix string) []nl.Addr {
		return []nl.Addr{{Index: index, Prefix: netip.MustParsePrefix(prefix)}}
	}
	for _, c := range []struct {
		name   string
		links  []nl.Link
		addrs  []nl.Addr
		routes []nl.Route
		want   string
	}{
		{"not used", []nl.Link{lo, vf}, nil, nil, ""},
		{"up with a link-local address", []nl.Link{lo, vf}, addr(6, "fe80::1/64"), nil, ""},
		{"an IPv4 link-local address", []nl.Link{lo, vf}, addr(6, "169.254.3.4/16"), nil, ""},
		{"an address", []nl.Link{lo, vf}, addr(6, "2001:db8::7/64"), nil, "carries the address 2001:db8::7/64"},
		{"the default route", []nl.Link{lo, vf}, addr(6, "10.9.0.7/24"), []nl.Route{{Indexes: []int{6}}}, "carries the IPv4 default route"},
		{"below a bond with the default route", portOf("bond"), nil, []nl.Route{{Indexes: []int{8}}}, "is below up0 (bond), which carries the IPv4 default route"},
		{"below a bond that has no address yet", portOf("bond"), nil, nil, "is below up0 (bond)"},
		{"below a bridge", portOf("bridge"), nil, nil, "is below up0 (bridge)"},
		{"below a team", portOf("team"), nil, nil, "is below up0 (team)"},
		{"in a VRF", portOf("vrf"), nil, nil, "is below up0 (vrf)"},
		{"below a synthetic interface", portOf(""), addr(8, "10.9.0.7/24"), nil, "is below up0, which carries the address 10.9.0.7/24"},
		{"below a VLAN", []nl.Link{lo, vf, {Index: 9, Name: "vlan5", Kind: "vlan", Lower: 6}}, nil, nil, "is below vlan5 (vlan)"},
		{"below a macvlan with an address", []nl.Link{lo, vf, {Index: 9, Name: "mac0", Kind: "macvlan", Lower: 6}}, addr(9, "10.9.0.7/24"), nil, "is below mac0 (macvlan), which carries the address 10.9.0.7/24"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := Read(t.Context(), sysfstest.Load(t, "testdata/82576.sysfs").Tree(t), &fakeNet{links: c.links, addrs: c.addrs, routes: c.routes})
			if err != nil {
				t.Fatal(err)
			}
			if got := s.PFs[0].VFs[0].HostUse; got != c.want {
				t.Errorf("host use %q, want %q", got, c.want)
			}
			if s.PFs[0].VFs[1].HostUse != "" || s.PFs[0].Uplink != "" {
				t.Errorf("uses more: %q, %q", s.PFs[0].VFs[1].HostUse, s.PFs[0].Uplink)
			}
		})
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

// What netlink did not list is not known to be unused; what one list shows counts
// without the others.
func TestHostUseUnknown(t *testing.T) {
	broken := errors.New("no buffer space available")
	const pf, vf0, vf1 = "0000:21:00.0", "0000:21:10.0", "0000:21:10.2"
	read := func(change func(*fakeNet)) *Snapshot {
		fake := igbNet()
		change(fake)
		s, err := Read(t.Context(), sysfstest.Load(t, "testdata/82576.sysfs").Tree(t), fake)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	for _, c := range []struct {
		name   string
		change func(*fakeNet)
		want   []string // of pf, vf0 and vf1 those that are not known
	}{
		{"all listed but one interface", func(*fakeNet) {}, []string{vf1}},
		{"no interfaces", func(f *fakeNet) { f.linkErr = broken }, []string{pf, vf0, vf1}},
		{"no addresses", func(f *fakeNet) { f.addrErr, f.addrs = broken, nil }, []string{vf0, vf1}}, // the route shows the PF
		{"no routes", func(f *fakeNet) { f.routeErr, f.routes = broken, nil }, []string{pf, vf1}},   // the address shows VF 0
	} {
		t.Run(c.name, func(t *testing.T) {
			s := read(c.change)
			var got []string
			for _, id := range []string{pf, vf0, vf1} {
				if s.HostUnknown[id] != "" {
					got = append(got, id)
				}
			}
			if !cmp.Equal(got, c.want) {
				t.Errorf("not known of %v, want %v", s.HostUnknown, c.want)
			}
		})
	}
	s, err := Read(t.Context(), sysfstest.Load(t, "testdata/82576.sysfs").Tree(t), nil)
	if err != nil || len(s.HostUnknown) != 0 {
		t.Errorf("%v, %v: without netlink the tree is not this machine's", s.HostUnknown, err)
	}
}

// An interface on top of a PF's is seen, with an address or without, of every kind.
func TestUpper(t *testing.T) {
	const hsr = `devices/pci0000:20/0000:20:00.0/0000:21:00.0/net/enp33s0
  upper_hsr0 -> devices/virtual/net/hsr0
devices/virtual/net/hsr0
  ifindex = 12
`
	for _, c := range []struct {
		name, tree string
		links      []nl.Link
		want       string
	}{
		{"none", "", nil, ""},
		{"a bond", "", []nl.Link{{Index: 2, Name: "enp33s0", Master: 9}, {Index: 9, Name: "bond0", Kind: "bond"}}, "bond0 (bond)"},
		{"a master that is not listed", "", []nl.Link{{Index: 2, Name: "enp33s0", Master: 9}}, "interface 9"},
		{"a VLAN", "", []nl.Link{{Index: 2, Name: "enp33s0"}, {Index: 9, Name: "vlan5", Kind: "vlan", Lower: 2}}, "vlan5 (vlan)"},
		{"what netlink does not show", hsr, nil, "hsr0"},
	} {
		if c.links == nil {
			c.links = []nl.Link{{Index: 2, Name: "enp33s0"}}
		}
		text, err := os.ReadFile("testdata/82576.sysfs")
		if err != nil {
			t.Fatal(err)
		}
		s, err := Read(t.Context(), sysfstest.Parse(t, c.name, string(text)+c.tree).Tree(t), &fakeNet{links: c.links})
		if err != nil {
			t.Fatal(err)
		}
		if pf := &s.PFs[0]; pf.Upper != c.want || pf.Uplink != "" || !s.Network.Complete {
			t.Errorf("%s: upper %q, uplink %q, %+v", c.name, pf.Upper, pf.Uplink, s.Network)
		}
	}
}
