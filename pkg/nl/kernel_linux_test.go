package nl

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// inNamespace runs f on a thread with a network namespace of its own and gives
// it a handle on that namespace, which also works from other threads. The
// thread ends with f.
func inNamespace(t *testing.T, f func(h *Handle)) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the runtime ends the thread
		err := unix.Unshare(unix.CLONE_NEWNET)
		defer func() { done <- err }()
		if err != nil {
			return
		}
		var h *Handle
		if h, err = OpenAt(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid())); err != nil {
			return
		}
		defer h.Close()
		f(h)
	}()
	if err := <-done; errors.Is(err, unix.EPERM) {
		t.Skip("needs root: no new network namespace")
	} else if err != nil {
		t.Fatal(err)
	}
}

// add makes an interface, or sets up more than the package itself ever does.
func add(ctx context.Context, h *Handle, typ int, attributes ...*nl.RtAttr) error {
	req := nl.NewNetlinkRequest(typ, unix.NLM_F_REQUEST|unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	for _, a := range attributes {
		req.AddData(a)
	}
	return h.do(ctx, unix.NETLINK_ROUTE, req, nil)
}

func kind(name string) *nl.RtAttr {
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(unix.IFLA_INFO_KIND, []byte(name))
	return info
}

func name(s string) *nl.RtAttr { return nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(s)) }

// The real kernel, in a namespace with a bridge and an interface pair.
func TestKernelLinks(t *testing.T) {
	inNamespace(t, func(h *Handle) {
		ctx := t.Context()
		for _, err := range []error{
			add(ctx, h, unix.RTM_NEWLINK, name("br0"), kind("bridge")),
			add(ctx, h, unix.RTM_NEWLINK, name("v0"), kind("veth")),
			h.SetMTU(ctx, LinkRef{Name: "v0"}, 1400),
			h.SetUp(ctx, LinkRef{Name: "v0"}, true),
			h.SetUp(ctx, LinkRef{Name: "br0"}, true),
		} {
			if err != nil {
				t.Error(err)
				return
			}
		}
		links, err := h.Links(ctx)
		if err != nil {
			t.Error(err)
			return
		}
		i := slices.IndexFunc(links, func(l Link) bool { return l.Name == "v0" })
		if i < 0 {
			t.Errorf("v0 is not among %+v", links)
			return
		}
		v0 := links[i]
		if v0.Kind != "veth" || !v0.Up || v0.Carrier || v0.MTU != 1400 || v0.MaxMTU < 1500 || len(v0.MAC) != 6 || v0.Type != TypeEthernet || v0.Lower == 0 {
			t.Errorf("v0 is %+v", v0)
		}
		one, err := h.Link(ctx, LinkRef{Index: v0.Index, Name: "the name is for people"})
		if err != nil || one.Name != "v0" {
			t.Errorf("Link = %+v, %v", one, err)
		}

		// An altname longer than an interface name finds it too.
		const long = "a-name-longer-than-fifteen"
		prop := nl.NewRtAttr(unix.IFLA_PROP_LIST|unix.NLA_F_NESTED, nil)
		prop.AddRtAttr(unix.IFLA_ALT_IFNAME, nl.ZeroTerminated(long))
		req := linkRequest(unix.RTM_NEWLINKPROP, unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_APPEND, LinkRef{Index: v0.Index})
		req.AddData(prop)
		if err := h.do(ctx, unix.NETLINK_ROUTE, req, nil); err != nil {
			t.Error(err)
			return
		}
		if one, err = h.Link(ctx, LinkRef{Name: long}); err != nil || one.Index != v0.Index || !slices.Equal(one.AltNames, []string{long}) {
			t.Errorf("by altname: %+v, %v", one, err)
		}
		if err := h.SetUp(ctx, LinkRef{Index: v0.Index}, false); err != nil {
			t.Error(err)
		}
		if one, err = h.Link(ctx, LinkRef{Index: v0.Index}); err != nil || one.Up {
			t.Errorf("after down: %+v, %v", one, err)
		}
	})
}

