package kevent

import (
	"encoding/binary"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

func attr(typ uint16, data []byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(data)))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = append(b, data...)
	return append(b, make([]byte, -len(b)&3)...)
}

func link(family byte, flags uint32, name, kind, parent string) []byte {
	b := make([]byte, unix.SizeofIfInfomsg)
	b[0] = family
	binary.NativeEndian.PutUint16(b[2:], 1)
	binary.NativeEndian.PutUint32(b[4:], 7)
	binary.NativeEndian.PutUint32(b[8:], flags)
	b = append(b, attr(unix.IFLA_IFNAME, []byte(name+"\x00"))...)
	if kind != "" {
		b = append(b, attr(unix.IFLA_LINKINFO, attr(unix.IFLA_INFO_KIND, []byte(kind)))...)
	}
	if parent != "" {
		b = append(b, attr(unix.IFLA_PARENT_DEV_NAME, []byte(parent+"\x00"))...)
		b = append(b, attr(unix.IFLA_PARENT_DEV_BUS_NAME, []byte("pci\x00"))...)
	}
	return b
}

func addr(ip string) []byte {
	a := net.ParseIP(ip)
	family := byte(unix.AF_INET6)
	if v4 := a.To4(); v4 != nil {
		a, family = v4, unix.AF_INET
	}
	b := make([]byte, unix.SizeofIfAddrmsg)
	b[0], b[1] = family, 24
	binary.NativeEndian.PutUint32(b[4:], 7)
	return append(b, attr(unix.IFA_ADDRESS, a)...)
}

func route(dstLen, typ byte) []byte {
	b := make([]byte, unix.SizeofRtMsg)
	b[0], b[1], b[4], b[7] = unix.AF_INET, dstLen, unix.RT_TABLE_MAIN, typ
	return append(b, attr(unix.RTA_OIF, binary.NativeEndian.AppendUint32(nil, 7))...)
}

func TestRouteEvent(t *testing.T) {
	up := uint32(unix.IFF_UP | unix.IFF_LOWER_UP)
	none, lost := Event{}, Event{Lost, "rtnetlink"}
	for _, tc := range []struct {
		name string
		typ  uint16
		data []byte
		want Event
	}{
		{"PF up", unix.RTM_NEWLINK, link(0, up, "enp1s0", "", "0000:01:00.0"), Event{Link, "enp1s0"}},
		{"PF without carrier", unix.RTM_NEWLINK, link(0, unix.IFF_UP, "enp1s0", "", ""), Event{Link, "enp1s0"}},
		{"VF left", unix.RTM_DELLINK, link(0, 0, "enp1s0v0", "", ""), Event{Link, "enp1s0v0"}},
		{"bond", unix.RTM_NEWLINK, link(0, up, "bond0", "bond", ""), Event{Link, "bond0"}},
		{"pod's veth", unix.RTM_NEWLINK, link(0, up, "veth1", "veth", ""), none},
		{"bridge port message", unix.RTM_NEWLINK, link(unix.AF_BRIDGE, up, "enp1s0", "", ""), none},
		{"loopback", unix.RTM_NEWLINK, link(0, up|unix.IFF_LOOPBACK, "lo", "", ""), none},
		{"address", unix.RTM_NEWADDR, addr("192.0.2.1"), Event{Addr, "7"}},
		{"IPv6 address gone", unix.RTM_DELADDR, addr("2001:db8::1"), Event{Addr, "7"}},
		{"link-local address", unix.RTM_NEWADDR, addr("fe80::1"), none},
		{"default route", unix.RTM_NEWROUTE, route(0, unix.RTN_UNICAST), Event{Kind: Route}},
		{"default route gone", unix.RTM_DELROUTE, route(0, unix.RTN_UNICAST), Event{Kind: Route}},
		{"other route", unix.RTM_NEWROUTE, route(24, unix.RTN_UNICAST), none},
		{"blackhole", unix.RTM_NEWROUTE, route(0, unix.RTN_BLACKHOLE), none},
		{"neighbour", unix.RTM_NEWNEIGH, make([]byte, 40), none},
		{"short link", unix.RTM_NEWLINK, make([]byte, 3), lost},
		{"empty link", unix.RTM_NEWLINK, nil, lost},
		{"empty address", unix.RTM_NEWADDR, nil, lost},
		{"empty route", unix.RTM_NEWROUTE, nil, lost},
		{"link with a cut attribute", unix.RTM_NEWLINK, append(link(0, up, "enp1s0", "", ""), 9, 0, 4, 0), lost},
		{"address with a cut attribute", unix.RTM_DELADDR, append(addr("192.0.2.1"), 9, 0, 4, 0), lost},
		{"route with a cut attribute", unix.RTM_NEWROUTE, append(route(0, unix.RTN_UNICAST), 9, 0, 4, 0), lost},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got []Event
			decodeRoute(datagram(tc.typ, tc.data), func(e Event) { got = append(got, e) })
			if tc.want == none && len(got) > 0 || tc.want != none && (len(got) != 1 || got[0] != tc.want) {
				t.Errorf("events %+v, want %+v", got, tc.want)
			}
		})
	}
}

// datagram is one rtnetlink message as a socket gives it.
func datagram(typ uint16, data []byte) []byte {
	b := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(data)))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = append(b, make([]byte, unix.SizeofNlMsghdr-len(b))...)
	b = append(b, data...)
	return append(b, make([]byte, -len(b)&3)...)
}

// What cannot be decoded is announced as lost, not passed over.
func TestBrokenDatagramIsLost(t *testing.T) {
	var got []Event
	decodeRoute([]byte{200, 0, 0, 0, byte(unix.RTM_NEWLINK), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, func(e Event) { got = append(got, e) })
	if len(got) != 1 || got[0] != (Event{Lost, "rtnetlink"}) {
		t.Errorf("events %+v", got)
	}
	got = nil
	if decodeRoute(nil, func(e Event) { got = append(got, e) }); len(got) != 0 { // another process' message
		t.Errorf("events %+v", got)
	}
}

func FuzzRouteEvent(f *testing.F) {
	f.Add(uint16(unix.RTM_NEWLINK), link(0, 1, "eth0", "vlan", "0000:01:00.0"))
	f.Add(uint16(unix.RTM_NEWADDR), addr("192.0.2.1"))
	f.Add(uint16(unix.RTM_NEWROUTE), route(0, 1))
	f.Add(uint16(unix.RTM_NEWROUTE), append(route(0, 1), attr(unix.RTA_MULTIPATH, []byte{8, 0, 0, 0, 3, 0, 0, 0})...))
	f.Fuzz(func(t *testing.T, typ uint16, data []byte) {
		if e, ok, err := routeEvent(typ, data); ok && (e.Kind == "" || err != nil) {
			t.Errorf("event %+v, %v", e, err)
		}
	})
}
