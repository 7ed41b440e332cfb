package modelkernel

import (
	"context"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
)

// Snapshot is what inventory.Read makes of the model at one instant: nothing
// changes while it is taken.
func (k *Kernel) Snapshot() *inventory.Snapshot {
	k.mu.Lock()
	defer k.mu.Unlock()
	f := frozen{k}
	s, err := inventory.Read(context.Background(), f, f)
	if err != nil {
		// Read fails without a list of PCI devices only, and the model has one.
		return &inventory.Snapshot{Notes: []inventory.Note{{Device: "model", What: "read", Err: err.Error()}}}
	}
	return s
}

// frozen is the model for one who holds k.mu.
type frozen struct{ k *Kernel }

var (
	_ inventory.Network = frozen{}
	_ inventory.Network = (*Kernel)(nil)
)