func TestKernelAddressesAndRoutes(t *testing.T) {
	inNamespace(t, func(h *Handle) {
		ctx := t.Context()
		if err := errors.Join(add(ctx, h, unix.RTM_NEWLINK, name("br0"), kind("bridge")), h.SetUp(ctx, LinkRef{Name: "br0"}, true)); err != nil {
			t.Error(err)
			return
		}
		br, err := h.Link(ctx, LinkRef{Name: "br0"})
		if err != nil {
			t.Error(err)
			return
		}
		index := br.Index
		for _, s := range []string{"192.0.2.1/24", "2001:db8::1/64"} {
			if err := addAddr(ctx, h, index, netip.MustParsePrefix(s)); err != nil {
				t.Errorf("add %s: %v", s, err)
			}
		}
		addrs, err := h.Addrs(ctx)
		if err != nil {
			t.Error(err)
		}
		var got []string
		for _, a := range addrs {
			if a.Index == index && !a.Prefix.Addr().IsLinkLocalUnicast() {
				got = append(got, a.Prefix.String())
			}
		}
		if want := []string{"192.0.2.1/24", "2001:db8::1/64"}; !slices.Equal(got, want) {
			t.Errorf("addresses %v, want %v", got, want)
		}

		if routes, err := h.DefaultRoutes(ctx); err != nil || len(routes) != 0 {
			t.Errorf("before: default routes %+v, %v", routes, err)
		}
		if err := errors.Join(addDefault(ctx, h, index, unix.AF_INET), addDefault(ctx, h, index, unix.AF_INET6)); err != nil {
			t.Error(err)
			return
		}
		routes, err := h.DefaultRoutes(ctx)
		if err != nil || len(routes) != 2 || routes[0].IPv6 || !routes[1].IPv6 || routes[0].Indexes[0] != index || routes[1].Indexes[0] != index {
			t.Errorf("default routes %+v, %v", routes, err)
		}
	})
}

func addAddr(ctx context.Context, h *Handle, index int, p netip.Prefix) error {
	family := unix.AF_INET6
	if p.Addr().Is4() {
		family = unix.AF_INET
	}
	req := nl.NewNetlinkRequest(unix.RTM_NEWADDR, unix.NLM_F_REQUEST|unix.NLM_F_ACK|unix.NLM_F_CREATE)
	msg := nl.NewIfAddrmsg(family)
	msg.Index, msg.Prefixlen = uint32(index), uint8(p.Bits())
	req.AddData(msg)
	req.AddData(nl.NewRtAttr(unix.IFA_LOCAL, p.Addr().AsSlice()))
	req.AddData(nl.NewRtAttr(unix.IFA_ADDRESS, p.Addr().AsSlice()))
	return h.do(ctx, unix.NETLINK_ROUTE, req, nil)
}

func addDefault(ctx context.Context, h *Handle, index, family int) error {
	req := nl.NewNetlinkRequest(unix.RTM_NEWROUTE, unix.NLM_F_REQUEST|unix.NLM_F_ACK|unix.NLM_F_CREATE)
	req.AddData(&nl.RtMsg{RtMsg: unix.RtMsg{
		Family: uint8(family), Table: unix.RT_TABLE_MAIN, Protocol: unix.RTPROT_STATIC, Type: unix.RTN_UNICAST, Scope: unix.RT_SCOPE_LINK,
	}})
	req.AddData(nl.NewRtAttr(unix.RTA_OIF, binary.NativeEndian.AppendUint32(nil, uint32(index))))
	return h.do(ctx, unix.NETLINK_ROUTE, req, nil)
}

