package nl

import (
	"errors"
	"fmt"
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// malformed are attributes that no kernel makes, behind those that are whole.
var malformed = map[string][]byte{
	"one byte behind the attributes": {1},
	"half a header":                  {8, 0, 3},
	"length zero":                    {0, 0, 0, 0},
	"length shorter than the header": {3, 0, 3, 0},
	"length past the end":            {200, 0, 3, 0, 'e', 0, 0, 0},
}

// TestMalformed: what is cut, or has a length that its type does not have, is an error
// of every decoder, which names the attribute and gives nothing of what came before.
func TestMalformed(t *testing.T) {
	link, addr, route := ifinfo(1, 3, 0), make([]byte, unix.SizeofIfAddrmsg), make([]byte, unix.SizeofRtMsg)
	addr[0], addr[1] = unix.AF_INET, 24
	route[0], route[7] = unix.AF_INET, unix.RTN_UNICAST
	hop := cat([]byte{8, 0, 0, 0}, num(3))
	param := func(typ byte, values ...[]byte) []byte {
		return attr(nl.DEVLINK_ATTR_PARAM, attr(nl.DEVLINK_ATTR_PARAM_TYPE, []byte{typ}), attr(nl.DEVLINK_ATTR_PARAM_VALUES_LIST, values...))
	}
	value := func(data ...[]byte) []byte {
		return attr(nl.DEVLINK_ATTR_PARAM_VALUE, attr(nl.DEVLINK_ATTR_PARAM_VALUE_CMODE, []byte{nl.DEVLINK_PARAM_CMODE_RUNTIME}), cat(data...))
	}
	vf := func(attrs ...[]byte) []byte {
		return attr(unix.IFLA_VFINFO_LIST, attr(unix.IFLA_VF_INFO, cat(attr(unix.IFLA_VF_SPOOFCHK, num(0), num(1)), cat(attrs...))))
	}
	short, long := []byte{1}, make([]byte, 5)
	for _, dec := range []struct {
		name   string
		head   []byte   // the fixed part
		whole  []byte   // attributes that are whole
		wrong  [][]byte // attributes with a wrong value
		nested [][2]uint16
		decode func([]byte) (any, error)
	}{
		{
			"link", link, attr(unix.IFLA_MTU, num(1500)),
			[][]byte{attr(unix.IFLA_MTU, short), attr(unix.IFLA_MAX_MTU, long), attr(unix.IFLA_CARRIER), attr(unix.IFLA_MASTER, short), attr(unix.IFLA_LINK, long)},
			[][2]uint16{{unix.IFLA_LINKINFO}, {unix.IFLA_PROP_LIST | unix.NLA_F_NESTED}},
			func(b []byte) (any, error) { return DecodeLink(b) },
		},
		{
			"VFs", link, attr(unix.IFLA_NUM_VF, num(1)),
			[][]byte{
				attr(unix.IFLA_NUM_VF, short), vf(attr(unix.IFLA_VF_MAC, num(0), make([]byte, 31))), vf(attr(unix.IFLA_VF_VLAN, num(0), num(1))), vf(attr(unix.IFLA_VF_RATE, num(0), num(1))),
				vf(attr(unix.IFLA_VF_SPOOFCHK, num(0))), vf(attr(unix.IFLA_VF_TRUST)), vf(attr(unix.IFLA_VF_LINK_STATE, short)), vf(attr(unix.IFLA_VF_IB_NODE_GUID, num(0), num(0))), vf(attr(unix.IFLA_VF_IB_PORT_GUID, long)),
				vf(attr(unix.IFLA_VF_VLAN_LIST, attr(unix.IFLA_VF_VLAN_INFO, num(0), num(1), num(0)))), vf(attr(unix.IFLA_VF_VLAN_LIST, []byte{9, 0, 1, 0})), vf([]byte{99, 0, 1, 0}),
				attr(unix.IFLA_VFINFO_LIST, attr(unix.IFLA_VF_INFO)), attr(unix.IFLA_VFINFO_LIST, attr(unix.IFLA_VF_INFO, attr(8, num(7)))),
			},
			[][2]uint16{{unix.IFLA_VFINFO_LIST, unix.IFLA_VF_INFO}},
			func(b []byte) (any, error) { return decodeVFs(b) },
		},
		{
			"address", addr, attr(unix.IFA_LOCAL, []byte{192, 0, 2, 1}),
			[][]byte{attr(unix.IFA_ADDRESS, short), attr(unix.IFA_LOCAL), attr(unix.IFA_LOCAL, make([]byte, 16))}, nil,
			func(b []byte) (any, error) { return DecodeAddr(b) },
		},
		{
			"route", route, attr(unix.RTA_OIF, num(3)),
			[][]byte{
				attr(unix.RTA_TABLE, short), attr(unix.RTA_OIF, long), attr(unix.RTA_MULTIPATH, hop, []byte{99, 0, 0, 0, 4, 0, 0, 0}),
				attr(unix.RTA_MULTIPATH, make([]byte, 16)), attr(unix.RTA_MULTIPATH, hop, []byte{8, 0, 0}),
			}, nil,
			func(b []byte) (any, error) { r, _, err := DecodeRoute(b); return r, err },
		},
		{
			"eswitch", make([]byte, 4), attr(nl.DEVLINK_ATTR_ESWITCH_MODE, []byte{1, 0}), [][]byte{attr(nl.DEVLINK_ATTR_ESWITCH_MODE, short)}, nil,
			func(b []byte) (any, error) { return decodeEswitch(genl(b)) },
		},
		{
			"parameter", make([]byte, 4), param(nl.DEVLINK_PARAM_TYPE_U8, value(attr(nl.DEVLINK_ATTR_PARAM_VALUE_DATA, []byte{7}))),
			[][]byte{
				param(nl.DEVLINK_PARAM_TYPE_U8, value()), param(nl.DEVLINK_PARAM_TYPE_U16, value(attr(nl.DEVLINK_ATTR_PARAM_VALUE_DATA, short))), param(nl.DEVLINK_PARAM_TYPE_STRING, value()),
				param(nl.DEVLINK_PARAM_TYPE_U32, value(attr(nl.DEVLINK_ATTR_PARAM_VALUE_DATA, long))), param(nl.DEVLINK_PARAM_TYPE_BOOL, value([]byte{1})),
				attr(nl.DEVLINK_ATTR_PARAM, attr(nl.DEVLINK_ATTR_PARAM_TYPE)), param(nl.DEVLINK_PARAM_TYPE_U8, attr(nl.DEVLINK_ATTR_PARAM_VALUE, attr(nl.DEVLINK_ATTR_PARAM_VALUE_CMODE))),
			},
			[][2]uint16{{nl.DEVLINK_ATTR_PARAM}, {nl.DEVLINK_ATTR_PARAM, nl.DEVLINK_ATTR_PARAM_VALUES_LIST}},
			func(b []byte) (any, error) { return decodeParam(genl(b)) },
		},
		{
			"info", make([]byte, 4), attr(nl.DEVLINK_ATTR_INFO_DRIVER_NAME, zstr("ice")), nil,
			[][2]uint16{{nl.DEVLINK_ATTR_INFO_VERSION_RUNNING}},
			func(b []byte) (any, error) { return decodeInfo(genl(b)) },
		},
		{
			"RDMA mode", nil, attr(nl.RDMA_NLDEV_SYS_ATTR_NETNS_MODE, []byte{1}), [][]byte{attr(nl.RDMA_NLDEV_SYS_ATTR_NETNS_MODE)}, nil,
			func(b []byte) (any, error) { return decodeRDMAMode(decode(b)) },
		},
		{
			"RDMA device", nil, attr(nl.RDMA_NLDEV_ATTR_DEV_NAME, zstr("mlx5_0")), [][]byte{attr(nl.RDMA_NLDEV_ATTR_DEV_INDEX, short)}, nil,
			func(b []byte) (any, error) { return decodeRDMADev(decode(b)) },
		},
		{
			"family", make([]byte, 4), attr(unix.CTRL_ATTR_FAMILY_NAME, zstr("devlink")), [][]byte{attr(unix.CTRL_ATTR_FAMILY_ID, short)}, nil,
			func(b []byte) (any, error) { return decodeFamily(genl(b)) },
		},
	} {
		check := func(what string, b []byte) {
			t.Helper()
			if got, err := dec.decode(b); !errors.Is(err, ErrMalformed) {
				t.Errorf("%s: %s: %+v, %v", dec.name, what, got, err)
			}
		}
		if _, err := dec.decode(cat(dec.head, dec.whole)); err != nil {
			t.Errorf("%s: whole: %v", dec.name, err)
		}
		if len(dec.head) > 0 {
			check("cut in the fixed part", dec.head[:len(dec.head)-1])
		}
		for what, bad := range malformed {
			check(what, cat(dec.head, dec.whole, bad))
			for _, in := range dec.nested {
				inner := attr(in[0], bad)
				if in[1] != 0 {
					inner = attr(in[0], attr(in[1], bad))
				}
				check(fmt.Sprintf("%s inside %d", what, in), cat(dec.head, dec.whole, inner))
			}
		}
		for i, bad := range dec.wrong {
			check(fmt.Sprintf("wrong value %d", i), cat(dec.head, dec.whole, bad))
		}
	}
	_, err := DecodeLink(cat(link, attr(unix.IFLA_LINKINFO, []byte{9, 0, 1, 0})))
	if want := "in attribute 18: attribute 1 has the length 9, where 4 bytes are left: malformed netlink message"; err == nil || err.Error() != want {
		t.Errorf("%v; want %s", err, want)
	}
	if a, err := DecodeAddr(cat([]byte{unix.AF_INET, 33, 0, 0}, num(1), attr(unix.IFA_LOCAL, []byte{192, 0, 2, 1}))); !errors.Is(err, ErrMalformed) {
		t.Errorf("an IPv4 prefix of 33 bits: %+v, %v", a, err)
	}
}
