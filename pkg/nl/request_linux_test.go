package nl

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// What is sent, attribute by attribute, against linux/if_link.h.
func TestRequests(t *testing.T) {
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("the expected bytes are little-endian")
	}
	pf := LinkRef{Index: 5, Name: "ens1"}
	// The first number is the type: 0x13 RTM_SETLINK, 0x10 RTM_NEWLINK.
	const head = "0000000005000000" // ifinfomsg: family, type; index
	vf := func(attr string) string {
		return head + "0000000000000000 16:{1:{" + attr + "}}" // IFLA_VFINFO_LIST, IFLA_VF_INFO
	}
	vdpa := func(bus string) *nl.NetlinkRequest {
		return genlRequest(0x1c, genlHeader{nl.VDPA_CMD_DEV_NEW, nl.VDPA_GENL_VERSION}, vdpaDevice("v0", bus, "a")...)
	}
	for _, tc := range []struct {
		name string
		req  *nl.NetlinkRequest
		want string
	}{
		{"MAC", vfRequest(pf, unix.IFLA_VF_MAC, macValue(3, hw("02:00:00:00:00:01"))), "13 " + vf("1:03000000020000000001"+strings.Repeat("0", 52))},
		{"VLAN", vfRequest(pf, unix.IFLA_VF_VLAN, u32s(3, 100, 2)), "13 " + vf("2:030000006400000002000000")},
		{"VLAN 802.1ad", vfRequest(pf, unix.IFLA_VF_VLAN_LIST, vlanValue(3, VLAN{100, 2, Proto8021AD}), unix.IFLA_VF_VLAN_INFO), "13 " + vf("c:{1:03000000640000000200000088a80000}")},
		{"rate", vfRequest(pf, unix.IFLA_VF_RATE, u32s(3, 10, 1000)), "13 " + vf("6:030000000a000000e8030000")},
		{"spoof check", vfRequest(pf, unix.IFLA_VF_SPOOFCHK, u32s(3, number(true))), "13 " + vf("4:0300000001000000")},
		{"trust", vfRequest(pf, unix.IFLA_VF_TRUST, u32s(3, number(false))), "13 " + vf("9:0300000000000000")},
		{"RSS query", vfRequest(pf, unix.IFLA_VF_RSS_QUERY_EN, u32s(3, number(true))), "13 " + vf("7:0300000001000000")},
		{"link state", vfRequest(pf, unix.IFLA_VF_LINK_STATE, u32s(3, int(LinkStateDisable))), "13 " + vf("5:0300000002000000")},
		{"node GUID", vfRequest(pf, unix.IFLA_VF_IB_NODE_GUID, guidValue(3, hw("00:11:22:33:44:55:66:77"))), "13 " + vf("a:03000000000000007766554433221100")},
		{"up", upRequest(pf, true), "10 " + head + "0100000001000000"},
		{"down", upRequest(pf, false), "10 " + head + "0000000001000000"},
		{"by name", upRequest(LinkRef{Name: "ens1"}, true), "10 00000000000000000100000001000000 3:656e733100"},
		{"by altname", upRequest(LinkRef{Name: "a-very-long-name"}, true), "10 00000000000000000100000001000000 35:612d766572792d6c6f6e672d6e616d6500"},
		{"vDPA", vdpa("pci"), "1c 03010000 4:763000 1:70636900 2:6100"},
		{"vDPA without a bus", vdpa(""), "1c 03010000 4:763000 2:6100"},
		{"port GUID", vfRequest(pf, unix.IFLA_VF_IB_PORT_GUID, guidValue(3, hw("00:11:22:33:44:55:66:77"))), "13 " + vf("b:03000000000000007766554433221100")},
	} {
		if got := render(tc.req); got != tc.want {
			t.Errorf("%s:\n got %s\nwant %s", tc.name, got, tc.want)
		}
	}
}

// render prints a request as type, fixed part and attributes, the nested ones
// in braces.
func render(req *nl.NetlinkRequest) string {
	b := req.Serialize()
	typ := binary.NativeEndian.Uint16(b[4:])
	fixed := unix.SizeofIfInfomsg
	if typ != unix.RTM_SETLINK && typ != unix.RTM_NEWLINK {
		fixed = nl.SizeofGenlmsg
	}
	s := fmt.Sprintf("%x %x", typ, b[16:16+fixed])
	for d := decode(b[16+fixed:]); d.next(); {
		s += " " + renderAttr(d, 0)
	}
	return s
}

func renderAttr(d *decoder, depth int) string {
	nested := depth == 0 && d.typ == unix.IFLA_VFINFO_LIST || depth == 1 || depth == 2 && d.typ == unix.IFLA_VF_VLAN_LIST
	if !nested {
		return fmt.Sprintf("%x:%s", d.typ, hex.EncodeToString(d.data))
	}
	var inner []string
	d.nested(func(in *decoder) { inner = append(inner, renderAttr(in, depth+1)) })
	return fmt.Sprintf("%x:{%s}", d.typ, strings.Join(inner, " "))
}
