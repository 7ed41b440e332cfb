package agent

import (
	"context"
	"runtime/debug"
	"slices"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/apply"
	"github.com/talos-sriov/talos-sriov/pkg/cni"
	"github.com/talos-sriov/talos-sriov/pkg/health"
	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/op"
	"github.com/talos-sriov/talos-sriov/pkg/plan"
	"github.com/talos-sriov/talos-sriov/pkg/pool"
	"github.com/talos-sriov/talos-sriov/pkg/record"
	"github.com/talos-sriov/talos-sriov/pkg/selection"
	"github.com/talos-sriov/talos-sriov/pkg/source"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/status"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// turn is one round of the loop: what was seen, what was decided.
type turn struct {
	verdict verdict
	snap    *inventory.Snapshot
	evidence
	quiet plan.Quiet
	plan  *plan.Plan
	bound selection.Result
	// unhealthy are the devices that are not healthy.
	unhealthy map[string]pool.Reason
	// busy tells of each PF whether a run is under way on it.
	busy    map[string]bool
	readErr error
}

// memory is what the loop carries from one turn to the next.
type memory struct {
	newest *source.Document
	// present is set once there was a document.
	present bool
	parsed  documents
	// reports are the outcomes of the last runs, by PF.
	reports map[string]*apply.PFReport
	// runs are the runs under way, by PF: a PF whose driver takes its time keeps
	// no other from being worked on. Each ends with a message on done.
	runs    map[string]*plan.Plan
	done    chan ended
	orphans orphans
	retries retries
	drift   drift
	quiet   quiet
	again   *time.Timer // when a failed step may be tried again
	health  health.Judge
	// unhealthy is as last logged.
	unhealthy map[string]pool.Reason
	judge     *time.Timer // when the health is to be judged again
	// last identifies the last status, and saved is true when it reached the file.
	last  status.Sum
	saved bool
	said  once
	// unwritable says why the state directory, which is there, cannot be written.
	unwritable error
	// turned is when the last turn was over, and turn what it took.
	turned time.Time
	turn   time.Duration
}

// ended is what the run on a PF came to. report is nil when the plan had no part
// in it. pf is "" for what belongs to no PF.
type ended struct {
	pf     string
	report *apply.Report
	taken  []reclaimed
}

// restAfter is how long after its last look the loop gives back the memory that
// the looks needed: on a node with thousands of VFs that is several times what it
// needs to wait for the next, which may be minutes away.
const restAfter = time.Second

// afterKubelet is how long after news from the device plugin the machine is looked
// at. A kubelet that starts gives it some ten milliseconds to register before it
// looks at its pods; a look at the machine would take from them.
const afterKubelet = time.Second

// loop waits for something to happen, and then does everything anew.
func (a *Agent) loop(ctx context.Context) error {
	m := &memory{
		retries: retries{}, drift: drift{}, quiet: newQuiet(), again: time.NewTimer(time.Hour), judge: time.NewTimer(time.Hour),
		orphans: orphans{known: map[cni.Orphan]*leftover{}, timer: time.NewTimer(time.Hour)},
		reports: map[string]*apply.PFReport{}, runs: map[string]*plan.Plan{}, done: make(chan ended),
	}
	defer m.orphans.timer.Stop()
	m.orphans.timer.Stop()
	defer m.again.Stop()
	m.again.Stop()
	defer m.judge.Stop()
	m.judge.Stop()
	resync := time.NewTicker(a.opts.Resync)
	defer resync.Stop()
	defer m.quiet.timer.Stop()
	rest := time.NewTimer(restAfter)
	defer rest.Stop()
	kubelet := time.NewTimer(time.Hour)
	defer kubelet.Stop()
	kubelet.Stop()
	// The runs under way end with ctx; their goroutines must not outlive the loop.
	defer func() {
		for range m.runs {
			<-m.done
		}
	}()

	a.open(m)
	for {
		start := time.Now()
		t := a.look(ctx, m)
		if ctx.Err() != nil {
			return nil
		}
		a.act(ctx, m, t)
		a.publish(m, t)
		m.turned = time.Now()
		m.turn = m.turned.Sub(start)
		rest.Reset(restAfter)

	wait:
		select {
		case <-ctx.Done():
			return nil
		case <-rest.C:
			debug.FreeOSMemory()
			goto wait
		case doc := <-a.source.Documents():
			a.log.Info("document", "present", doc.Present, "path", doc.Path, "bytes", len(doc.Data))
			m.newest = &doc
			m.present = m.present || doc.Present
		case <-a.wake:
			// A burst of events is one look.
			if m.newest != nil && !a.settle(ctx, a.pause(m, time.Now())) {
				return nil
			}
		case r := <-m.done:
			ran := m.runs[r.pf]
			delete(m.runs, r.pf)
			a.reclaimEnded(m, r.taken)
			if r.report != nil {
				a.outcome(m, ran, r.report)
			}
		case <-a.plugin.Changed():
			a.publish(m, t)
			kubelet.Reset(afterKubelet)
			goto wait
		case <-kubelet.C:
		case <-m.quiet.timer.C:
		case <-m.again.C:
		case <-m.judge.C:
		case <-m.orphans.timer.C:
		case <-resync.C:
		}
		a.open(m)
	}
}

// longestPause bounds what a turn that took long (a kubelet that does not answer)
// may cost the next one.
const longestPause = 250 * time.Millisecond

// pause is how long events are collected before the next turn. A write that makes
// VFs causes events all the time that it takes, and each look slows it down: the
// kernel has one lock for all network interfaces. Whatever the events are, turns
// take no more than half of a processor.
func (a *Agent) pause(m *memory, now time.Time) time.Duration {
	d := a.opts.Settle
	if len(m.runs) > 0 {
		d *= 5
	}
	return max(d, min(m.turn, longestPause)-now.Sub(m.turned))
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

// open reads the state directory when it is there, and writes what it lacks.
func (a *Agent) open(m *memory) {
	o := a.store.Open()
	if o.Damaged != nil {
		a.log.Warn("state directory damaged", "path", a.opts.StateDir, "err", o.Damaged)
	}
	if o.Made {
		m.saved = false // nor is the status there
		a.log.Warn("state directory removed and recreated", "path", a.opts.StateDir)
	}
	switch {
	case !o.Read:
		m.said.do("state", "wait", func() {
			a.log.Info("state directory missing, state kept in memory", "path", a.opts.StateDir, "err", o.Unwritable)
		})
		m.unwritable = nil
	case o.Unwritable != nil:
		m.said.do("state", o.Unwritable.Error(), func() { a.unsaved(o.Unwritable) })
		m.unwritable = o.Unwritable
	default:
		m.said.do("state", "ok", func() { a.log.Info("state directory in use", "path", a.opts.StateDir) })
		a.unsavedOnce.do("", "", func() {})
		if m.unwritable != nil {
			clear(m.retries) // what failed because no intent could be recorded need not wait
		}
		m.unwritable = nil
	}
}

func (a *Agent) read(ctx context.Context, n inventory.Needs) (*inventory.Snapshot, error) {
	return inventory.ReadNeeded(ctx, a.opts.Sysfs, a.opts.Network, n)
}

// look reads the world and computes the plan. It changes nothing.
func (a *Agent) look(ctx context.Context, m *memory) *turn {
	a.collector.reconcile()
	t := &turn{verdict: decide(m.newest, a.store.LastGood(), m.parsed.load)}
	if m.newest == nil {
		// Nothing may be done yet, and the document comes in a moment: the
		// first list shall not wait for a look that nobody needs.
		t.snap = &inventory.Snapshot{}
		return t
	}
	t.snap, t.readErr = a.read(ctx, needs(t.verdict, a.store.Record(), a.offered.assignment()))
	if t.readErr != nil {
		t.snap = &inventory.Snapshot{}
	}
	t.quiet = m.quiet.see(t.snap, a.opts.NetworkWait)
	if t.readErr != nil {
		return t
	}
	a.seen.Store(t.snap)
	t.evidence = a.holders(ctx, t.snap)
	if !t.verdict.known {
		return t
	}
	t.plan, t.verdict = a.compute(t)
	t.busy = m.busy()
	// What is seen between our own writes is nobody's change.
	for _, pf := range m.drift.seen(t.idle(), t.verdict.hash) {
		steps := t.plan.PF(pf).Steps
		s := &steps[slices.IndexFunc(steps, writes)]
		a.log.Warn("changed by somebody else, will be repaired", "pf", pf, "times", m.drift[pf].count, "path", s.Op.Object(), "found", op.Text(s.Op.From()), "want", op.Text(s.Op.Want()))
	}
	return t
}

// busy are the PFs on which a run is under way.
func (m *memory) busy() map[string]bool {
	out := make(map[string]bool, len(m.runs))
	for pf := range m.runs {
		out[pf] = true
	}
	return out
}

// idle is the plan for the PFs on which no run is under way.
func (t *turn) idle() *plan.Plan {
	out := &plan.Plan{Configured: t.plan.Configured, ForceTokens: t.plan.ForceTokens}
	for i := range t.plan.PFs {
		if !t.busy[t.plan.PFs[i].Address] {
			out.PFs = append(out.PFs, t.plan.PFs[i])
		}
	}
	return out
}

// compute is the plan under the config in force, or, on the PFs where that
// cannot be had, under the last good one.
func (a *Agent) compute(t *turn) (*plan.Plan, verdict) {
	v := t.verdict
	in := plan.Input{
		Config: v.cfg, SpecHash: v.hash, Snapshot: t.snap, Use: t.use,
		Quiet: t.quiet, Record: a.store.Record(), BootID: a.bootID, Force: a.store.ForceRequests(),
	}
	p := plan.Compute(in)
	bad := refused(p)
	if len(bad) == 0 {
		return p, v
	}
	if v.spec.State == status.SpecAccepted {
		v.spec.State = status.SpecPartly
	}
	if v.good == nil {
		v.keepable = true
		return p, v
	}
	v.cfg = keep(v.cfg, v.good, selection.PFs(v.good, t.snap), bad)
	in.Config = v.cfg
	kept := plan.Compute(in)
	stillBad := refused(kept)
	v.keepable = true
	for _, pf := range bad {
		from, to := p.PF(pf), kept.PF(pf)
		if to != nil && !slices.Contains(stillBad, pf) {
			v.keepable = false // the older document has something better for this PF
		}
		if from != nil && to != nil {
			// What the newest config got wrong comes first, and with its place.
			to.Problems = append(append([]plan.Problem(nil), from.Problems...), to.Problems...)
			to.Entry = from.Entry
		} else if from != nil {
			kept.PFs = append(kept.PFs, *from)
		}
	}
	kept.Notices, kept.Problems = p.Notices, p.Problems
	return kept, v
}

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
	m.judge.Stop()
	if v.Again > 0 {
		m.judge.Reset(v.Again)
	}
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

// start runs what may run of the plan, in the background and each PF for itself:
// a write that takes its time must not keep other PFs from being worked on, nor
// their pools from being looked after.
func (a *Agent) start(ctx context.Context, m *memory, t *turn, orphans []cni.Orphan) {
	due, wait := m.retries.due(t.idle(), time.Now())
	if (waiting(t.plan) || len(t.open) > 0 || use.Unlisted(a.store.Allocations().Notes)) && (wait == 0 || wait > askAgain) {
		wait = askAgain
	}
	m.again.Stop()
	if wait > 0 {
		m.again.Reset(wait)
	}
	left := map[string][]cni.Orphan{}
	for _, o := range orphans {
		if pf := t.pfOf(o.Device); !t.busy[pf] {
			left[pf] = append(left[pf], o) // else it is looked at when that run is over
		}
	}
	work := map[string]*plan.Plan{}
	for pf := range left {
		work[pf] = nil
	}
	if due != nil {
		for i := range due.PFs {
			work[due.PFs[i].Address] = &plan.Plan{PFs: due.PFs[i : i+1]}
		}
	}
	for pf, p := range work {
		m.runs[pf] = p
		t.busy[pf] = true
		go func() {
			e := ended{pf: pf}
			// First, so that what is not as the config says of a VF that came
			// back is seen by the look after this run.
			e.taken = a.reclaim(ctx, t, left[pf])
			if p != nil {
				e.report = a.applier.Run(ctx, p)
			}
			m.done <- e
		}()
	}
}

// outcome takes in and logs what a run came to.
func (a *Agent) outcome(m *memory, ran *plan.Plan, r *apply.Report) {
	m.retries.ended(ran, r, time.Now())
	for i := range r.PFs {
		f := &r.PFs[i]
		m.reports[f.Address] = f
		if f.Err != nil {
			m.said.do("run/"+f.Address, f.Err.Error(), func() { a.log.Error("not applied", "pf", f.Address, "name", f.Name, "error", f.Err) })
			continue
		}
		m.said.do("run/"+f.Address, "", func() {})
	}
}
