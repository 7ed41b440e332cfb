package nl

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"strconv"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// SetMTU sets the MTU in bytes.
func (h *Handle) SetMTU(ctx context.Context, ref LinkRef, mtu int) error {
	return h.setLink(ctx, change{"set MTU", ref, strconv.Itoa(mtu)}, u32Attr(unix.IFLA_MTU, uint32(mtu)))
}

// SetUp sets the interface administratively up or down.
func (h *Handle) SetUp(ctx context.Context, ref LinkRef, up bool) error {
	value := "down"
	if up {
		value = "up"
	}
	return h.route(ctx, change{"set link", ref, value}, upRequest(ref, up))
}

// VLAN is what SetVFVLAN sets. ID 0 removes the tag; Proto is Proto8021Q or
// Proto8021AD, 0 for the former.
type VLAN struct {
	ID, QoS int
	Proto   uint16
}

// SetVFMAC sets the MAC address that the PF gives the VF. All zero gives it
// back to the driver.
func (h *Handle) SetVFMAC(ctx context.Context, pf LinkRef, vf int, mac net.HardwareAddr) error {
	if len(mac) > 32 {
		return wrap(unix.EINVAL, vfOp(vf, "MAC"), pf.String(), mac.String())
	}
	return h.setVF(ctx, pf, vfSetting{vf, "MAC", mac.String(), unix.IFLA_VF_MAC, macValue(vf, mac)})
}

// macValue is struct ifla_vf_mac: index, address in 32 bytes.
func macValue(vf int, mac net.HardwareAddr) []byte {
	b := append(u32s(vf), mac...)
	return append(b, make([]byte, 36-len(b))...)
}

// SetVFVLAN sets VLAN, priority and protocol in one. Kernels and drivers that
// only know 802.1Q get the request that they understand.
func (h *Handle) SetVFVLAN(ctx context.Context, pf LinkRef, vf int, vlan VLAN) error {
	value := fmt.Sprintf("%d qos %d", vlan.ID, vlan.QoS)
	if vlan.Proto == 0 || vlan.Proto == Proto8021Q {
		return h.setVF(ctx, pf, vfSetting{vf, "VLAN", value, unix.IFLA_VF_VLAN, u32s(vf, vlan.ID, vlan.QoS)})
	}
	value += fmt.Sprintf(" protocol %#04x", vlan.Proto)
	return h.route(ctx, change{vfOp(vf, "VLAN"), pf, value}, vfRequest(pf, unix.IFLA_VF_VLAN_LIST, vlanValue(vf, vlan), unix.IFLA_VF_VLAN_INFO))
}

// vlanValue is struct ifla_vf_vlan_info: index, id, priority, the protocol in
// network order, padding.
func vlanValue(vf int, vlan VLAN) []byte {
	b := binary.BigEndian.AppendUint16(u32s(vf, vlan.ID, vlan.QoS), vlan.Proto)
	return append(b, 0, 0)
}

// SetVFRate sets the limits of what the VF sends, in Mbit/s; 0 is no limit.
func (h *Handle) SetVFRate(ctx context.Context, pf LinkRef, vf, minRate, maxRate int) error {
	return h.setVF(ctx, pf, vfSetting{
		vf, "rate", fmt.Sprintf("min %d max %d Mbit/s", minRate, maxRate), unix.IFLA_VF_RATE, u32s(vf, minRate, maxRate),
	})
}

// SetVFSpoofCheck sets whether the VF may only send from its own MAC.
func (h *Handle) SetVFSpoofCheck(ctx context.Context, pf LinkRef, vf int, on bool) error {
	return h.setVF(ctx, pf, vfSetting{vf, "spoof check", onOff(on), unix.IFLA_VF_SPOOFCHK, u32s(vf, number(on))})
}

// SetVFTrust sets whether the VF may change its MAC and become promiscuous.
func (h *Handle) SetVFTrust(ctx context.Context, pf LinkRef, vf int, on bool) error {
	return h.setVF(ctx, pf, vfSetting{vf, "trust", onOff(on), unix.IFLA_VF_TRUST, u32s(vf, number(on))})
}

