package agent

import (
	"context"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/health"
	"github.com/talos-sriov/talos-sriov/pkg/plan"
	"github.com/talos-sriov/talos-sriov/pkg/pool"
	"github.com/talos-sriov/talos-sriov/pkg/record"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/status"
)

// listenAt is where the config wants the metrics, "" for nowhere.
func listenAt(cfg *spec.Config) string {
	if cfg == nil {
		return ""
	}
	return cfg.Metrics.Listen
}

// act offers what is there and starts what has to be done.
func (a *Agent) act(ctx context.Context, m *memory, cur *pass) {
	if cur.readErr != nil {
		m.logOnChange.failed("inventory", cur.readErr, func() { a.log.Error("cannot read the machine", "err", cur.readErr) })
		return
	}
	if !cur.decision.known {
		return // nothing may be concluded yet: offer what was offered
	}
	a.cni.set(cur.decision.cfg)
	a.metrics.Listen(listenAt(cur.decision.cfg))
	assignment := pool.Assign(cur.decision.cfg, cur.snap, cur.plan.Bound)
	v := m.health.Observe(health.From(cur.decision.cfg), cur.snap, assignment, cur.held, time.Now())
	m.recheck.in(v.Again)
	cur.unhealthy = v.Reasons
	a.logHealth(m, v.Reasons)
	a.offered.set(v.Assignment, cur.unallocatable(), cur.busy, a.store.Allocations().Given)

	// Before it is applied: a bad config may follow while writes are under way.
	if doc, ok := acceptable(m, cur); ok {
		a.saved(a.store.SetLastGood(doc))
	}
	a.start(ctx, m, cur, a.reclaimable(m, cur))
	a.saved(a.store.Update(func(r record.Record) record.Record {
		next, _ := r.Proven(cur.plan.Evidence(), cur.decision.hash)
		return next
	}))
	idle := cur.idle()
	// With a record that was lost, all PFs' force tokens are recorded at once.
	if a.store.Read() && (len(cur.busy) == 0 || !a.store.Record().Lost) {
		a.acknowledge(idle)
	}
	for pf := range a.store.ForceRequests() {
		if f := cur.plan.PF(pf); !cur.busy[pf] && (f == nil || len(f.Steps) == 0) {
			err := a.store.Acknowledge(pf)
			m.logOnChange.failed("force/"+pf, err, func() { a.log.Error("cannot remove force request", "pf", pf, "err", err) })
		}
	}
}

// acceptable returns the config that a bad one must not displace, and whether
// there is one. That there is none is such a state too, but not at an early start,
// when the machine config may not be loaded yet: there must have been a config, or
// a kubelet, which Talos starts later than that.
func acceptable(m *memory, cur *pass) ([]byte, bool) {
	switch cur.decision.spec.State {
	case status.SpecAccepted:
		return m.newest.Data, true
	case status.SpecPartly:
		return m.newest.Data, cur.decision.keepable
	case status.SpecAbsent:
		return nil, m.present || cur.answered
	}
	return nil, false
}

// acknowledge records the config's force tokens that were carried out.
func (a *Agent) acknowledge(p *plan.Plan) {
	var lost bool
	var done []string
	a.saved(a.store.Update(func(r record.Record) record.Record {
		lost = r.Lost
		r, done = r.Acknowledge(p.Tokens())
		return r
	}))
	for _, pf := range done {
		if f := p.PF(pf); lost {
			a.log.Warn("force token ignored", "pf", pf, "name", f.Name, "force", f.ForceToken, "reason", "the record of earlier tokens was lost, so it may be an old one", "hint", "write another text")
		} else {
			a.log.Info("force token carried out, later changes wait for pods again", "pf", pf, "name", f.Name, "force", f.ForceToken)
		}
	}
}
