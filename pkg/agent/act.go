package agent

import (
	"context"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/health"
	"github.com/talos-sriov/talos-sriov/pkg/plan"
	"github.com/talos-sriov/talos-sriov/pkg/pool"
	"github.com/talos-sriov/talos-sriov/pkg/record"
	"github.com/talos-sriov/talos-sriov/pkg/selection"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/status"
)

// listenAt is where the document wants the metrics, "" for nowhere.
func listenAt(cfg *spec.Config) string {
	if cfg == nil {
		return ""
	}
	return cfg.Metrics.Listen
}

// act offers what is there and starts what has to be done.
func (a *Agent) act(ctx context.Context, m *memory, t *turn) {
	if t.readErr != nil {
		m.said.do("inventory", t.readErr.Error(), func() { a.log.Error("cannot read the machine", "error", t.readErr) })
		return
	}
	if !t.verdict.known {
		return // nothing may be concluded yet: offer what was offered
	}
	a.cni.set(t.verdict.cfg)
	a.metrics.Listen(listenAt(t.verdict.cfg))
	t.bound = selection.PFs(t.verdict.cfg, t.snap)
	assignment := pool.Assign(t.verdict.cfg, t.snap, t.bound)
	v := m.health.Observe(health.From(t.verdict.cfg), t.snap, assignment, t.held, time.Now())
	m.recheck.in(v.Again)
	t.unhealthy = v.Reasons
	a.logHealth(m, v.Reasons)
	a.offered.set(v.Assignment, t.unallocatable(), t.busy, a.store.Allocations().Given)

	// Before it is applied: a bad document may follow while writes are under way.
	if doc, ok := acceptable(m, t); ok {
		if err := a.store.SetLastGood(doc); err != nil {
			a.unsaved(err)
		}
	}
	a.start(ctx, m, t, a.reclaimable(m, t))
	if err := a.store.Update(func(r record.Record) record.Record {
		next, _ := r.Proven(t.plan.Evidence(), t.verdict.hash)
		return next
	}); err != nil {
		a.unsaved(err)
	}
	idle := t.idle()
	// With a record that was lost, all PFs' force tokens are recorded at once.
	if a.store.Read() && (len(t.busy) == 0 || !a.store.Record().Lost) {
		a.acknowledge(idle)
	}
	for pf := range a.store.ForceRequests() {
		if f := t.plan.PF(pf); !t.busy[pf] && (f == nil || len(f.Steps) == 0) {
			if err := a.store.Acknowledge(pf); err != nil {
				m.said.do("force/"+pf, err.Error(), func() { a.log.Error("cannot remove force request", "pf", pf, "err", err) })
			}
		}
	}
}

// acceptable returns the document that a bad one shall not displace, and whether
// there is one. That there is none is such a state too, but not at an early start,
// when the machine config may not be loaded yet: there must have been a document, or
// a kubelet, which Talos starts later than that.
func acceptable(m *memory, t *turn) ([]byte, bool) {
	switch t.verdict.spec.State {
	case status.SpecAccepted:
		return m.newest.Data, true
	case status.SpecPartly:
		return m.newest.Data, t.verdict.keepable
	case status.SpecAbsent:
		return nil, m.present || t.answered
	}
	return nil, false
}

// acknowledge records the config's force tokens that were carried out.
func (a *Agent) acknowledge(p *plan.Plan) {
	var lost bool
	var done []string
	if err := a.store.Update(func(r record.Record) record.Record {
		lost = r.Lost
		r, done = r.Acknowledge(p.Tokens())
		return r
	}); err != nil {
		a.unsaved(err)
	}
	for _, pf := range done {
		if f := p.PF(pf); lost {
			a.log.Warn("force token ignored", "pf", pf, "name", f.Name, "force", f.ForceToken, "reason", "the record of earlier tokens was lost, so it may be an old one", "hint", "write another text")
		} else {
			a.log.Info("force token carried out, later changes wait for pods again", "pf", pf, "name", f.Name, "force", f.ForceToken)
		}
	}
}
