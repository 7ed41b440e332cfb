package nl

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// A veth end goes to another namespace and comes back, against the real kernel:
// what a VF's interface does at ADD and DEL.
func TestKernelMoveLink(t *testing.T) {
	inNamespace(t, func(host *Handle) {
		inNamespace(t, func(pod *Handle) {
			ctx := t.Context()
			check := func(what string, err error) {
				t.Helper()
				if err != nil {
					t.Errorf("%s: %v", what, err)
				}
			}
			// Both namespaces have a v0: the move has to take the new name at once.
			check("add", add(ctx, host, unix.RTM_NEWLINK, name("v0"), kind("veth")))
			check("add", add(ctx, pod, unix.RTM_NEWLINK, name("v0"), kind("veth")))
			l, err := host.Link(ctx, LinkRef{Name: "v0"})
			check("link", err)
			ref := LinkRef{Index: l.Index}
			check("altname", host.AddAltName(ctx, ref, "a-rather-long-alternative-name"))
			check("move", host.MoveLink(ctx, ref, pod, "net1"))
			l, err = pod.Link(ctx, LinkRef{Name: "net1"})
			check("link in pod", err)
			if !slices.Equal(l.AltNames, []string{"a-rather-long-alternative-name"}) {
				t.Errorf("altnames %q", l.AltNames)
			}
			ref = LinkRef{Index: l.Index}
			mac := net.HardwareAddr{2, 0, 0, 0, 0, 9}
			check("mac", pod.SetMAC(ctx, ref, mac))
			check("up", pod.SetUp(ctx, ref, true))
			prefix := netip.MustParsePrefix("10.9.0.2/24")
			check("addr", pod.AddAddr(ctx, Addr{Index: l.Index, Prefix: prefix}))
			if err := pod.AddAddr(ctx, Addr{Index: l.Index, Prefix: prefix}); !errors.Is(err, unix.EEXIST) {
				t.Errorf("second address: %v", err)
			}
			check("route", pod.AddRoute(ctx, NewRoute{Dst: netip.MustParsePrefix("0.0.0.0/0"), Gateway: netip.MustParseAddr("10.9.0.1"), Index: l.Index, MTU: 1400}))
			check("link route", pod.AddRoute(ctx, NewRoute{Dst: netip.MustParsePrefix("10.10.0.0/16"), Index: l.Index, Scope: unix.RT_SCOPE_LINK, Table: 500}))
			routes, err := pod.DefaultRoutes(ctx)
			check("routes", err)
			if len(routes) != 1 || routes[0].Indexes[0] != l.Index {
				t.Errorf("default routes %+v", routes)
			}
			// The name to be on the host is an altname here: refused until removed.
			check("altname", pod.AddAltName(ctx, ref, "back0"))
			if err := pod.Rename(ctx, ref, "back0"); err == nil {
				t.Error("renamed to its own altname")
			}
			check("altname", pod.DelAltName(ctx, ref, "back0"))
			check("move back", pod.MoveLink(ctx, ref, host, "back0"))
			l, err = host.Link(ctx, LinkRef{Name: "back0"})
			check("link on host", err)
			if l.Up || l.MAC.String() != mac.String() {
				t.Errorf("on the host it is %+v", l)
			}
			check("rename", host.Rename(ctx, LinkRef{Index: l.Index}, "v9"))
			a, err := host.ID()
			check("id", err)
			b, err := pod.ID()
			check("id", err)
			if a == b {
				t.Error("two namespaces with one ID")
			}
		})
	})
}
