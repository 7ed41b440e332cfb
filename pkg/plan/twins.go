package plan

import (
	"fmt"
	"slices"

	"github.com/talos-sriov/talos-sriov/pkg/selection"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

// Two PFs with one permanent address (clones by the vendor, virtual machines) would
// give their VFs the same stable addresses. Neither gets any: an address mixed with
// more than the PF's own would change when a card is added, and which of two clones
// may keep its addresses nobody knows but the operator. A PF about which the kernel does
// not answer counts with the address that it had: it has not changed for it.

// twins are, by PF address, the other PF in the config with the same permanent
// address, where both derive addresses from it.
func twins(in *Input, sel *selection.Result) map[string]string {
	first, out := map[string]string{}, map[string]string{}
	for i := range sel.Bindings {
		b := &sel.Bindings[i]
		entry := b.Entry
		if !slices.ContainsFunc(entry.VirtualFunctions, derives) {
			continue
		}
		hw := hardwareAddr(in.Snapshot.PF(b.PF)).String()
		if hw == "" {
			continue
		}
		other, taken := first[hw]
		if !taken {
			first[hw] = b.PF
			continue
		}
		out[b.PF] = other
		if out[other] == "" {
			out[other] = b.PF
		}
	}
	return out
}

func derives(g spec.VFGroup) bool {
	return g.MACAddresses.Mode == spec.MACStable || g.GUIDs.Mode == spec.MACStable
}

// sameListed finds addresses that the config lists for VFs of two PFs. It may be
// meant (two VFs under one bond), so it is worth a notice and no more.
func sameListed(p *Plan, sel *selection.Result) {
	seen := map[string]string{} // address -> PF
	found := map[[2]string]bool{}
	for i := range sel.Bindings {
		b := &sel.Bindings[i]
		entry := b.Entry
		for j := range entry.VirtualFunctions {
			g := &entry.VirtualFunctions[j]
			for _, mac := range g.MACAddresses.List {
				was, taken := seen[mac.String()]
				if !taken {
					seen[mac.String()] = b.PF
					continue
				}
				if pair := [2]string{was, b.PF}; was != b.PF && !found[pair] {
					found[pair] = true
					p.Notices = append(p.Notices, Problem{
						Pos: g.Pos, PF: b.PF,
						Msg:  fmt.Sprintf("macAddresses: %s is listed for a VF of %s and for one of %s", mac, was, b.PF),
						Hint: "on one network each needs an address of its own; give each PF an entry with its own list",
					})
				}
			}
		}
	}
}
