package nl

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// unreported is the value of a setting that the driver did not fill in: the
// kernel presets -1.
const unreported = ^uint32(0)

// DecodeLink decodes the payload of RTM_NEWLINK (struct ifinfomsg and
// attributes).
func DecodeLink(b []byte) (Link, error) {
	d := decodeAfter(b, unix.SizeofIfInfomsg)
	if d.err != nil {
		return Link{}, d.err
	}
	flags := u32(b[8:])
	l := Link{
		Type:     u16(b[2:]),
		Index:    int(int32(u32(b[4:]))),
		Up:       flags&unix.IFF_UP != 0,
		Loopback: flags&unix.IFF_LOOPBACK != 0,
		Carrier:  flags&unix.IFF_LOWER_UP != 0,
	}
	foreign := false
	for d.next() {
		if d.typ == unix.IFLA_LINK_NETNSID {
			foreign = true
		}
		l.attribute(d)
	}
	if foreign || l.Lower == l.Index {
		l.Lower = 0
	}
	return l, d.err
}

// attribute takes over the decoder's current attribute.
func (l *Link) attribute(d *decoder) {
	switch d.typ {
	case unix.IFLA_IFNAME:
		l.Name = d.str()
	case unix.IFLA_ADDRESS:
		l.MAC = d.bytes()
	case unix.IFLA_PERM_ADDRESS:
		l.PermMAC = d.bytes()
	case unix.IFLA_MTU:
		l.MTU = int(d.u32())
	case unix.IFLA_MAX_MTU:
		l.MaxMTU = int(d.u32())
	case unix.IFLA_CARRIER:
		l.Carrier = d.u8() != 0
	case unix.IFLA_MASTER:
		l.Master = int(d.u32())
	case unix.IFLA_LINK:
		l.Lower = int(d.u32())
	case unix.IFLA_PARENT_DEV_NAME:
		l.ParentDev = d.str()
	case unix.IFLA_PARENT_DEV_BUS_NAME:
		l.ParentBus = d.str()
	case unix.IFLA_PHYS_SWITCH_ID:
		l.PhysSwitchID = hex.EncodeToString(d.data)
	case unix.IFLA_PHYS_PORT_NAME:
		l.PhysPortName = d.str()
	case unix.IFLA_LINKINFO:
		d.nested(func(in *decoder) {
			if in.typ == unix.IFLA_INFO_KIND {
				l.Kind = in.str()
			}
		})
	case unix.IFLA_PROP_LIST:
		d.nested(func(in *decoder) {
			if in.typ == unix.IFLA_ALT_IFNAME {
				l.AltNames = append(l.AltNames, in.str())
			}
		})
	}
}

// decodeVF decodes one IFLA_VF_INFO. Every value starts with the VF's index.
func decodeVF(b []byte, macLen int) (VFInfo, error) {
	vf := VFInfo{Index: -1}
	d := decode(b)
	for d.next() {
		vf.attribute(d, macLen)
	}
	if d.err == nil && vf.Index < 0 {
		d.err = fmt.Errorf("no attribute says which VF it is: %w", ErrMalformed)
	}
	if d.err != nil {
		return VFInfo{}, fmt.Errorf("VF attributes: %w", d.err)
	}
	return vf, nil
}

// attribute takes over the decoder's current attribute.
func (vf *VFInfo) attribute(d *decoder, macLen int) {
	value := func(size int) []byte {
		v := d.structure(size)
		if vf.Index < 0 && d.err == nil {
			vf.Index = int(u32(v))
		}
		return v
	}
	switch d.typ {
	case unix.IFLA_VF_MAC:
		v := value(nl.SizeofVfMac)
		vf.MAC = append(net.HardwareAddr(nil), v[4:min(4+macLen, len(v))]...)
	case unix.IFLA_VF_VLAN:
		if v := value(nl.SizeofVfVlan); vf.VLANProto == 0 {
			vf.VLAN, vf.QoS = int(u32(v[4:])), int(u32(v[8:]))
		}
	case unix.IFLA_VF_VLAN_LIST:
		first := true
		d.nested(func(in *decoder) {
			if in.typ != unix.IFLA_VF_VLAN_INFO || !first {
				return // one entry is all that any driver supports
			}
			first = false
			v := in.structure(nl.SizeofVfVlanInfo)
			vf.VLAN, vf.QoS = int(u32(v[4:])), int(u32(v[8:]))
			vf.VLANProto = binary.BigEndian.Uint16(v[12:])
		})
	case unix.IFLA_VF_RATE:
		v := value(nl.SizeofVfRate)
		vf.MinRate, vf.MaxRate = int(u32(v[4:])), int(u32(v[8:]))
	case unix.IFLA_VF_SPOOFCHK:
		vf.SpoofCheck = setting(u32(value(nl.SizeofVfSpoofchk)[4:]))
	case unix.IFLA_VF_RSS_QUERY_EN:
		vf.QueryRSS = setting(u32(value(nl.SizeofVfRssQueryEn)[4:]))
	case unix.IFLA_VF_TRUST:
		vf.Trust = setting(u32(value(nl.SizeofVfTrust)[4:]))
	case unix.IFLA_VF_LINK_STATE:
		vf.LinkState = LinkState(u32(value(nl.SizeofVfLinkState)[4:]))
	case unix.IFLA_VF_IB_NODE_GUID:
		vf.NodeGUID = guid(value(nl.SizeofVfGUID))
	case unix.IFLA_VF_IB_PORT_GUID:
		vf.PortGUID = guid(value(nl.SizeofVfGUID))
	}
}