// SetVFQueryRSS sets whether the VF may ask for the PF's RSS table and hash key.
func (h *Handle) SetVFQueryRSS(ctx context.Context, pf LinkRef, vf int, on bool) error {
	return h.setVF(ctx, pf, vfSetting{vf, "RSS query", onOff(on), unix.IFLA_VF_RSS_QUERY_EN, u32s(vf, number(on))})
}

// SetVFLinkState sets whether the VF's link follows the port's.
func (h *Handle) SetVFLinkState(ctx context.Context, pf LinkRef, vf int, state LinkState) error {
	return h.setVF(ctx, pf, vfSetting{vf, "link state", state.String(), unix.IFLA_VF_LINK_STATE, u32s(vf, int(state))})
}

// SetVFNodeGUID sets the node GUID (8 bytes) of an InfiniBand VF.
func (h *Handle) SetVFNodeGUID(ctx context.Context, pf LinkRef, vf int, guid net.HardwareAddr) error {
	return h.setGUID(ctx, pf, guid, vfSetting{vf: vf, what: "node GUID", attr: unix.IFLA_VF_IB_NODE_GUID})
}

// SetVFPortGUID sets the port GUID (8 bytes) of an InfiniBand VF.
func (h *Handle) SetVFPortGUID(ctx context.Context, pf LinkRef, vf int, guid net.HardwareAddr) error {
	return h.setGUID(ctx, pf, guid, vfSetting{vf: vf, what: "port GUID", attr: unix.IFLA_VF_IB_PORT_GUID})
}

func (h *Handle) setGUID(ctx context.Context, pf LinkRef, guid net.HardwareAddr, s vfSetting) error {
	s.value = guid.String()
	if len(guid) != 8 {
		err := fmt.Errorf("a GUID has 8 bytes, not %d: %w", len(guid), unix.EINVAL)
		return wrap(err, vfOp(s.vf, s.what), pf.String(), s.value)
	}
	s.data = guidValue(s.vf, guid)
	return h.setVF(ctx, pf, s)
}

// guidValue is struct ifla_vf_guid: index, padding, GUID as a number in host
// order.
func guidValue(vf int, guid net.HardwareAddr) []byte {
	b := append(u32s(vf), 0, 0, 0, 0)
	return binary.NativeEndian.AppendUint64(b, binary.BigEndian.Uint64(guid))
}

// vfSetting is one attribute of a VF to set.
type vfSetting struct {
	vf          int
	what, value string // for people
	attr        int    // IFLA_VF_*
	data        []byte // the attribute's structure
}

func (h *Handle) setVF(ctx context.Context, pf LinkRef, s vfSetting) error {
	return h.route(ctx, change{vfOp(s.vf, s.what), pf, s.value}, vfRequest(pf, s.attr, s.data))
}

// vfRequest builds RTM_SETLINK with one VF attribute, inside nested ones when
// more types are given.
func vfRequest(pf LinkRef, attr int, value []byte, inner ...int) *nl.NetlinkRequest {
	list := nl.NewRtAttr(unix.IFLA_VFINFO_LIST, nil)
	at := list.AddRtAttr(unix.IFLA_VF_INFO, nil)
	for _, typ := range inner {
		at = at.AddRtAttr(attr, nil)
		attr = typ
	}
	at.AddRtAttr(attr, value)
	return linkRequest(unix.RTM_SETLINK, unix.NLM_F_ACK, pf, list)
}

func vfOp(vf int, what string) string { return fmt.Sprintf("set VF %d %s", vf, what) }

func u32s(values ...int) []byte {
	var b []byte
	for _, v := range values {
		b = binary.NativeEndian.AppendUint32(b, uint32(v))
	}
	return b
}

func number(on bool) int {
	if on {
		return 1
	}
	return 0
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}
