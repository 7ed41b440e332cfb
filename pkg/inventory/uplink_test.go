package inventory

import (
	"errors"
	"net/netip"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/talos-sriov/talos-sriov/pkg/internal/sysfstest"
	"github.com/talos-sriov/talos-sriov/pkg/nl"
)

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
