package nl

import (
	"encoding/binary"
	"encoding/hex"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Attributes of one VF in IFLA_VFINFO_LIST; linux/if_link.h.
const (
	vfInfo      = 1 // IFLA_VF_INFO
	vfMAC       = 1 // IFLA_VF_MAC ...
	vfVLAN      = 2
	vfSpoof     = 4
	vfLinkState = 5
	vfRate      = 6
	vfTrust     = 9
	vfNodeGUID  = 10
	vfPortGUID  = 11
	vfVLANList  = 12
	vfVLANInfo  = 1 // IFLA_VF_VLAN_INFO inside the list
)

// unreported is the value of a setting that the driver did not fill in: the
// kernel presets -1.
const unreported = ^uint32(0)

// DecodeLink decodes the payload of RTM_NEWLINK (struct ifinfomsg and
// attributes).
func DecodeLink(b []byte) (Link, error) {
	if len(b) < unix.SizeofIfInfomsg {
		return Link{}, errShort
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
	for typ, v := range attrs(b[unix.SizeofIfInfomsg:]) {
		switch typ {
		case unix.IFLA_IFNAME:
			l.Name = str(v)
		case unix.IFLA_ADDRESS:
			l.MAC = append(net.HardwareAddr(nil), v...)
		case unix.IFLA_PERM_ADDRESS:
			l.PermMAC = append(net.HardwareAddr(nil), v...)
		case unix.IFLA_MTU:
			l.MTU = int(u32(v))
		case unix.IFLA_MAX_MTU:
			l.MaxMTU = int(u32(v))
		case unix.IFLA_CARRIER:
			l.Carrier = u8(v) != 0
		case unix.IFLA_MASTER:
			l.Master = int(u32(v))
		case unix.IFLA_LINK:
			l.Lower = int(u32(v))
		case unix.IFLA_LINK_NETNSID:
			foreign = true
		case unix.IFLA_PARENT_DEV_NAME:
			l.ParentDev = str(v)
		case unix.IFLA_PARENT_DEV_BUS_NAME:
			l.ParentBus = str(v)
		case unix.IFLA_PHYS_SWITCH_ID:
			l.PhysSwitchID = hex.EncodeToString(v)
		case unix.IFLA_PHYS_PORT_NAME:
			l.PhysPortName = str(v)
		case unix.IFLA_LINKINFO:
			for typ, v := range attrs(v) {
				if typ == unix.IFLA_INFO_KIND {
					l.Kind = str(v)
				}
			}
		case unix.IFLA_PROP_LIST:
			for typ, v := range attrs(v) {
				if typ == unix.IFLA_ALT_IFNAME {
					l.AltNames = append(l.AltNames, str(v))
				}
			}
		}
	}
	if foreign || l.Lower == l.Index {
		l.Lower = 0
	}
	return l, nil
}

// decodeVF decodes one IFLA_VF_INFO. Every value starts with the VF's index.
func decodeVF(b []byte, macLen int) VFInfo {
	vf := VFInfo{Index: -1}
	for typ, v := range attrs(b) {
		if typ == vfVLANList {
			for typ, v := range attrs(v) {
				if typ == vfVLANInfo && len(v) >= 14 {
					vf.VLAN, vf.QoS = int(u32(v[4:])), int(u32(v[8:]))
					vf.VLANProto = binary.BigEndian.Uint16(v[12:])
					break // one entry is all that any driver supports
				}
			}
			continue
		}
		if len(v) < 8 {
			continue
		}
		if vf.Index < 0 {
			vf.Index = int(u32(v))
		}
		switch typ {
		case vfMAC:
			vf.MAC = append(net.HardwareAddr(nil), v[4:min(4+macLen, len(v))]...)
		case vfVLAN:
			if len(v) >= 12 && vf.VLANProto == 0 {
				vf.VLAN, vf.QoS = int(u32(v[4:])), int(u32(v[8:]))
			}
		case vfRate:
			if len(v) >= 12 {
				vf.MinRate, vf.MaxRate = int(u32(v[4:])), int(u32(v[8:]))
			}
		case vfSpoof:
			vf.SpoofCheck = setting(u32(v[4:]))
		case vfTrust:
			vf.Trust = setting(u32(v[4:]))
		case vfLinkState:
			vf.LinkState = LinkState(u32(v[4:]))
		case vfNodeGUID:
			vf.NodeGUID = guid(v)
		case vfPortGUID:
			vf.PortGUID = guid(v)
		}
	}
	return vf
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
	if len(v) < 16 {
		return nil
	}
	return binary.BigEndian.AppendUint64(nil, u64(v[8:]))
}

// DecodeAddr decodes RTM_NEWADDR (struct ifaddrmsg). IFA_LOCAL is the
// interface's own address; without it (IPv6) IFA_ADDRESS is.
func DecodeAddr(b []byte) (Addr, error) {
	if len(b) < unix.SizeofIfAddrmsg {
		return Addr{}, errShort
	}
	var addr, local netip.Addr
	for typ, v := range attrs(b[unix.SizeofIfAddrmsg:]) {
		switch typ {
		case unix.IFA_ADDRESS:
			addr, _ = netip.AddrFromSlice(v)
		case unix.IFA_LOCAL:
			local, _ = netip.AddrFromSlice(v)
		}
	}
	if local.IsValid() {
		addr = local
	}
	return Addr{Index: int(u32(b[4:])), Prefix: netip.PrefixFrom(addr, int(b[1]))}, nil
}

// DecodeRoute decodes RTM_NEWROUTE (struct rtmsg); ok says whether it is a
// default route that leads somewhere.
func DecodeRoute(b []byte) (r Route, ok bool, err error) {
	if len(b) < unix.SizeofRtMsg {
		return Route{}, false, errShort
	}
	family, dstLen, typ := b[0], b[1], b[7]
	cloned := u32(b[8:])&unix.RTM_F_CLONED != 0
	if dstLen != 0 || typ != unix.RTN_UNICAST || cloned ||
		(family != unix.AF_INET && family != unix.AF_INET6) {
		return Route{}, false, nil
	}
	r = Route{IPv6: family == unix.AF_INET6, Table: int(b[4])}
	for typ, v := range attrs(b[unix.SizeofRtMsg:]) {
		switch typ {
		case unix.RTA_TABLE:
			r.Table = int(u32(v))
		case unix.RTA_OIF:
			r.Indexes = append(r.Indexes, int(u32(v)))
		case unix.RTA_MULTIPATH:
			r.Indexes = append(r.Indexes, nextHops(v)...)
		}
	}
	return r, len(r.Indexes) > 0, nil
}

// nextHops walks the struct rtnexthop entries of RTA_MULTIPATH.
func nextHops(b []byte) []int {
	var out []int
	for len(b) >= unix.SizeofRtNexthop {
		n := int(u16(b))
		if n < unix.SizeofRtNexthop || n > len(b) {
			break
		}
		out = append(out, int(int32(u32(b[4:]))))
		n = (n + 3) &^ 3
		if n > len(b) {
			break
		}
		b = b[n:]
	}
	return out
}
