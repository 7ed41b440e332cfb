package agent

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/deviceplugin"
	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/plan"
	"github.com/talos-sriov/talos-sriov/pkg/state"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// askAgain is how often the kubelet is asked while it has not confirmed what it
// took, and while a step waits for pods: the
// end of a pod that holds a device by vfio is no kernel event.
const askAgain = 2 * time.Second

// askTimeout bounds one question to the kubelet; no answer counts as in use.
const askTimeout = 5 * time.Second

// holders says who holds the devices of the snapshot, and tells of any device
// whether a pod has it.
func (a *Agent) holders(ctx context.Context, snap *inventory.Snapshot) (use.Set, func(id string) bool) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	kubelet := a.opts.Kubelet.Ask(ctx)
	err := a.store.UpdateAllocations(func(al state.Allocations) state.Allocations {
		al.KubeletSeen = al.KubeletSeen || kubelet.Answered
		al.Notes = use.Settle(al.Notes, kubelet, time.Now())
		al.Given = given(al, kubelet, a.offered.has, time.Now())
		return al
	})
	if err != nil {
		a.log.Error("cannot write the allocation notes", "error", err)
	}
	al := a.store.Allocations()
	// Read anew on each call: a note that is made meanwhile counts.
	held := func(id string) bool {
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
		Open: a.opened.now(snap),
	}), held
}

// given are the devices that pods have as far as is known: those that the kubelet
// took or lists, and, as long as a kubelet that has just come up may not have its
// assignments back, those of before.
func given(al state.Allocations, k use.Kubelet, ours func(id string) bool, now time.Time) []string {
	set := map[string]bool{}
	if !k.Answered || now.Sub(k.Since) < use.Grace {
		for _, id := range al.Given {
			set[id] = true
		}
	}
	for _, n := range al.Notes {
		set[n.Device] = true
	}
	for id := range k.Held {
		if ours(id) {
			set[id] = true
		}
	}
	return slices.Sorted(maps.Keys(set))
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

// allocated notes what the kubelet takes, before it is told that it may.
func (a *Agent) allocated(_ context.Context, got deviceplugin.Allocation) error {
	// The loop asks the kubelet until it confirms what it took.
	defer a.Wake()
	now := time.Now().UTC().Truncate(time.Second)
	err := a.store.UpdateAllocations(func(al state.Allocations) state.Allocations {
		al.KubeletSeen = true
		taken := make(map[string]bool, len(got.IDs))
		for _, id := range got.IDs {
			taken[id] = true
		}
		var notes []use.Note
		for _, n := range al.Notes {
			if !taken[n.Device] {
				notes = append(notes, n)
			}
		}
		for _, id := range got.IDs {
			notes = append(notes, use.Note{Device: id, At: now})
		}
		al.Notes = notes
		return al
	})
	if err == nil {
		a.figures.allocate(got.Resource, len(got.IDs))
	}
	return err
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
