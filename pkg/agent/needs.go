package agent

import (
	"slices"

	"github.com/talos-sriov/talos-sriov/pkg/decide"
	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/pool"
	"github.com/talos-sriov/talos-sriov/pkg/record"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

// needs returns what a read must bring under the newest config, the last good
// one, and the record of what was changed before. offered is nil as long as
// nothing was offered: the first list does not wait for the error counters,
// whose first reading shows nothing anyway.
func needs(c decide.Config, rec record.Record, offered *pool.Assignment) inventory.Needs {
	var n inventory.Needs
	for _, cfg := range []*spec.Config{c.Newest.Config, c.LastGood.Config} {
		if cfg == nil {
			continue
		}
		n.VFSettings = n.VFSettings || len(cfg.PhysicalFunctions) > 0
		for i := range cfg.ResourceList {
			n.ACPIIndexes = n.ACPIIndexes || slices.ContainsFunc(cfg.ResourceList[i].Selectors,
				func(s spec.Selector) bool { return len(s.ACPIIndexes) > 0 })
		}
	}
	// What was changed may have to be undone, whatever the config says.
	for _, pf := range rec.PFs {
		n.VFSettings = n.VFSettings || pf.Made != nil || len(pf.Open) > 0
	}
	if offered != nil {
		members := offered.Members()
		n.AER = func(address string) bool { return members[address] }
	}
	return n
}
