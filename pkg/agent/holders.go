package agent

import (
	"context"
	"slices"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/deviceplugin"
	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/plan"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// askAgain is how often the kubelet is asked while it has not confirmed what it
// took, and while a step waits for pods: the
// end of a pod that holds a device by vfio is no kernel event.
const askAgain = 2 * time.Second

// askTimeout bounds one question to the kubelet; no answer counts as in use.
const askTimeout = 5 * time.Second

// holders says who holds the devices of the snapshot, tells of any device whether a
// pod has it, and whether the kubelet answered.
func (a *Agent) holders(ctx context.Context, snap *inventory.Snapshot) (set use.Set, held func(id string) bool, answered bool) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	kubelet := a.opts.Kubelet.Ask(ctx)
	if err := a.store.Confirm(kubelet, a.offered.devices(), time.Now()); err != nil {
		a.unsaved(err)
	}
	al := a.store.Allocations()
	// Asked on each call: a note that is made meanwhile counts.
	held = func(id string) bool {
		return len(kubelet.Held[id]) > 0 ||
			slices.ContainsFunc(a.store.Allocations().Notes, func(n use.Note) bool { return n.Device == id })
	}
	// A kubelet that has just come up may not have its assignments back yet.
	if kubelet.Answered && time.Since(kubelet.Since) >= use.Grace {
		if err := a.plugin.Settle(held); err != nil {
			a.log.Warn("files of devices that are free again", "error", err)
		}
	}
	return use.Judge(use.Evidence{
		Snapshot: snap, Kubelet: kubelet, KubeletSeen: al.KubeletSeen, Notes: al.Notes,
		Open: a.opened.now(snap, held),
	}), held, kubelet.Answered
}

// unsaved logs that something is in force and not on the disk.
func (a *Agent) unsaved(err error) {
	a.unsavedOnce.do("", err.Error(), func() {
		a.log.Error("the state directory cannot be written, what is new is kept in memory", "error", err)
	})
}

// tellHealth logs the changes of the devices' health.
func (a *Agent) tellHealth(m *memory, unfit map[string]string) {
	for id, why := range unfit {
		m.said.do("health/"+id, why, func() { a.log.Warn("device unhealthy", "device", id, "reason", why) })
	}
	for id := range m.unfit {
		if unfit[id] == "" {
			m.said.do("health/"+id, "", func() { a.log.Info("device healthy again", "device", id) })
		}
	}
	m.unfit = unfit
}

// allocated notes what the kubelet takes, before it gets the answer that it may. A
// note that cannot be written is in force too, and a later process takes the
// unwritable directory for a kubelet that was seen: no device becomes free by it.
func (a *Agent) allocated(_ context.Context, got deviceplugin.Allocation) error {
	// The loop asks the kubelet until it confirms what it took.
	defer a.Wake()
	if err := a.store.Note(got.IDs, time.Now().UTC().Truncate(time.Second)); err != nil {
		a.unsaved(err)
	}
	a.figures.allocate(got.Resource, len(got.IDs))
	return nil
}

// waiting reports whether any step waits for holders.
func waiting(p *plan.Plan) bool {
	for i := range p.PFs {
		if waits(&p.PFs[i]) {
			return true
		}
	}
	return false
}
