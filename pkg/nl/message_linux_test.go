package nl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vishvananda/netlink/nl"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func attr(typ uint16, data ...[]byte) []byte {
	var body []byte
	for _, d := range data {
		body = append(body, d...)
	}
	b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(body)))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = append(b, body...)
	return append(b, make([]byte, -len(b)&3)...)
}

func cat(parts ...[]byte) (b []byte) {
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

func zstr(s string) []byte { return []byte(s + "\x00") }

func hw(s string) net.HardwareAddr {
	a, err := net.ParseMAC(s)
	if err != nil {
		panic(err)
	}
	return a
}

func ifinfo(arphrd uint16, index int32, flags uint32) []byte {
	b := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint16(b[2:], arphrd)
	binary.NativeEndian.PutUint32(b[4:], uint32(index))
	binary.NativeEndian.PutUint32(b[8:], flags)
	return b
}

func num(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

func TestDecodeLink(t *testing.T) {
	for _, tc := range []struct {
		name string
		in   []byte
		want Link
	}{
		{"PF", cat(ifinfo(1, 3, unix.IFF_UP|unix.IFF_LOWER_UP),
			attr(unix.IFLA_IFNAME, zstr("enp1s0f0np0")), attr(unix.IFLA_MTU, num(9000)), attr(unix.IFLA_MAX_MTU, num(9978)),
			attr(unix.IFLA_ADDRESS, hw("b8:3f:d2:00:00:01")), attr(unix.IFLA_PERM_ADDRESS, hw("b8:3f:d2:00:00:02")),
			attr(unix.IFLA_CARRIER, []byte{1}), attr(unix.IFLA_MASTER, num(9)),
			attr(unix.IFLA_PHYS_SWITCH_ID, []byte{1, 0, 0xd2}), attr(unix.IFLA_PHYS_PORT_NAME, zstr("p0")),
			attr(unix.IFLA_PARENT_DEV_NAME, zstr("0000:01:00.0")), attr(unix.IFLA_PARENT_DEV_BUS_NAME, zstr("pci")),
			attr(unix.IFLA_PROP_LIST|unix.NLA_F_NESTED, attr(unix.IFLA_ALT_IFNAME, zstr("enp1s0f0")), attr(unix.IFLA_ALT_IFNAME, zstr("storage")))),
			Link{
				Index: 3, Name: "enp1s0f0np0", AltNames: []string{"enp1s0f0", "storage"}, MTU: 9000, MaxMTU: 9978,
				MAC: hw("b8:3f:d2:00:00:01"), PermMAC: hw("b8:3f:d2:00:00:02"), Up: true, Carrier: true, Type: 1, Master: 9,
				PhysSwitchID: "0100d2", PhysPortName: "p0", ParentDev: "0000:01:00.0", ParentBus: "pci",
			}},
		{"VLAN", cat(ifinfo(1, 5, unix.IFF_UP), attr(unix.IFLA_IFNAME, zstr("eth0.7")), attr(unix.IFLA_LINK, num(3)),
			attr(unix.IFLA_LINKINFO, attr(unix.IFLA_INFO_KIND, []byte("vlan")))),
			Link{Index: 5, Name: "eth0.7", Kind: "vlan", Lower: 3, Up: true, Type: 1}},
		{"macvlan whose lower is elsewhere", cat(ifinfo(1, 5, 0), attr(unix.IFLA_LINK_NETNSID, num(0)), attr(unix.IFLA_LINK, num(3))),
			Link{Index: 5, Type: 1}},
		{"its own lower", cat(ifinfo(1, 5, 0), attr(unix.IFLA_LINK, num(5))), Link{Index: 5, Type: 1}},
		{"InfiniBand", cat(ifinfo(32, 2, 0), attr(unix.IFLA_ADDRESS, make([]byte, 20))), Link{Index: 2, Type: 32, MAC: make([]byte, 20)}},
		{"loopback", ifinfo(772, 1, unix.IFF_LOOPBACK|unix.IFF_UP), Link{Index: 1, Type: 772, Loopback: true, Up: true}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := DecodeLink(tc.in)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
	if _, err := DecodeLink(make([]byte, unix.SizeofIfInfomsg-1)); !errors.Is(err, ErrMalformed) {
		t.Errorf("short message: %v", err)
	}
}

func TestDecodeVFs(t *testing.T) {
	mac := func(vf uint32, mac net.HardwareAddr) []byte {
		return attr(unix.IFLA_VF_MAC, num(vf), mac, make([]byte, 32-len(mac)))
	}
	yes, no := true, false
	in := cat(ifinfo(1, 3, 0), attr(unix.IFLA_ADDRESS, hw("b8:3f:d2:00:00:01")),
		attr(unix.IFLA_VFINFO_LIST,
			attr(unix.IFLA_VF_INFO, mac(0, hw("02:00:00:00:00:01")), attr(unix.IFLA_VF_VLAN, num(0), num(100), num(2)),
				attr(unix.IFLA_VF_VLAN_LIST, attr(unix.IFLA_VF_VLAN_INFO, num(0), num(100), num(2), []byte{0x88, 0xa8, 0, 0})),
				attr(unix.IFLA_VF_RATE, num(0), num(10), num(1000)), attr(unix.IFLA_VF_SPOOFCHK, num(0), num(1)), attr(unix.IFLA_VF_TRUST, num(0), num(0)), attr(unix.IFLA_VF_RSS_QUERY_EN, num(0), num(1)),
				attr(unix.IFLA_VF_LINK_STATE, num(0), num(2)), attr(8, make([]byte, 64))),
			// An old driver: no VLAN list, and settings that it does not report.
			attr(unix.IFLA_VF_INFO, mac(1, make([]byte, 6)), attr(unix.IFLA_VF_VLAN, num(1), num(7), num(0)), attr(unix.IFLA_VF_SPOOFCHK, num(1), num(unreported)), attr(unix.IFLA_VF_TRUST, num(1), num(unreported)), attr(unix.IFLA_VF_RSS_QUERY_EN, num(1), num(unreported))),
			attr(unix.IFLA_VF_INFO, attr(unix.IFLA_VF_IB_NODE_GUID, num(2), num(0), u64bytes(0x0011223344556677)), attr(unix.IFLA_VF_IB_PORT_GUID, num(2), num(0), u64bytes(0x0011223344556678)))))
	got, err := decodeVFs(in)
	if err != nil {
		t.Fatal(err)
	}
	want := []VFInfo{
		{
			Index: 0, MAC: hw("02:00:00:00:00:01"), VLAN: 100, QoS: 2, VLANProto: Proto8021AD, MinRate: 10, MaxRate: 1000,
			SpoofCheck: &yes, Trust: &no, QueryRSS: &yes, LinkState: LinkStateDisable,
		},
		{Index: 1, MAC: make([]byte, 6), VLAN: 7},
		{Index: 2, NodeGUID: hw("00:11:22:33:44:55:66:77"), PortGUID: hw("00:11:22:33:44:55:66:78")},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if _, err := decodeVFs(nil); !errors.Is(err, ErrMalformed) {
		t.Errorf("short message: %v", err)
	}
}

func u64bytes(v uint64) []byte { return binary.NativeEndian.AppendUint64(nil, v) }

func TestDecodeAddr(t *testing.T) {
	msg := func(family, bits byte, attrs ...[]byte) []byte {
		b := make([]byte, unix.SizeofIfAddrmsg)
		b[0], b[1] = family, bits
		binary.NativeEndian.PutUint32(b[4:], 3)
		return append(b, cat(attrs...)...)
	}
	for _, tc := range []struct {
		name string
		in   []byte
		want string
	}{
		{"IPv4", msg(unix.AF_INET, 24, attr(unix.IFA_ADDRESS, []byte{192, 0, 2, 1}), attr(unix.IFA_LOCAL, []byte{192, 0, 2, 1})), "192.0.2.1/24"},
		{"point to point", msg(unix.AF_INET, 32, attr(unix.IFA_LOCAL, []byte{192, 0, 2, 1}), attr(unix.IFA_ADDRESS, []byte{192, 0, 2, 9})), "192.0.2.1/32"},
		{"IPv6", msg(unix.AF_INET6, 64, attr(unix.IFA_ADDRESS, netip.MustParseAddr("2001:db8::1").AsSlice())), "2001:db8::1/64"},
	} {
		if got, err := DecodeAddr(tc.in); err != nil || got.Index != 3 || got.Prefix.String() != tc.want {
			t.Errorf("%s: %+v, %v; want %s", tc.name, got, err, tc.want)
		}
	}
	if a, err := DecodeAddr(msg(unix.AF_INET, 24)); err != nil || a.Prefix.IsValid() {
		t.Errorf("no address: %+v, %v", a, err)
	}
}

func TestDecodeRoute(t *testing.T) {
	msg := func(family, dstLen, typ byte, flags uint32, attrs ...[]byte) []byte {
		b := make([]byte, unix.SizeofRtMsg)
		b[0], b[1], b[4], b[7] = family, dstLen, unix.RT_TABLE_MAIN, typ
		binary.NativeEndian.PutUint32(b[8:], flags)
		return append(b, cat(attrs...)...)
	}
	hop := func(index uint32) []byte {
		gateway := attr(unix.RTA_GATEWAY, []byte{192, 0, 2, 254})
		return cat([]byte{16, 0, 0, 0}, num(index), gateway)
	}
	for _, tc := range []struct {
		name string
		in   []byte
		want *Route
	}{
		{"IPv4", msg(unix.AF_INET, 0, unix.RTN_UNICAST, 0, attr(unix.RTA_OIF, num(3))), &Route{Table: 254, Indexes: []int{3}}},
		{"IPv6 in another table", msg(unix.AF_INET6, 0, unix.RTN_UNICAST, 0, attr(unix.RTA_TABLE, num(1000)), attr(unix.RTA_OIF, num(3))), &Route{IPv6: true, Table: 1000, Indexes: []int{3}}},
		// The library writes 0.0.0.0/0 where the kernel leaves the destination out.
		{"with a destination of zero", msg(unix.AF_INET, 0, unix.RTN_UNICAST, 0, attr(unix.RTA_DST, make([]byte, 4)), attr(unix.RTA_OIF, num(3))), &Route{Table: 254, Indexes: []int{3}}},
		{"two next hops", msg(unix.AF_INET, 0, unix.RTN_UNICAST, 0, attr(unix.RTA_MULTIPATH, hop(3), hop(4))), &Route{Table: 254, Indexes: []int{3, 4}}},
		{"a subnet's", msg(unix.AF_INET, 24, unix.RTN_UNICAST, 0, attr(unix.RTA_OIF, num(3))), nil},
		{"unreachable", msg(unix.AF_INET6, 0, unix.RTN_UNREACHABLE, 0, attr(unix.RTA_OIF, num(1))), nil},
		{"cache entry", msg(unix.AF_INET6, 0, unix.RTN_UNICAST, unix.RTM_F_CLONED, attr(unix.RTA_OIF, num(3))), nil},
		{"other family", msg(unix.AF_MPLS, 0, unix.RTN_UNICAST, 0, attr(unix.RTA_OIF, num(3))), nil},
	} {
		got, ok, err := DecodeRoute(tc.in)
		if err != nil || ok != (tc.want != nil) || ok && !cmp.Equal(got, *tc.want) {
			t.Errorf("%s: %+v, %v, %v; want %+v", tc.name, got, ok, err, tc.want)
		}
	}
	if _, _, err := DecodeRoute(nil); !errors.Is(err, ErrMalformed) {
		t.Errorf("short message: %v", err)
	}
}

func TestDecodeDevlink(t *testing.T) {
	mode := func(m uint16) []byte {
		return cat(attr(nl.DEVLINK_ATTR_BUS_NAME, zstr("pci")), attr(nl.DEVLINK_ATTR_ESWITCH_MODE, binary.NativeEndian.AppendUint16(nil, m)))
	}
	for in, want := range map[uint16]string{0: "legacy", 1: "switchdev", 2: "mode 2"} {
		if got, err := decodeEswitch(decode(mode(in))); got != want || err != nil {
			t.Errorf("eswitch mode %d is %q, %v, want %q", in, got, err, want)
		}
	}
	if got, err := decodeEswitch(decode(attr(nl.DEVLINK_ATTR_BUS_NAME, zstr("pci")))); got != "" || err != nil {
		t.Errorf("no mode is %q, %v", got, err)
	}

	param := func(typ byte, values ...[]byte) []byte {
		return attr(nl.DEVLINK_ATTR_PARAM, attr(nl.DEVLINK_ATTR_PARAM_NAME, zstr("x")),
			attr(nl.DEVLINK_ATTR_PARAM_TYPE, []byte{typ}), attr(nl.DEVLINK_ATTR_PARAM_VALUES_LIST, values...))
	}
	value := func(cmode byte, data ...[]byte) []byte {
		b := attr(nl.DEVLINK_ATTR_PARAM_VALUE_CMODE, []byte{cmode})
		for _, d := range data {
			b = append(b, attr(nl.DEVLINK_ATTR_PARAM_VALUE_DATA, d)...)
		}
		return attr(nl.DEVLINK_ATTR_PARAM_VALUE, b)
	}
	for _, tc := range []struct {
		name string
		in   []byte
		want any
	}{
		{"string", param(nl.DEVLINK_PARAM_TYPE_STRING, value(1, zstr("dmfs")), value(nl.DEVLINK_PARAM_CMODE_RUNTIME, zstr("smfs"))), "smfs"},
		{"u8", param(nl.DEVLINK_PARAM_TYPE_U8, value(nl.DEVLINK_PARAM_CMODE_RUNTIME, []byte{7})), uint8(7)},
		{"u16", param(nl.DEVLINK_PARAM_TYPE_U16, value(nl.DEVLINK_PARAM_CMODE_RUNTIME, []byte{1, 1})), uint16(0x101)},
		{"u32", param(nl.DEVLINK_PARAM_TYPE_U32, value(nl.DEVLINK_PARAM_CMODE_RUNTIME, num(70000))), uint32(70000)},
		{"set flag", param(nl.DEVLINK_PARAM_TYPE_BOOL, value(nl.DEVLINK_PARAM_CMODE_RUNTIME, nil)), true},
		{"clear flag", param(nl.DEVLINK_PARAM_TYPE_BOOL, value(nl.DEVLINK_PARAM_CMODE_RUNTIME)), false},
		{"only at driver start", param(nl.DEVLINK_PARAM_TYPE_STRING, value(1, zstr("dmfs"))), nil},
	} {
		if got, err := decodeParam(decode(tc.in)); got.Value != tc.want || err != nil {
			t.Errorf("%s: %v, %v, want %v", tc.name, got.Value, err, tc.want)
		}
	}
	for _, tc := range []struct {
		typ   uint8
		value any
		want  []byte
		bad   bool
	}{
		{nl.DEVLINK_PARAM_TYPE_STRING, "smfs", []byte("smfs\x00"), false}, {nl.DEVLINK_PARAM_TYPE_BOOL, true, []byte{}, false}, {nl.DEVLINK_PARAM_TYPE_BOOL, false, nil, false},
		{nl.DEVLINK_PARAM_TYPE_U8, uint8(3), []byte{3}, false}, {nl.DEVLINK_PARAM_TYPE_U32, uint32(70000), num(70000), false},
		{nl.DEVLINK_PARAM_TYPE_U32, "smfs", nil, true}, {nl.DEVLINK_PARAM_TYPE_STRING, 3, nil, true},
	} {
		got, err := encodeParam(tc.typ, tc.value)
		if !cmp.Equal(got, tc.want) || errors.Is(err, unix.EINVAL) != tc.bad {
			t.Errorf("encodeParam(%d, %v) = %v, %v", tc.typ, tc.value, got, err)
		}
	}

	version := func(typ uint16, name, v string) []byte {
		return attr(typ, attr(nl.DEVLINK_ATTR_INFO_VERSION_NAME, zstr(name)), attr(nl.DEVLINK_ATTR_INFO_VERSION_VALUE, zstr(v)))
	}
	info, err := decodeInfo(decode(cat(attr(nl.DEVLINK_ATTR_INFO_DRIVER_NAME, zstr("ice")),
		version(nl.DEVLINK_ATTR_INFO_VERSION_RUNNING, "fw.app.name", "ICE OS Default Package"),
		version(nl.DEVLINK_ATTR_INFO_VERSION_STORED, "fw.app.name", "older"),
		version(nl.DEVLINK_ATTR_INFO_VERSION_FIXED, "board.id", "K65390"))))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"driver": "ice", "fw.app.name": "ICE OS Default Package", "board.id": "K65390"}
	if diff := cmp.Diff(want, info); diff != "" {
		t.Errorf("info (-want +got)\n%s", diff)
	}
}

func TestDecodeOthers(t *testing.T) {
	for in, want := range map[byte]RDMANetnsMode{0: RDMAExclusive, 1: RDMAShared} {
		if got, err := decodeRDMAMode(decode(attr(nl.RDMA_NLDEV_SYS_ATTR_NETNS_MODE, []byte{in}))); got != want || err != nil {
			t.Errorf("RDMA mode %d is %q, %v, want %q", in, got, err, want)
		}
	}
	if got, err := decodeRDMAMode(decode(nil)); got != "" || err != nil {
		t.Errorf("no RDMA mode is %q, %v", got, err)
	}
	dev, err := decodeRDMADev(decode(cat(attr(nl.RDMA_NLDEV_ATTR_DEV_INDEX, num(4)), attr(nl.RDMA_NLDEV_ATTR_DEV_NAME, zstr("mlx5_2")))))
	if dev != (RDMADev{4, "mlx5_2"}) || err != nil {
		t.Errorf("RDMA device %+v, %v", dev, err)
	}
	id, err := decodeFamily(decode(cat(attr(unix.CTRL_ATTR_FAMILY_NAME, zstr("vdpa")), attr(unix.CTRL_ATTR_FAMILY_ID, []byte{0x1c, 0}))))
	if err != nil || id != binary.NativeEndian.Uint16([]byte{0x1c, 0}) {
		t.Errorf("family %d, %v", id, err)
	}
}

func TestError(t *testing.T) {
	err := wrap(fmt.Errorf("%w: VF is busy", unix.EBUSY), "set VF 3 MAC", "ens1", "02:00:00:00:00:01")
	if want := "set VF 3 MAC to 02:00:00:00:00:01 on ens1: device or resource busy: VF is busy"; err.Error() != want {
		t.Errorf("message %q, want %q", err, want)
	}
	var e *Error
	if !errors.As(err, &e) || e.Errno() != syscall.EBUSY || !errors.Is(err, unix.EBUSY) || errors.Is(err, ErrUnsupported) {
		t.Errorf("error %#v", err)
	}
	for errno, want := range map[syscall.Errno]bool{unix.EOPNOTSUPP: true, unix.EPROTONOSUPPORT: true, unix.ENODEV: false, unix.EINVAL: false} {
		if got := errors.Is(wrap(errno, "x", "", ""), ErrUnsupported); got != want {
			t.Errorf("%v is unsupported: %v", errno, got)
		}
	}
	if wrap(nil, "x", "", "") != nil {
		t.Error("no error became one")
	}
	if (&Error{Err: errors.New("no errno")}).Errno() != 0 {
		t.Error("an errno out of nothing")
	}
	if got := noDevice(unix.ENODEV); !errors.Is(got, ErrUnsupported) || !errors.Is(got, unix.ENODEV) {
		t.Errorf("noDevice = %v", got)
	}
}

// No message, however broken, makes a decoder fail otherwise than by an error.
func FuzzDecode(f *testing.F) {
	f.Add(cat(ifinfo(1, 3, 1), attr(unix.IFLA_IFNAME, zstr("x")), attr(unix.IFLA_VFINFO_LIST, attr(unix.IFLA_VF_INFO, attr(unix.IFLA_VF_MAC, make([]byte, 36))))))
	f.Add(cat(make([]byte, unix.SizeofRtMsg), attr(unix.RTA_MULTIPATH, make([]byte, 16))))
	f.Add(attr(nl.DEVLINK_ATTR_PARAM, attr(nl.DEVLINK_ATTR_PARAM_VALUES_LIST, attr(1))))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := DecodeLink(b)
		if err == nil && l.Lower == l.Index && l.Lower != 0 {
			t.Errorf("%+v is below itself", l)
		}
		_, _ = decodeVFs(b)
		_, _ = DecodeAddr(b)
		if r, ok, _ := DecodeRoute(b); ok && len(r.Indexes) == 0 {
			t.Error("a route to nowhere")
		}
		_, _ = decodeEswitch(decode(b))
		_, _ = decodeParam(decode(b))
		_, _ = decodeInfo(decode(b))
		_, _ = decodeRDMAMode(decode(b))
		_, _ = decodeRDMADev(decode(b))
		_, _ = decodeFamily(genl(b))
	})
}
