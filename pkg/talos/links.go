package talos

import (
	"strings"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/nl"
	"github.com/talos-sriov/talos-sriov/pkg/talos/nodenet"
)

// NodeLink is an interface of a node.
type NodeLink struct {
	nodenet.Link
	Node string
	// VF: it belongs to a VF of a PF of this node. False also when that is not
	// known.
	VF bool
}

// View is what one reading of a node shows.
type View struct {
	Snapshot *inventory.Snapshot
	Links    []NodeLink
	// Trips is how many requests for sysfs were behind each other: what was not
	// known to be asked for before the answers of others, or above inFlight.
	Trips int
}

// nodeLinks makes links of what Talos' resources say. vfs are the PCI addresses of
// the VFs of the node's PFs.
func (n *network) nodeLinks(node string, vfs map[string]bool) []NodeLink {
	uplinks := inventory.Uplinks(n.links, n.addrs, n.routes)
	out := make([]NodeLink, 0, len(n.links))
	for i := range n.links {
		l, s := &n.links[i], n.status[i].TypedSpec()
		out = append(out, NodeLink{
			Node: node, VF: vfs[s.BusPath],
			Link: nodenet.Link{
				Name: l.Name, AltNames: append([]string(nil), s.AltNames...), Driver: s.Driver, PCIID: s.PCIID, BusPath: s.BusPath,
				MAC: l.MAC.String(), PermMAC: l.PermMAC.String(),
				InfiniBand: l.Type != nl.TypeEthernet, Virtual: s.Kind != "", Uplink: uplinks[l.Index],
			},
		})
	}
	return out
}

// vfAddresses are the PCI addresses of all VFs of the snapshot's PFs.
func vfAddresses(s *inventory.Snapshot) map[string]bool {
	out := make(map[string]bool)
	for i := range s.PFs {
		for j := range s.PFs[i].VFs {
			out[s.PFs[i].VFs[j].Address] = true
		}
	}
	return out
}

// Own are the links that are no VFs of the node's PFs.
func Own(links []NodeLink) []nodenet.Link {
	var out []nodenet.Link
	for i := range links {
		if !links[i].VF {
			out = append(out, links[i].Link)
		}
	}
	return out
}

// onPCI reports whether the path in a LinkStatus is one of PCI:
// 0000:01:00.0.
func onPCI(busPath string) bool {
	return strings.Count(busPath, ":") == 2 && strings.Contains(busPath, ".")
}
