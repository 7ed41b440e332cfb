package talos

import (
	"strings"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/nl"
	"github.com/talos-sriov/talos-sriov/pkg/talos/nodenet"
)

// View is what one reading of a node shows.
type View struct {
	Snapshot *inventory.Snapshot
	Links    []nodenet.Link
	// Trips is how many requests for sysfs were behind each other: what was not
	// known to be asked for before the answers of others, or above inFlight.
	Trips int
}

// nodeLinks makes links of what Talos' resources say. vfs are the PCI addresses of
// the VFs of the node's PFs.
func (n *network) nodeLinks(node string, vfs map[string]bool) []nodenet.Link {
	uplinks := inventory.Uplinks(n.links, n.addrs, n.routes)
	out := make([]nodenet.Link, 0, len(n.links))
	for i := range n.links {
		l, s := &n.links[i], n.status[i].TypedSpec()
		out = append(out, nodenet.Link{
			Name: l.Name, AltNames: append([]string(nil), s.AltNames...), Driver: s.Driver, PCIID: s.PCIID, BusPath: s.BusPath,
			MAC: l.MAC.String(), PermMAC: l.PermMAC.String(), Node: node, VF: vfs[s.BusPath],
			InfiniBand: l.Type != nl.TypeEthernet, Virtual: s.Kind != "", Uplink: uplinks[l.Index],
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

// onPCI reports whether the path in a LinkStatus is one of PCI:
// 0000:01:00.0.
func onPCI(busPath string) bool {
	return strings.Count(busPath, ":") == 2 && strings.Contains(busPath, ".")
}
