package inventory

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/talos-sriov/talos-sriov/pkg/nl"
)

// Uplinks reports which interfaces carry the node's own network, by ifindex, each
// with the reason as text. The rule:
//
//   - an interface carries it when any default route of either family and any
//     table leaves through it, or when it has an address that is neither
//     loopback nor link-local nor multicast;
//   - and so does every interface below such a one, at any depth: the ports of
//     a bond, team or bridge, the lower device of a VLAN, macvlan or ipvlan,
//     and all ports of an Open vSwitch datapath when one of its internal
//     interfaces carries it (the kernel does not show which port serves which).
//
// An interface's own reason goes before one from above, a default route before
// an address. It is a pure function of one reading of links, addresses and
// routes.
func Uplinks(links []nl.Link, addrs []nl.Addr, routes []nl.Route) map[int]string {
	s := newStacking(links)
	out := make(map[int]string)
	var queue []int
	own := func(index int, why string) {
		l := s.byIndex[index]
		if l == nil || l.Loopback || out[index] != "" {
			return
		}
		out[index] = why
		queue = append(queue, index)
	}
	for _, r := range routes {
		for _, index := range r.Indexes {
			own(index, "carries the "+r.Family()+" default route")
		}
	}
	for _, a := range addrs {
		if nodeAddress(a.Prefix.Addr()) {
			own(a.Index, "carries the address "+a.Prefix.String())
		}
	}

	// Breadth first: the nearest reason is the one that counts.
	for len(queue) > 0 {
		index := queue[0]
		queue = queue[1:]
		l := s.byIndex[index]
		for _, b := range s.below(l) {
			if s.byIndex[b] == nil || out[b] != "" {
				continue
			}
			out[b] = under(l, out[index])
			queue = append(queue, b)
		}
	}
	return out
}

// stacking is which interfaces are built on which others.
type stacking struct {
	byIndex  map[int]*nl.Link
	ports    map[int][]int // by their master
	ovsPorts []int         // of all datapaths
}

func newStacking(links []nl.Link) *stacking {
	s := &stacking{byIndex: byIndex(links), ports: make(map[int][]int)}
	for i := range links {
		l := &links[i]
		if l.Master == 0 {
			continue
		}
		s.ports[l.Master] = append(s.ports[l.Master], l.Index)
		if m := s.byIndex[l.Master]; m != nil && m.Kind == kindOVS {
			s.ovsPorts = append(s.ovsPorts, l.Index)
		}
	}
	return s
}

func byIndex(links []nl.Link) map[int]*nl.Link {
	out := make(map[int]*nl.Link, len(links))
	for i := range links {
		out[links[i].Index] = &links[i]
	}
	return out
}

// below are the interfaces that l is built on.
func (s *stacking) below(l *nl.Link) []int {
	below := s.ports[l.Index]
	if l.Lower != 0 {
		below = append(below[:len(below):len(below)], l.Lower)
	}
	if l.Kind == kindOVS {
		below = append(below[:len(below):len(below)], s.ovsPorts...)
	}
	return below
}

// kindOVS is the link kind of Open vSwitch's internal interfaces, the datapath
// (ovs-system) among them.
const kindOVS = "openvswitch"

// nodeAddress reports whether a node is reached by the address.
func nodeAddress(a netip.Addr) bool {
	a = a.Unmap()
	return a.IsValid() && !a.IsLoopback() && !a.IsLinkLocalUnicast() && !a.IsMulticast() && !a.IsUnspecified()
}

// under makes "is below bond0 (bond), which carries ..." and keeps only the
// nearest device and the root reason of a longer chain.
func under(upper *nl.Link, why string) string {
	if i := strings.LastIndex(why, "which "); i >= 0 {
		why = why[i+len("which "):]
	}
	return fmt.Sprintf("is below %s, which %s", describeLink(upper), why)
}
