package agent

import (
	"context"
	"runtime/debug"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/decide"
	"github.com/talos-sriov/talos-sriov/pkg/pool"
	"github.com/talos-sriov/talos-sriov/pkg/record"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/status"
)

// restAfter is how long after its last pass the loop gives back the memory that
// the passes needed: on a node with thousands of VFs that is several times what it
// needs to wait for the next, which may be minutes away.
const restAfter = time.Second

// afterKubelet is how long after news from the device plugin the machine is
// read. A kubelet that starts gives it some ten milliseconds to register before it
// looks at its pods; a pass would take from them.
const afterKubelet = time.Second

// loop is what one pass leaves for the next.
type loop struct {
	agent   *Agent
	workers *workers
	configs configs
	state   stateDir
	// relieved: the state directory can be written again.
	relieved bool

	memory   decide.Memory
	decision decide.Decision
	// offered is what the last decision that could be made offers.
	offered *pool.Assignment
	// status is what was reported last, written whether it reached its file.
	status  *status.Status
	sum     status.Sum
	written bool

	finished time.Time     // when the last pass was over
	took     time.Duration // how long it was
}

// loop waits for something to happen, and then observes, decides, starts what is
// missing and reports.
func (a *Agent) loop(ctx context.Context) error {
	l := &loop{agent: a, workers: &workers{agent: a}}
	defer l.workers.wg.Wait() // they end with ctx
	for {
		start := time.Now()
		a.watchdog.begin(start)
		l.open()
		o := l.observe(ctx)
		if ctx.Err() == nil {
			l.logRuns(o.Ended)
			l.decision, l.memory = decide.Decide(l.configs.now(), a.settings(), o.Observation, l.memory)
			l.dispatch(ctx, &o)
			l.publish(&o)
		}
		l.finished = time.Now()
		l.took = l.finished.Sub(start)
		a.watchdog.end(l.finished)
		if !l.wait(ctx, &o) {
			return nil
		}
	}
}

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
	a.offer(a.ledger.Offer(o.question, d.Pools, d.Withdrawn))
	l.offered = d.Pools.Withhold(d.Withdrawn)
	// Before anything is applied: a bad config may follow while writes are under way.
	if d.Accept != nil {
		a.saved(a.store.SetLastGood(d.Accept.Data))
	}
	for _, work := range d.Start {
		l.workers.start(ctx, work, o.Snapshot)
	}
	l.record()
	for _, pf := range d.Obeyed {
		if err := a.store.Acknowledge(pf); err != nil {
			a.log.Error("cannot remove force request", "pf", pf, "err", err)
		}
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

// wait returns true when the next pass is due, and false when ctx has ended. o is what
// the last one observed.
func (l *loop) wait(ctx context.Context, o *observed) bool {
	a, due := l.agent, l.decision.Next
	rest := l.finished.Add(restAfter) // zero once the memory was given back
	alarm := time.NewTimer(0)
	defer alarm.Stop()
	for {
		alarm.Reset(time.Until(sooner(due, rest)))
		select {
		case <-ctx.Done():
			return false
		case <-alarm.C:
			if rest.IsZero() || !time.Now().Before(due) {
				return true
			}
			debug.FreeOSMemory()
			rest = time.Time{}
		case <-a.plugin.Changed():
			l.publish(o)
			due = sooner(due, time.Now().Add(afterKubelet))
		case doc := <-a.source.Documents():
			a.log.Info("config received", "present", doc.Present, "path", doc.Path, "bytes", len(doc.Data))
			l.configs.accept(&doc)
			return true
		case <-a.wake:
			// A burst of events is one pass.
			return l.configs.newest == nil || a.settle(ctx, l.pause(time.Now()))
		}
	}
}

// sooner is the earlier of two times; a zero one is none.
func sooner(x, y time.Time) time.Time {
	if y.IsZero() || !x.IsZero() && x.Before(y) {
		return x
	}
	return y
}

// longestPause bounds what a pass that took long (a kubelet that does not answer)
// may cost the next one.
const longestPause = 250 * time.Millisecond

// pause is how long events are collected before the next pass. A write that makes
// VFs causes events all the time that it takes, and each read slows it down: the
// kernel has one lock for all network interfaces. Whatever the events are, passes
// take no more than half of a processor.
func (l *loop) pause(now time.Time) time.Duration {
	d := l.agent.opts.Settle
	if len(l.memory.Running()) > 0 {
		d *= 5
	}
	return max(d, min(l.took, longestPause)-now.Sub(l.finished))
}

// settle lets a burst of events pass.
func (a *Agent) settle(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
	}
	select {
	case <-a.wake:
	default:
	}
	return true
}
