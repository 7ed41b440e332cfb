package nl

import (
	"context"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Filters of IFLA_EXT_MASK; linux/rtnetlink.h.
const (
	extVF        = 1 << 0 // RTEXT_FILTER_VF: include IFLA_VFINFO_LIST
	extSkipStats = 1 << 3 // RTEXT_FILTER_SKIP_STATS: counters make long messages
)

// Links returns the interfaces of the namespace, in the kernel's order,
// without what PFs hold for their VFs (see [Handle.VFs]).
func (h *Handle) Links(ctx context.Context) ([]Link, error) {
	var out []Link
	err := h.dump(ctx, unix.NETLINK_ROUTE,
		func() *nl.NetlinkRequest {
			return linkRequest(unix.RTM_GETLINK, unix.NLM_F_DUMP, LinkRef{}, extSkipStats)
		},
		func() { out = nil },
		func(b []byte) error {
			l, err := DecodeLink(b)
			out = append(out, l)
			return err
		})
	return out, wrap(err, "list interfaces", "", "")
}

// Link returns one interface.
func (h *Handle) Link(ctx context.Context, ref LinkRef) (Link, error) {
	var out Link
	err := h.do(ctx, unix.NETLINK_ROUTE, linkRequest(unix.RTM_GETLINK, unix.NLM_F_ACK, ref, extSkipStats),
		func(b []byte) (err error) {
			out, err = DecodeLink(b)
			return err
		})
	return out, wrap(err, "read interface", ref.String(), "")
}

// VFs returns what the PF holds for its VFs, empty when its driver reports
// nothing. One PF is asked at a time, so that one whose answer outgrows a
// netlink message does not cost the others theirs.
func (h *Handle) VFs(ctx context.Context, pf LinkRef) ([]VFInfo, error) {
	var out []VFInfo
	err := h.do(ctx, unix.NETLINK_ROUTE, linkRequest(unix.RTM_GETLINK, unix.NLM_F_ACK, pf,
		extVF|extSkipStats),
		func(b []byte) (err error) {
			out, err = decodeVFs(b)
			return err
		})
	return out, wrap(err, "read VF attributes", pf.String(), "")
}

// Addrs returns all IPv4 and IPv6 addresses of the namespace.
func (h *Handle) Addrs(ctx context.Context) ([]Addr, error) {
	var out []Addr
	err := h.dump(ctx, unix.NETLINK_ROUTE,
		func() *nl.NetlinkRequest {
			req := nl.NewNetlinkRequest(unix.RTM_GETADDR, unix.NLM_F_DUMP)
			req.AddData(nl.NewIfAddrmsg(unix.AF_UNSPEC))
			return req
		},
		func() { out = nil },
		func(b []byte) error {
			if len(b) > 0 && b[0] != unix.AF_INET && b[0] != unix.AF_INET6 {
				return nil
			}
			a, err := DecodeAddr(b)
			if a.Prefix.Addr().IsValid() {
				out = append(out, a)
			}
			return err
		})
	return out, wrap(err, "list addresses", "", "")
}

// DefaultRoutes returns the default routes of both families in all tables.
func (h *Handle) DefaultRoutes(ctx context.Context) ([]Route, error) {
	var out []Route
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		var part []Route
		err := h.dump(ctx, unix.NETLINK_ROUTE,
			func() *nl.NetlinkRequest {
				req := nl.NewNetlinkRequest(unix.RTM_GETROUTE, unix.NLM_F_DUMP)
				req.AddData(&nl.RtMsg{RtMsg: unix.RtMsg{Family: uint8(family)}})
				return req
			},
			func() { part = nil },
			func(b []byte) error {
				r, ok, err := DecodeRoute(b)
				if ok {
					part = append(part, r)
				}
				return err
			})
		if err != nil {
			return nil, wrap(err, "list routes", "", "")
		}
		out = append(out, part...)
	}
	return out, nil
}

// linkRequest builds an RTM_*LINK request. extMask asks the kernel for more
// (RTEXT_FILTER_*), 0 for setting.
func linkRequest(typ, flags int, ref LinkRef, extMask uint32) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(typ, unix.NLM_F_REQUEST|flags)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(ref.Index)
	req.AddData(msg)
	if extMask != 0 {
		req.AddData(nl.NewRtAttr(unix.IFLA_EXT_MASK, nl.Uint32Attr(extMask)))
	}
	addName(req, ref)
	return req
}

// addName selects the interface by name when the index does not. Names too
// long for an interface can only be altnames.
func addName(req *nl.NetlinkRequest, ref LinkRef) {
	if ref.Index != 0 || ref.Name == "" {
		return
	}
	typ := unix.IFLA_IFNAME
	if len(ref.Name) >= unix.IFNAMSIZ {
		typ = unix.IFLA_ALT_IFNAME
	}
	req.AddData(nl.NewRtAttr(typ, nl.ZeroTerminated(ref.Name)))
}
