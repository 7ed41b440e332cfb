package agent

import (
	"context"
	"errors"

	"github.com/talos-sriov/talos-sriov/pkg/decide"
	"github.com/talos-sriov/talos-sriov/pkg/record"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

// listenAt is where the config wants the metrics, "" for nowhere.
func listenAt(cfg *spec.Config) string {
	if cfg == nil {
		return ""
	}
	return cfg.Metrics.Listen
}

func (a *Agent) settings() decide.Settings {
	return decide.Settings{BootID: a.bootID, Resync: a.opts.Resync, NetworkWait: a.opts.NetworkWait, OrphanGrace: a.opts.OrphanGrace}
}

// dispatch does what was decided.
func (l *loop) dispatch(ctx context.Context, o *observed) {
	a, d := l.agent, &l.decision
	l.logDrift()
	if !d.Known {
		return // nothing may be concluded yet: what is offered stays offered
	}
	a.cni.set(d.Config)
	a.metrics.Listen(listenAt(d.Config))
	offered := a.ledger.Offer(o.question, d.Pools, d.Withdrawn)
	a.offer(offered)
	l.offered = offered.Assignment
	// Before anything is applied: a bad config may follow while writes are under way.
	if d.Accept != nil {
		a.saved(a.store.SetLastGood(d.Accept.Data))
	}
	for _, work := range d.Start {
		l.workers.start(ctx, work, o.Snapshot)
	}
	l.record()
	var errs []error
	for _, pf := range d.Acknowledged {
		errs = append(errs, a.store.Acknowledge(pf))
	}
	if err := errors.Join(errs...); a.unremoved.news(err) {
		a.log.Error("cannot remove force requests that were carried out", "err", err)
	}
}

// record records which PFs were proven to be no uplink, and which force tokens were
// carried out.
func (l *loop) record() {
	a, d := l.agent, &l.decision
	var done []string
	lost := false
	a.saved(a.store.Update(func(r record.Record) record.Record {
		r, _ = r.Proven(d.Plan.Evidence(), d.Hash)
		if d.Tokens != nil {
			lost = r.Lost
			r, done = r.Acknowledge(*d.Tokens)
		}
		return r
	}))
	for _, pf := range done {
		f := d.Plan.PF(pf)
		if lost {
			a.log.Warn("force token ignored", "pf", pf, "name", f.Name, "force", f.ForceToken, "reason", "the record of earlier tokens was lost, so it may be an old one", "hint", "write another text")
		} else {
			a.log.Info("force token carried out, later changes wait for pods again", "pf", pf, "name", f.Name, "force", f.ForceToken)
		}
	}
}
