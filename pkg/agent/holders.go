package agent

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/deviceplugin"
	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/plan"
	"github.com/talos-sriov/talos-sriov/pkg/pool"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// askAgain is how often the kubelet is asked while it has not confirmed what it
// took, and while a step waits for pods: the
// end of a pod that holds a device by vfio is no kernel event.
const askAgain = 2 * time.Second

// askTimeout bounds one question to the kubelet; no answer counts as in use.
const askTimeout = 5 * time.Second

// evidence is what is known of who has which device.
type evidence struct {
	use use.Set
	// held reports whether a pod has the device, also by a note that is made later.
	held func(id string) bool
	// answered is true when the kubelet answered who has what.
	answered bool
	// open are VFs that a process has open though no pod is known to have them.
	open map[string]use.Answer
}

// holders asks who holds the devices of the snapshot.
func (a *Agent) holders(ctx context.Context, snap *inventory.Snapshot) evidence {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	before := a.store.Allocations().Notes
	kubelet := a.opts.Kubelet.Ask(ctx)
	a.saved(a.store.Confirm(kubelet, before, a.offered.assignment().Members(), time.Now()))
	al := a.store.Allocations()
	held := func(id string) bool {
		return len(kubelet.Held[id]) > 0 ||
			slices.ContainsFunc(a.store.Allocations().Notes, func(n use.Note) bool { return n.Device == id })
	}
	// A kubelet that has just come up may not have its assignments back yet.
	if kubelet.Answered && time.Since(kubelet.Since) >= use.Grace {
		if err := a.plugin.Settle(held); err != nil {
			a.log.Warn("cannot remove the files of free devices", "err", err)
		}
	}
	ev := evidence{held: held, answered: kubelet.Answered, open: a.opened.now(snap, held)}
	ev.use = use.Judge(use.Evidence{
		Snapshot: snap, Kubelet: kubelet, KubeletSeen: al.KubeletSeen, Notes: al.Notes, Open: ev.open,
	})
	return ev
}

// saved logs why something is in force and not on the disk, if there is an error. That
// it is over, only the next look at the directory shows.
func (a *Agent) saved(err error) {
	if err != nil {
		a.unsaved.failed("", err, func() { a.log.Error("cannot write state, kept in memory", "err", err) })
	}
}

// logHealth logs the changes of the devices' health.
func (a *Agent) logHealth(m *memory, unhealthy map[string]pool.Reason) {
	for id, r := range unhealthy {
		m.logOnChange.do("health/"+id, r.Text, func() { a.log.Warn("device unhealthy", "device", id, "reason", r.Text) })
	}
	for id := range m.unhealthy {
		if _, ok := unhealthy[id]; !ok {
			m.logOnChange.do("health/"+id, "", func() { a.log.Info("device healthy again", "device", id) })
		}
	}
	m.unhealthy = unhealthy
}

// allocations records for the device plugin which devices the kubelet allocates.
type allocations struct{ a *Agent }

// Seen: a kubelet counts as seen with the first note.
func (allocations) Seen() {}

// Note notes what the kubelet takes, before it gets the answer that it may. A
// note that cannot be written is in force too, and a later process takes the
// unwritable directory for a kubelet that was seen: no device becomes free by it.
//
// A VF that a process has open is refused: the kubelet forgets a pod that was deleted
// by force at once, also while its virtual machine still runs.
func (t allocations) Note(_ context.Context, got deviceplugin.Allocation) (done func(given bool), err error) {
	a := t.a
	// The loop asks the kubelet until it confirms what it took.
	defer a.Wake()
	if taken := a.opened.take(a.lastSnapshot.Load(), got.IDs); len(taken) > 0 {
		id := slices.Min(slices.Collect(maps.Keys(taken)))
		return nil, fmt.Errorf("%s is in use: %s, by a process of no pod that the kubelet knows; it can be allocated when that process has ended", id, taken[id])
	}
	a.saved(a.store.Note(got.IDs, time.Now().UTC()))
	return func(given bool) {
		if given {
			a.collector.allocate(got.Resource, len(got.IDs))
			return
		}
		// What waits for them need not wait.
		a.saved(a.store.Release(got.IDs))
		a.Wake()
	}, nil
}

// waiting reports whether any step waits for holders.
func waiting(p *plan.Plan) bool {
	return slices.ContainsFunc(p.PFs, func(f plan.PFPlan) bool {
		return slices.ContainsFunc(f.Steps, func(s plan.Step) bool { return len(s.Wait) > 0 })
	})
}