// The kernel's refusals come as errno, with what was asked of whom.
func TestKernelErrors(t *testing.T) {
	inNamespace(t, func(h *Handle) {
		ctx := t.Context()
		if err := add(ctx, h, unix.RTM_NEWLINK, name("br0"), kind("bridge")); err != nil {
			t.Error(err)
			return
		}
		br := LinkRef{Name: "br0"}
		_, noLink := h.Link(ctx, LinkRef{Name: "none"})
		_, noEswitch := h.EswitchMode(ctx, BusPCI, "0000:ff:1f.7")
		_, noParam := h.DevlinkParam(ctx, BusPCI, "0000:ff:1f.7", "flow_steering_mode")
		for _, tc := range []struct {
			name  string
			err   error
			errno error
			text  string
		}{
			{"no such link", noLink, unix.ENODEV, "read interface on none: "},
			{"MTU of nothing", h.SetMTU(ctx, LinkRef{Index: 4711, Name: "gone0"}, 1500), unix.ENODEV, "set MTU to 1500 on gone0: "},
			{"MTU too large", h.SetMTU(ctx, br, 1<<20), unix.EINVAL, "set MTU to 1048576 on br0: "},
			{"VF of a bridge", h.SetVFTrust(ctx, br, 3, true), unix.EOPNOTSUPP, "set VF 3 trust to on on br0: "},
			{"VLAN of a bridge's VF", h.SetVFVLAN(ctx, br, 0, VLAN{100, 2, Proto8021AD}), unix.EOPNOTSUPP, "set VF 0 VLAN to 100 qos 2 protocol 0x88a8 on br0: "},
			{"GUID of 6 bytes", h.SetVFNodeGUID(ctx, br, 0, hw("02:00:00:00:00:01")), unix.EINVAL, "a GUID has 8 bytes, not 6"},
			{"MAC of 33 bytes", h.SetVFMAC(ctx, br, 0, make([]byte, 33)), unix.EINVAL, "set VF 0 MAC"},
			{"no devlink", noEswitch, ErrUnsupported, "read eswitch mode on pci/0000:ff:1f.7: "},
			{"no devlink parameter", noParam, ErrUnsupported, "read devlink parameter flow_steering_mode on pci/0000:ff:1f.7: "},
			{"no such mode", h.SetEswitchMode(ctx, BusPCI, "x", "offload"), unix.EINVAL, "no such mode"},
			{"eswitch of nothing", h.SetEswitchMode(ctx, BusPCI, "0000:ff:1f.7", "legacy"), ErrUnsupported, "set eswitch mode to legacy on pci/0000:ff:1f.7: "},
		} {
			if !errors.Is(tc.err, tc.errno) || !strings.Contains(fmt.Sprint(tc.err), tc.text) {
				t.Errorf("%s: %v; want %v and %q", tc.name, tc.err, tc.errno, tc.text)
			}
		}
		if vfs, err := h.VFs(ctx, br); err != nil || len(vfs) != 0 {
			t.Errorf("VFs of a bridge: %v, %v", vfs, err)
		}
	})
}

// Modules that are not there are ErrUnsupported, if anything.
func TestKernelOptional(t *testing.T) {
	h := Open()
	if devs, err := h.RDMADevs(t.Context()); err != nil && !errors.Is(err, ErrUnsupported) {
		t.Errorf("RDMADevs = %v, %v", devs, err)
	}
	if mode, err := h.RDMANetnsMode(t.Context()); err != nil && !errors.Is(err, ErrUnsupported) || err == nil && mode != RDMAShared && mode != RDMAExclusive {
		t.Errorf("RDMANetnsMode = %q, %v", mode, err)
	}
	if err := h.VDPADel(t.Context(), "no-such-device"); err == nil {
		t.Error("removed a vDPA device that is not there")
	}
	if err := h.SetTCOffload(t.Context(), "lo", true); !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EPERM) {
		t.Errorf("SetTCOffload of lo = %v", err)
	}
}

func TestContextEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open().Links(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Links = %v", err)
	}
	if err := Open().SetMTU(ctx, LinkRef{Name: "none"}, 1500); !errors.Is(err, context.Canceled) {
		t.Errorf("SetMTU = %v", err)
	}
}

// A dump that the kernel calls interrupted is made again, a bounded number of
// times; other errors are final.
func TestDumpIsRepeated(t *testing.T) {
	h := Open()
	for _, tc := range []struct {
		name  string
		errs  []error
		tries int
		fails error
	}{
		{"at once", []error{nil}, 1, nil},
		{"twice interrupted", []error{nl.ErrDumpInterrupted, unix.EINTR, nil}, 3, nil},
		{"always interrupted", slices.Repeat([]error{nl.ErrDumpInterrupted}, 10), dumpTries, nl.ErrDumpInterrupted},
		{"refused", []error{unix.EPERM, nil}, 1, unix.EPERM},
	} {
		tries, kept := 0, 0
		err := h.dump(t.Context(), unix.NETLINK_ROUTE,
			linkRequest(unix.RTM_GETLINK, unix.NLM_F_DUMP, LinkRef{}),
			func() { kept = 0 },
			func([]byte) error {
				kept++
				if kept > 1 {
					return nil // one answer for each try: lo
				}
				err := tc.errs[tries]
				tries++
				return err
			})
		if tries != tc.tries || !errors.Is(err, tc.fails) || (err == nil) != (tc.fails == nil) {
			t.Errorf("%s: %d tries, %v; want %d, %v", tc.name, tries, err, tc.tries, tc.fails)
		}
	}
}
