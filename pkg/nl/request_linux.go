package nl

import (
	"context"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// linkRequest builds an RTM_*LINK request.
func linkRequest(typ, flags int, ref LinkRef, attributes ...*nl.RtAttr) *nl.NetlinkRequest {
	return infoRequest(typ, flags, ref, nl.NewIfInfomsg(unix.AF_UNSPEC), attributes...)
}

// upRequest builds the request to set the interface up or down.
func upRequest(ref LinkRef, up bool) *nl.NetlinkRequest {
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Change = unix.IFF_UP
	if up {
		msg.Flags = unix.IFF_UP
	}
	return infoRequest(unix.RTM_NEWLINK, unix.NLM_F_ACK, ref, msg)
}

// infoRequest selects the interface by name when the index does not. Names too
// long for an interface can only be altnames.
func infoRequest(typ, flags int, ref LinkRef, msg *nl.IfInfomsg, attributes ...*nl.RtAttr) *nl.NetlinkRequest {
	msg.Index = int32(ref.Index)
	req := withAttributes(nl.NewNetlinkRequest(typ, unix.NLM_F_REQUEST|flags), msg, attributes)
	switch {
	case ref.Index != 0 || ref.Name == "":
	case len(ref.Name) < unix.IFNAMSIZ:
		req.AddData(text(unix.IFLA_IFNAME, ref.Name))
	default:
		req.AddData(text(unix.IFLA_ALT_IFNAME, ref.Name))
	}
	return req
}

// withAttributes is the request with its fixed part and what follows that.
func withAttributes(req *nl.NetlinkRequest, fixed nl.NetlinkRequestData, attributes []*nl.RtAttr) *nl.NetlinkRequest {
	req.AddData(fixed)
	for _, a := range attributes {
		req.AddData(a)
	}
	return req
}

// text and u32Attr are attributes of these types.
func text(typ int, s string) *nl.RtAttr    { return nl.NewRtAttr(typ, nl.ZeroTerminated(s)) }
func u32Attr(typ int, v uint32) *nl.RtAttr { return nl.NewRtAttr(typ, nl.Uint32Attr(v)) }

// change is what is to be changed of a link, for people.
type change struct {
	op    string
	ref   LinkRef
	value string // "" when op says it
}

// route sends a request of rtnetlink that has no answer but that it was done.
func (h *Handle) route(ctx context.Context, c change, req *nl.NetlinkRequest) error {
	return wrap(h.do(ctx, unix.NETLINK_ROUTE, req, nil), c.op, c.ref.String(), c.value)
}

// setLink sets attributes of the interface.
func (h *Handle) setLink(ctx context.Context, c change, attributes ...*nl.RtAttr) error {
	return h.route(ctx, c, linkRequest(unix.RTM_SETLINK, unix.NLM_F_ACK, c.ref, attributes...))
}
