package decide

import (
	"slices"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/health"
	"github.com/talos-sriov/talos-sriov/pkg/plan"
	"github.com/talos-sriov/talos-sriov/pkg/pool"
	"github.com/talos-sriov/talos-sriov/pkg/status"
)

// askAgain is how often the kubelet is asked while it has not confirmed what it was
// given, and while something waits for an end that is no kernel event, as that of a
// pod that holds a device by vfio.
const askAgain = 2 * time.Second

// Decide is the whole decision. See the package.
func Decide(c Config, s Settings, o Observation, m Memory) (Decision, Memory) {
	m = m.clone()
	m.ended(&o, s.OrphanGrace)
	v := c.inForce()
	d := Decision{Spec: v.spec, Config: v.cfg, Hash: v.hash, Next: o.At.Add(s.Resync)}
	m.Configured = m.Configured || c.Newest != nil && c.Newest.Present
	if o.Snapshot == nil && o.Err == nil {
		return d, m
	}
	// A read that failed has seen no PF.
	quiet, next := m.Quiet.See(o.Snapshot, o.At, s.NetworkWait)
	d.within(o.At, next)
	if d.Known = v.known && o.Err == nil; !d.Known {
		return d, m
	}
	displaces := d.plan(v, s, &o, quiet)
	d.Accept = c.accepted(d.Spec.State, displaces, m.Configured, o.Answered)
	d.Drifted = m.drifted(d.idle(m.Running()), d.Hash, o.Snapshot)
	d.offer(&o, &m)
	d.start(&o, &m, m.leftovers(&d, &o, s.OrphanGrace))
	d.finish(&o, m.Running())
	return d, m
}

// within makes the next decision come after at most the time; 0 is no bound.
func (d *Decision) within(now time.Time, t time.Duration) {
	if at := now.Add(t); t > 0 && at.Before(d.Next) {
		d.Next = at
	}
}

// plan computes what is left to do. It returns whether the newest config may take the
// place of the last good one although it is not supported everywhere.
func (d *Decision) plan(v inForce, s Settings, o *Observation, quiet plan.Quiet) (displaces bool) {
	d.Plan = plan.Compute(plan.Input{
		Config: v.cfg, Good: v.good, SpecHash: v.hash, Snapshot: o.Snapshot, Use: o.Use,
		Quiet: quiet, Record: o.Record, BootID: s.BootID, Force: o.Forced,
	})
	if len(d.Plan.Refused()) > 0 && d.Spec.State == status.SpecAccepted {
		d.Spec.State = status.SpecPartly
	}
	return d.Plan.Displaces()
}

// idle is the plan for the PFs on which no run is under way.
func (d *Decision) idle(running map[string]bool) *plan.Plan {
	out := &plan.Plan{Configured: d.Plan.Configured, ForceTokens: d.Plan.ForceTokens}
	for i := range d.Plan.PFs {
		if !running[d.Plan.PFs[i].Address] {
			out.PFs = append(out.PFs, d.Plan.PFs[i])
		}
	}
	return out
}

// offer says which devices the pools have, and which of them are withdrawn.
func (d *Decision) offer(o *Observation, m *Memory) {
	assignment := pool.Assign(d.Config, o.Snapshot, d.Plan.Bound)
	v := m.Health.Observe(health.From(d.Config), o.Snapshot, assignment, func(id string) bool { return o.Held[id] }, o.At)
	d.within(o.At, v.Again)
	d.Pools, d.Withdrawn = v.Assignment, withdrawn(d.Plan, v.Assignment, o, v.Reasons)
}

// start says what starts now: per conflict group, what is due of the plan and what is
// to be reclaimed, unless something is under way there.
func (d *Decision) start(o *Observation, m *Memory, due []leftover) {
	running := m.Running()
	runs := map[string]*Run{}
	run := func(pf string) *Run {
		if runs[pf] == nil {
			runs[pf] = &Run{PF: pf}
		}
		return runs[pf]
	}
	for i := range d.Plan.PFs {
		f := &d.Plan.PFs[i]
		if !ready(f) {
			continue
		}
		if p := m.PFs[f.Address]; !p.due(f.Steps, o.At) {
			d.within(o.At, p.Due.Sub(o.At))
			continue
		}
		run(f.Address).Plan = f
	}
	for _, l := range due {
		r := run(l.pf)
		r.Reclaim = append(r.Reclaim, l.orphan)
	}
	for _, group := range append(plan.Groups(o.Snapshot), []string{""}) {
		if slices.ContainsFunc(group, func(pf string) bool { return running[pf] || o.Stuck[pf] }) {
			continue
		}
		var w Work
		for _, pf := range group {
			if r := runs[pf]; r != nil {
				w = append(w, *r)
				m.begin(pf)
			}
		}
		if len(w) > 0 {
			d.Start = append(d.Start, w)
		}
	}
	if o.Unconfirmed || len(o.Open) > 0 || waits(d.Plan) || heldElsewhere(d.Withdrawn) {
		d.within(o.At, askAgain)
	}
}

// finish says what of the operator's orders was carried out. running are the PFs on
// which a run is under way, also one that starts now.
func (d *Decision) finish(o *Observation, running map[string]bool) {
	// With a record that was lost, all PFs' force tokens are recorded at once.
	if o.Recorded && (len(running) == 0 || !o.Record.Lost) {
		t := d.idle(running).Tokens()
		d.Tokens = &t
	}
	for pf := range o.Forced {
		if found := o.Snapshot.PF(pf); found != nil && found.Silent != "" {
			continue // what is left to do on it is not known
		}
		if f := d.Plan.PF(pf); !running[pf] && (f == nil || len(f.Steps) == 0) {
			d.Acknowledged = append(d.Acknowledged, pf)
		}
	}
	slices.Sort(d.Acknowledged)
}

// waits reports whether any step waits for holders.
func waits(p *plan.Plan) bool {
	return slices.ContainsFunc(p.PFs, func(f plan.PFPlan) bool {
		return slices.ContainsFunc(f.Steps, func(s plan.Step) bool { return len(s.Wait) > 0 })
	})
}

// heldElsewhere reports whether any device is withdrawn until a pod ends.
func heldElsewhere(withdrawn map[string]pool.Reason) bool {
	for _, r := range withdrawn {
		if r.Cause == pool.CauseHeldElsewhere {
			return true
		}
	}
	return false
}
