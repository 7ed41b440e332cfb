package nl

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// ID names the handle's network namespace: equal for two handles on the same
// one. It is device and inode of the namespace file; namespaces(7).
func (h *Handle) ID() (string, error) {
	var st unix.Stat_t
	err := h.withFD(func(fd int) error { return unix.Fstat(fd, &st) })
	if err != nil {
		return "", fmt.Errorf("identify network namespace: %w", err)
	}
	return fmt.Sprintf("%d:%d", st.Dev, st.Ino), nil
}

// withFD calls f with a descriptor of the namespace.
func (h *Handle) withFD(f func(fd int) error) error {
	if h.ns.IsOpen() {
		return f(int(h.ns))
	}
	file, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer file.Close()
	return f(int(file.Fd()))
}

// FD is the namespace's descriptor, -1 for the process' own.
func (h *Handle) FD() int { return int(h.ns) }

// MoveLink moves the interface, selected by index, to another namespace and
// names it there, in one request. The kernel takes it down on the way. When
// the old name is taken over there the kernel uses the new one at once; when
// the new name is taken the interface may have moved anyway (it renames
// last), so a failed call says nothing about where the interface is. The
// index may change.
func (h *Handle) MoveLink(ctx context.Context, ref LinkRef, to *Handle, name string) error {
	err := to.withFD(func(fd int) error {
		req := linkRequest(unix.RTM_NEWLINK, unix.NLM_F_ACK, ref,
			u32Attr(unix.IFLA_NET_NS_FD, uint32(fd)), text(unix.IFLA_IFNAME, name))
		return h.do(ctx, unix.NETLINK_ROUTE, req, nil)
	})
	return wrap(err, "move to another network namespace as "+name, ref.String(), "")
}

// Rename names the interface, which has to be down on most kernels. ref must
// have an index.
func (h *Handle) Rename(ctx context.Context, ref LinkRef, name string) error {
	return h.setLink(ctx, change{"rename", ref, name}, text(unix.IFLA_IFNAME, name))
}

// SetMAC sets the interface's own address (not the one that a PF holds for a
// VF, see [Handle.SetVFMAC]).
func (h *Handle) SetMAC(ctx context.Context, ref LinkRef, mac net.HardwareAddr) error {
	return h.setLink(ctx, change{"set MAC", ref, mac.String()}, nl.NewRtAttr(unix.IFLA_ADDRESS, mac))
}

// AddAltName gives the interface one more name.
func (h *Handle) AddAltName(ctx context.Context, ref LinkRef, name string) error {
	const flags = unix.NLM_F_ACK | unix.NLM_F_CREATE | unix.NLM_F_EXCL | unix.NLM_F_APPEND
	req := linkRequest(unix.RTM_NEWLINKPROP, flags, ref, altName(name))
	return h.route(ctx, change{op: "add alternative name " + name, ref: ref}, req)
}

// DelAltName takes an alternative name away.
func (h *Handle) DelAltName(ctx context.Context, ref LinkRef, name string) error {
	req := linkRequest(unix.RTM_DELLINKPROP, unix.NLM_F_ACK, ref, altName(name))
	return h.route(ctx, change{op: "remove alternative name " + name, ref: ref}, req)
}

// altName is the list of properties with one alternative name.
func altName(name string) *nl.RtAttr {
	list := nl.NewRtAttr(unix.IFLA_PROP_LIST|unix.NLA_F_NESTED, nil)
	list.AddChild(text(unix.IFLA_ALT_IFNAME, name))
	return list
}

// addNew are the flags of a request for what must not be there yet.
const addNew = unix.NLM_F_REQUEST | unix.NLM_F_ACK | unix.NLM_F_CREATE | unix.NLM_F_EXCL

// AddAddr gives the interface with the index an address. An address that it
// has already is EEXIST.
func (h *Handle) AddAddr(ctx context.Context, a Addr) error {
	req := nl.NewNetlinkRequest(unix.RTM_NEWADDR, addNew)
	addr := a.Prefix.Addr()
	msg := nl.NewIfAddrmsg(family(addr))
	msg.Prefixlen = uint8(a.Prefix.Bits())
	msg.Index = uint32(a.Index)
	req.AddData(msg)
	req.AddData(nl.NewRtAttr(unix.IFA_LOCAL, addr.AsSlice()))
	req.AddData(nl.NewRtAttr(unix.IFA_ADDRESS, addr.AsSlice()))
	if addr.Is4() && a.Prefix.Bits() < 31 {
		req.AddData(nl.NewRtAttr(unix.IFA_BROADCAST, broadcast(a.Prefix)))
	}
	return wrap(h.do(ctx, unix.NETLINK_ROUTE, req, nil), "add address", fmt.Sprintf("interface %d", a.Index), a.Prefix.String())
}

func broadcast(p netip.Prefix) []byte {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return b
}

// NewRoute is a route to add.
type NewRoute struct {
	Dst     netip.Prefix
	Gateway netip.Addr // zero: directly on the link
	Index   int        // ifindex of the way out
	// Table, Priority, MTU and AdvMSS are the kernel's defaults when 0.
	Table, Priority, MTU, AdvMSS int
	Scope                        uint8 // RT_SCOPE_*
}

// AddRoute adds a route; EEXIST when it is there.
func (h *Handle) AddRoute(ctx context.Context, r NewRoute) error {
	req := nl.NewNetlinkRequest(unix.RTM_NEWROUTE, addNew)
	msg := nl.NewRtMsg() // unicast, main table, protocol boot
	msg.Family = uint8(family(r.Dst.Addr()))
	msg.Dst_len = uint8(r.Dst.Bits())
	msg.Scope = r.Scope
	req.AddData(msg)
	if r.Dst.Bits() > 0 {
		req.AddData(nl.NewRtAttr(unix.RTA_DST, r.Dst.Masked().Addr().AsSlice()))
	}
	if r.Gateway.IsValid() {
		req.AddData(nl.NewRtAttr(unix.RTA_GATEWAY, r.Gateway.AsSlice()))
	}
	req.AddData(u32Attr(unix.RTA_OIF, uint32(r.Index)))
	if r.Table != 0 {
		msg.Table = unix.RT_TABLE_UNSPEC
		req.AddData(u32Attr(unix.RTA_TABLE, uint32(r.Table)))
	}
	if r.Priority != 0 {
		req.AddData(u32Attr(unix.RTA_PRIORITY, uint32(r.Priority)))
	}
	if r.MTU != 0 || r.AdvMSS != 0 {
		metrics := nl.NewRtAttr(unix.RTA_METRICS, nil)
		if r.MTU != 0 {
			metrics.AddRtAttr(unix.RTAX_MTU, nl.Uint32Attr(uint32(r.MTU)))
		}
		if r.AdvMSS != 0 {
			metrics.AddRtAttr(unix.RTAX_ADVMSS, nl.Uint32Attr(uint32(r.AdvMSS)))
		}
		req.AddData(metrics)
	}
	return wrap(h.do(ctx, unix.NETLINK_ROUTE, req, nil), "add route", fmt.Sprintf("interface %d", r.Index), r.Dst.String())
}

func family(a netip.Addr) int {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}