func setting(v uint32) *bool {
	if v == unreported {
		return nil
	}
	on := v != 0
	return &on
}

// guid decodes struct ifla_vf_guid: u32 index, padding, u64 in host order.
func guid(v []byte) net.HardwareAddr {
	return binary.BigEndian.AppendUint64(nil, binary.NativeEndian.Uint64(v[8:]))
}

// DecodeAddr decodes RTM_NEWADDR (struct ifaddrmsg). IFA_LOCAL is the
// interface's own address; without it (IPv6) IFA_ADDRESS is. The address 0.0.0.0
// has neither, and no valid prefix here.
func DecodeAddr(b []byte) (Addr, error) {
	d := decodeAfter(b, unix.SizeofIfAddrmsg)
	var addr, local netip.Addr
	for d.next() {
		switch d.typ {
		case unix.IFA_ADDRESS:
			addr = d.addr(b[0])
		case unix.IFA_LOCAL:
			local = d.addr(b[0])
		}
	}
	if d.err != nil {
		return Addr{}, d.err
	}
	if local.IsValid() {
		addr = local
	}
	prefix := netip.PrefixFrom(addr, int(b[1]))
	if addr.IsValid() && !prefix.IsValid() {
		return Addr{}, fmt.Errorf("the address %s has a prefix of %d bits: %w", addr, b[1], ErrMalformed)
	}
	return Addr{Index: int(u32(b[4:])), Prefix: prefix}, nil
}

// addr is an address of the family.
func (d *decoder) addr(family byte) netip.Addr {
	a, ok := netip.AddrFromSlice(d.data)
	if !ok || a.Is4() != (family == unix.AF_INET) {
		d.fail("has %d bytes, which is no address of family %d", len(d.data), family)
		return netip.Addr{}
	}
	return a
}

// DecodeRoute decodes RTM_NEWROUTE (struct rtmsg); ok says whether it is a
// default route that leads somewhere.
func DecodeRoute(b []byte) (r Route, ok bool, err error) {
	d := decodeAfter(b, unix.SizeofRtMsg)
	if d.err != nil {
		return Route{}, false, d.err
	}
	family, dstLen, typ := b[0], b[1], b[7]
	cloned := u32(b[8:])&unix.RTM_F_CLONED != 0
	if dstLen != 0 || typ != unix.RTN_UNICAST || cloned ||
		(family != unix.AF_INET && family != unix.AF_INET6) {
		return Route{}, false, nil
	}
	r = Route{IPv6: family == unix.AF_INET6, Table: int(b[4])}
	for d.next() {
		switch d.typ {
		case unix.RTA_TABLE:
			r.Table = int(d.u32())
		case unix.RTA_OIF:
			r.Indexes = append(r.Indexes, int(d.u32()))
		case unix.RTA_MULTIPATH:
			r.Indexes = append(r.Indexes, d.nextHops()...)
		}
	}
	if d.err != nil {
		return Route{}, false, d.err
	}
	return r, len(r.Indexes) > 0, nil
}

// nextHops walks the struct rtnexthop entries of RTA_MULTIPATH: length, flags,
// hops, ifindex; the length includes the attributes that follow.
func (d *decoder) nextHops() []int {
	var out []int
	for b := d.data; len(b) > 0; {
		n := 0
		if len(b) >= unix.SizeofRtNexthop {
			n = int(u16(b))
		}
		if n < unix.SizeofRtNexthop || n > len(b) {
			d.fail("has a next hop of length %d, where %d bytes are left", n, len(b))
			return nil
		}
		out = append(out, int(int32(u32(b[4:]))))
		b = b[min(align(n), len(b)):]
	}
	return out
}
