package decide

import (
	"slices"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/apply"
	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/op"
	"github.com/talos-sriov/talos-sriov/pkg/plan"
)

// Work that failed rests for firstPause, and each time that the same fails again twice
// as long, up to lastPause: failing writes cause kernel events of their own, and
// without this the events would drive the loop round and round.
const (
	firstPause = time.Second
	lastPause  = 5 * time.Minute
)

// ended takes in the runs that have ended.
func (m *Memory) ended(o *Observation, grace time.Duration) {
	for i := range o.Ended {
		e := &o.Ended[i]
		m.PFs[e.PF] = m.PFs[e.PF].ended(e.Plan, e.Report, o.At)
		m.reclaimed(e.Reclaimed, o.At.Add(grace))
	}
	if o.Relieved {
		for addr, p := range m.PFs {
			p.Due = o.At
			m.PFs[addr] = p
		}
	}
}

func (m *Memory) begin(pf string) {
	p := m.PFs[pf]
	p.Phase = Running
	m.PFs[pf] = p
}

// ended is p after a run of f that came to r; both are nil when the run had no part in
// a plan.
func (p PF) ended(f *plan.PFPlan, r *apply.Report, now time.Time) PF {
	switch {
	case r == nil:
	case r.Err == nil && len(r.Problems) == 0 && len(r.Held) == 0:
		p.Report, p.Work, p.Pause = r, nil, 0
	default:
		pause := firstPause
		if sameWork(p.Work, f.Steps) {
			pause = min(2*p.Pause, lastPause)
		}
		p.Report, p.Work, p.Pause, p.Due = r, f.Steps, pause, now.Add(pause)
		if r.Stuck {
			p.Due = now // nothing starts before the kernel has answered
		}
	}
	p.Phase = Idle
	if len(p.Work) > 0 {
		p.Phase = Failed
	}
	return p
}

// due reports whether the steps may run now, and not only at p.Due.
func (p PF) due(steps []plan.Step, now time.Time) bool {
	return p.Phase != Failed || !sameWork(p.Work, steps) || !now.Before(p.Due)
}

// sameWork reports whether the same is to be done: the same steps from the same state.
func sameWork(x, y []plan.Step) bool {
	return slices.EqualFunc(x, y, func(a, b plan.Step) bool {
		return a.ID == b.ID && (len(a.Wait) > 0) == (len(b.Wait) > 0) &&
			op.Equal(a.Op.From(), b.Op.From()) && op.Equal(a.Op.Want(), b.Op.Want())
	})
}

// ready reports whether any step of the PF waits for nobody.
func ready(f *plan.PFPlan) bool { return len(plan.Held(f)) < len(f.Steps) }

// drifted takes in the plan of the PFs on which no run is under way, under the config
// with the hash, and returns those that were as that config says and are not any more:
// somebody, or something, changed them.
func (m *Memory) drifted(idle *plan.Plan, hash string, snap *inventory.Snapshot) []Drifted {
	var out []Drifted
	for i := range idle.PFs {
		f := &idle.PFs[i]
		p, found := m.PFs[f.Address].settle(f, hash)
		m.PFs[f.Address] = p
		if found {
			d := changed(snap.PF(f.Address), f.Steps)
			d.PF, d.Times = f.Address, p.Drift
			out = append(out, d)
		}
	}
	return out
}

// settle is p after a plan under the config with the hash, and whether that shows a
// change by somebody else.
func (p PF) settle(f *plan.PFPlan, hash string) (PF, bool) {
	switch {
	case len(f.Steps) == 0 && len(f.Problems) == 0:
		p.Settled = hash
	case len(f.Steps) > 0 && !slices.ContainsFunc(f.Steps, func(s plan.Step) bool { return s.Op.Writes() }):
		// The kernel is not done yet: a driver that binds late, for example.
	case len(f.Steps) > 0 && hash != "" && p.Settled == hash:
		p.Settled = ""
		p.Drift++
		return p, true
	case p.Settled != hash:
		p.Settled = ""
	}
	return p, false
}

// changed is what somebody changed, of a plan that writes: the first thing that is now
// not as the plan leaves it in the end. What only changes on the way there (autoprobe
// while VFs are made) nobody changed, and a driver is unbound and probed for something
// else that is named first.
func changed(pf *inventory.PF, steps []plan.Step) Drifted {
	end := map[string]op.Value{} // by object
	for i := range steps {
		end[steps[i].Op.Object()] = steps[i].Op.Want()
	}
	var first Drifted
	for i := range steps {
		o := steps[i].Op
		if !o.Writes() {
			continue
		}
		found, known := o.Read(pf)
		d := Drifted{Object: o.Object(), Found: found, Want: end[o.Object()]}
		switch o.(type) {
		case op.UnbindVF, op.ProbeVF:
			d.Want = o.Want() // one object for all VFs
		default:
			if known && !op.Equal(d.Found, d.Want) {
				return d
			}
		}
		if first.Object == "" {
			first = d
		}
	}
	return first
}
