package nl

import (
	"context"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// extSkipStats is RTEXT_FILTER_SKIP_STATS of IFLA_EXT_MASK, linux/rtnetlink.h: counters
// make long messages.
const extSkipStats = 1 << 3

// Links returns the interfaces of the namespace, in the kernel's order,
// without what PFs hold for their VFs (see [Handle.VFs]).
func (h *Handle) Links(ctx context.Context) ([]Link, error) {
	req := linkRequest(unix.RTM_GETLINK, unix.NLM_F_DUMP, LinkRef{}, u32Attr(unix.IFLA_EXT_MASK, extSkipStats))
	out, err := list(ctx, h, unix.NETLINK_ROUTE, req, func(b []byte) (Link, bool, error) {
		l, err := DecodeLink(b)
		return l, true, err
	})
	return out, wrap(err, "list interfaces", "", "")
}

// Link returns one interface.
func (h *Handle) Link(ctx context.Context, ref LinkRef) (Link, error) {
	req := linkRequest(unix.RTM_GETLINK, unix.NLM_F_ACK, ref, u32Attr(unix.IFLA_EXT_MASK, extSkipStats))
	out, err := ask(ctx, h, unix.NETLINK_ROUTE, req, DecodeLink)
	return out, wrap(err, "read interface", ref.String(), "")
}

// VFs returns what the PF holds for its VFs, empty when its driver reports
// nothing. One PF is asked at a time, so that one whose answer outgrows a
// netlink message does not cost the others theirs.
func (h *Handle) VFs(ctx context.Context, pf LinkRef) ([]VFInfo, error) {
	req := linkRequest(unix.RTM_GETLINK, unix.NLM_F_ACK, pf, u32Attr(unix.IFLA_EXT_MASK, nl.RTEXT_FILTER_VF|extSkipStats))
	out, err := ask(ctx, h, unix.NETLINK_ROUTE, req, decodeVFs)
	return out, wrap(err, "read VF attributes", pf.String(), "")
}

// Addrs returns all IPv4 and IPv6 addresses of the namespace.
func (h *Handle) Addrs(ctx context.Context) ([]Addr, error) {
	req := nl.NewNetlinkRequest(unix.RTM_GETADDR, unix.NLM_F_DUMP)
	req.AddData(nl.NewIfAddrmsg(unix.AF_UNSPEC))
	out, err := list(ctx, h, unix.NETLINK_ROUTE, req, func(b []byte) (Addr, bool, error) {
		if len(b) > 0 && b[0] != unix.AF_INET && b[0] != unix.AF_INET6 {
			return Addr{}, false, nil
		}
		a, err := DecodeAddr(b)
		return a, a.Prefix.Addr().IsValid(), err
	})
	return out, wrap(err, "list addresses", "", "")
}

// DefaultRoutes returns the default routes of both families in all tables.
func (h *Handle) DefaultRoutes(ctx context.Context) ([]Route, error) {
	var out []Route
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		req := nl.NewNetlinkRequest(unix.RTM_GETROUTE, unix.NLM_F_DUMP)
		req.AddData(&nl.RtMsg{RtMsg: unix.RtMsg{Family: family}})
		part, err := list(ctx, h, unix.NETLINK_ROUTE, req, DecodeRoute)
		if err != nil {
			return nil, wrap(err, "list routes", "", "")
		}
		out = append(out, part...)
	}
	return out, nil
}
