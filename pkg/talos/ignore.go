package talos

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/talos-sriov/talos-sriov/pkg/nic"
	"github.com/talos-sriov/talos-sriov/pkg/talos/nodenet"
)

// ownEntries is what to write when no PCI id selects the VFs alone.
const ownEntries = `Talos brings such VFs up and asks for addresses on them, unless it has link documents. ` +
	`Write an entry for each VF by its place, which no other card has: deviceSelector: {busPath: "0000:21:10.0"} with ignore: true ` +
	`(sriovctl discover and talosctl get links show places)`

// selectVFs fills in the ids of the VFs that Talos is to ignore: those that only
// VFs can have. Talos applies an entry to every link that its selector matches,
// and an ignored link has no addresses, so an id that a card of the node may have
// as well takes the node off the network. all is the hardware that is known or
// named, seen that of nodes that were looked at, nil when none was.
func (n *Needs) selectVFs(all, seen []Hardware) {
	ids := make(map[string]bool)
	shared := make(map[string]string)
	for _, h := range all {
		m, ok := nic.ByPF(h.Vendor, h.Device)
		switch {
		case !ok || m.VF == "":
		case nic.OnlyVF(m.Vendor, m.VF):
			ids[pciID(m.Vendor, m.VF)] = true
		default:
			shared[pciID(m.Vendor, m.VF)] = m.Name
		}
	}
	n.VFs = slices.Sorted(maps.Keys(ids))
	for _, id := range slices.Sorted(maps.Keys(shared)) {
		n.leave(ownEntries, "the VFs of %s (PCI id %s) are left to Talos: cards that are no VFs have this id too, and Talos would take their addresses away", shared[id], id)
	}
	unknown := make(map[string]bool)
	for _, h := range seen {
		if m, ok := nic.ByPF(h.Vendor, h.Device); !ok || m.VF == "" {
			unknown[pciID(h.Vendor, h.Device)] = true
		}
	}
	for _, id := range slices.Sorted(maps.Keys(unknown)) {
		n.leave(ownEntries, "the VFs of the card %s are left to Talos: sriovctl does not know their PCI id", id)
	}
	if seen == nil && len(ids) == 0 && len(shared) == 0 {
		n.leave("-n NODE looks at the cards of a node; or add machine.network.interfaces with a deviceSelector that only VFs match, and ignore: true",
			"the VFs are left to Talos: without -n their PCI id is not known, so nothing keeps Talos from bringing them up and asking for addresses on them")
	}
}

// leave notes VFs that Talos is not kept off.
func (n *Needs) leave(hint, format string, args ...any) {
	n.Unselected = append(n.Unselected, nodenet.Finding{Msg: fmt.Sprintf(format, args...), Hint: hint})
}

// pciID is the id as Talos writes it in a LinkStatus, and so in selectors.
func pciID(vendor, device string) string { return strings.ToUpper(vendor + ":" + device) }

// Spare takes out of the ids of the VFs those that a link of the nodes has which
// is no VF of a PF of its node: the node's own card in a virtual machine is often
// a VF of its host. links are those of the nodes that the needs are for.
func (n *Needs) Spare(links []nodenet.Link) {
	n.VFs = slices.DeleteFunc(slices.Clone(n.VFs), func(id string) bool {
		i := slices.IndexFunc(links, func(l nodenet.Link) bool { return !l.VF && l.PCIID == id })
		if i < 0 {
			return false
		}
		l := &links[i]
		n.leave(ownEntries, "the VFs with the PCI id %s are left to Talos: %s of %s has this id and is no VF of a PF of that node, and Talos would take its addresses away",
			id, l.Name, l.Node)
		return true
	})
	if len(n.VFs) == 0 {
		n.VFs = nil
	}
}
