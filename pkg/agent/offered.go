package agent

import (
	"context"
	"fmt"
	"maps"
	"sync"

	"github.com/talos-sriov/talos-sriov/pkg/deviceplugin"
	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/pool"
	"github.com/talos-sriov/talos-sriov/pkg/record"
	"github.com/talos-sriov/talos-sriov/pkg/state"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// offered is what the pools offer: the assignment without the devices that are
// kept back, by the loop (work is left on them) or by the gate (a step is about
// to take them away). It calls nobody under its lock: an offer is made from a copy,
// and by its number the plugin knows which of two is the newer one.
type offered struct {
	plugin offerer

	mu      sync.Mutex
	seq     uint64 // of the last change
	base    *pool.Assignment
	loop    map[string]pool.Reason // by device
	claimed map[string]claim
}

// offerer takes offers. *deviceplugin.Manager does.
type offerer interface {
	Offer(o deviceplugin.Offer)
}

// claim is why the gate keeps a device back, and for the run on which PF.
type claim struct {
	pf     string
	reason pool.Reason
}

// offer is what is offered now. given are the devices that pods may have. The caller
// holds the lock.
func (o *offered) offer(given []string) deviceplugin.Offer {
	o.seq++
	reasons := map[string]pool.Reason{}
	maps.Copy(reasons, o.loop)
	for id, c := range o.claimed {
		reasons[id] = c.reason
	}
	return deviceplugin.Offer{Assignment: o.base.Withhold(reasons), Seq: o.seq, Given: given}
}

// set is the decision of the loop. It ends earlier claims of runs that are over.
// given are the devices that pods may have.
func (o *offered) set(base *pool.Assignment, reasons map[string]pool.Reason, busy map[string]bool, given []string) {
	o.mu.Lock()
	o.base, o.loop = base, reasons
	maps.DeleteFunc(o.claimed, func(_ string, c claim) bool { return !busy[c.pf] })
	offer := o.offer(given)
	o.mu.Unlock()
	o.plugin.Offer(offer)
}

// claim makes more devices unhealthy, until the PF's run has ended and the loop has
// decided again. When it returns, no Allocate that starts can have them.
func (o *offered) claim(pf string, devices []string, reason pool.Reason, given []string) {
	o.mu.Lock()
	if o.claimed == nil {
		o.claimed = map[string]claim{}
	}
	for _, d := range devices {
		o.claimed[d] = claim{pf, reason}
	}
	if o.base == nil {
		o.mu.Unlock()
		return // the first offer is made without them
	}
	offer := o.offer(given)
	o.mu.Unlock()
	o.plugin.Offer(offer)
}

func (o *offered) assignment() *pool.Assignment {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.base
}

// gate is apply's last check before a step takes VFs away.
type gate struct{ a *Agent }

func (g gate) Claim(ctx context.Context, pf string, vfs []string) ([]use.Holder, error) {
	// First nobody gets them any more, then who has them: the other way round
	// a pod could slip in between.
	g.a.offered.claim(pf, vfs, pool.Reason{Cause: pool.CauseUnfinished, Text: "is being changed"}, g.a.store.Allocations().Given)
	snap, err := g.a.read(ctx, inventory.Needs{})
	if err != nil {
		return nil, fmt.Errorf("read who holds VFs of %s: %w", pf, err)
	}
	g.a.opened.probe(snap, vfs)
	set := g.a.holders(ctx, snap).use
	var holders []use.Holder
	for _, vf := range vfs {
		if st := set.Of(vf); st.Busy() {
			holders = append(holders, st.Holders...)
		}
	}
	return holders, nil
}

// journal keeps apply's intents in the store.
type journal struct{ store *state.Store }

func (j journal) Begin(_ context.Context, run record.Run, ids []string) error {
	return j.store.Update(func(r record.Record) record.Record { return r.Begin(run, ids) })
}

func (j journal) End(_ context.Context, run record.Run, out record.Outcome) error {
	return j.store.Update(func(r record.Record) record.Record { return r.End(run, out) })
}
