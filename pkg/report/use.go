package report

import (
	"maps"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/status"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// Use is whether somebody has a device, and who.
func Use(st use.Status) (status.Use, []status.Holder) {
	switch st.State {
	case use.Free:
		return status.UseFree, nil
	case use.Held:
		return status.UseHeld, st.Holders
	}
	return status.UseUnknown, st.Holders
}

// UseOf is which devices are held, as far as a node's status says: devices of its
// pools. All others are unknown, which counts as in use.
func UseOf(s *status.Status) use.Set {
	if s == nil {
		return use.Set{Why: "the extension does not run on the node, and only it knows which pods hold devices"}
	}
	set := use.Set{Devices: make(map[string]use.Status), Why: "it is in no pool of the node's status"}
	for i := range s.Pools {
		for j := range s.Pools[i].Members {
			d := &s.Pools[i].Members[j]
			// A device may be in several pools: one that says free frees it for none
			// of the others.
			if known, ok := set.Devices[d.ID]; !ok || !known.Busy() {
				set.Devices[d.ID] = useOf(d)
			}
		}
	}
	return set
}

// WithPFs is the set with the PFs and subfunctions of the machine that are in no pool:
// they are nobody's, because they are given out through pools alone. Of a VF nothing is
// concluded: it may be in a pool of an earlier config.
func WithPFs(set use.Set, snap *inventory.Snapshot) use.Set {
	out := use.Set{Devices: make(map[string]use.Status, len(set.Devices)), Why: set.Why}
	for i := range snap.PFs {
		out.Devices[snap.PFs[i].Address] = use.Status{State: use.Free}
	}
	for i := range snap.Subfunctions {
		out.Devices[snap.Subfunctions[i].Name] = use.Status{State: use.Free}
	}
	maps.Copy(out.Devices, set.Devices)
	return out
}

func useOf(d *status.Device) use.Status {
	one := func(text string) []use.Holder {
		if len(d.Holders) > 0 {
			return d.Holders
		}
		return []use.Holder{{Device: d.ID, Evidence: use.EvidenceNone, Text: text}}
	}
	switch d.InUse() {
	case status.UseFree:
		return use.Status{State: use.Free}
	case status.UseHeld:
		return use.Status{State: use.Held, Holders: one("a holder that the node does not name")}
	}
	return use.Status{State: use.Unknown, Holders: one("use of " + d.ID + " is unknown: " + d.UnknownText())}
}
