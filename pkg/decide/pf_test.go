package decide_test

import (
	"testing"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/apply"
	"github.com/talos-sriov/talos-sriov/pkg/cni"
	"github.com/talos-sriov/talos-sriov/pkg/decide"
	"github.com/talos-sriov/talos-sriov/pkg/plan"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// fail starts what is due and lets it fail.
func (w *world) fail(what string, due *decide.Decision, r *apply.Report) decide.Decision {
	w.t.Helper()
	w.wantStart(what, due, pfA)
	return w.look(ended(due, r)...)
}

// TestFailedWorkRests for a pause that doubles, up to five minutes; whichever way it
// failed.
func TestFailedWorkRests(t *testing.T) {
	for name, r := range map[string]*apply.Report{
		"a write failed":             failed(),
		"an interface did not come":  {Problems: []plan.Problem{{Msg: "late"}}},
		"the gate found a pod there": {Held: []use.Holder{{Pod: "p"}}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.configure("a", entry(pfA, 4))
			d := w.look()
			for _, seconds := range []int{1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300} {
				pause := time.Duration(seconds) * time.Second
				d = w.fail("due", &d, r)
				w.wantStart("at once", &d, "")
				w.wantNext("at once", &d, pause)
				w.wait(pause - 1)
				d = w.look()
				w.wantStart("a moment too early", &d, "")
				w.wantNext("a moment too early", &d, 1)
				w.wait(1)
				d = w.look()
			}
		})
	}
}

// TestOtherWorkIsDueAtOnce, and rests for a second again when it fails.
func TestOtherWorkIsDueAtOnce(t *testing.T) {
	for name, change := range map[string]func(w *world){
		"wants another value": func(w *world) { w.configure("b", withDriver(entry(pfA, 4), spec.DriverNone)) },
		"has less to do":      func(w *world) { w.write("bus/pci/drivers/igbvf/unbind", w.vf(pfA, 2)) },
		"finds another value": func(w *world) { w.write("bus/pci/devices/"+w.vf(pfA, 2)+"/driver_override", "pci-stub") },
		"waits for a pod":     func(w *world) { w.held[w.vf(pfA, 1)] = "web" },
		"waits for none": func(w *world) {
			delete(w.held, w.vf(pfA, 0))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.makeVFs(pfA, 4)
			w.held[w.vf(pfA, 0)] = "db"
			w.configure("a", withDriver(entry(pfA, 4), spec.DriverVFIO))
			d := w.look()
			for range 3 {
				d = w.fail("the work", &d, failed())
				w.wait(d.Next.Sub(w.now))
				d = w.look()
				for len(d.Start) == 0 { // it was looked whether the pod has ended
					w.wait(d.Next.Sub(w.now))
					d = w.look()
				}
			}
			d = w.fail("the work", &d, failed())
			w.wantStart("the same work", &d, "")
			change(w)
			d = w.look()
			d = w.fail("other work", &d, failed())
			w.wantStart("other work that failed", &d, "")
			w.wantNext("other work that failed", &d, time.Second)
		})
	}
}

// TestSuccessForgets what failed before; a run that had no part in a plan does not.
func TestSuccessForgets(t *testing.T) {
	w := newWorld(t)
	w.configure("a", entry(pfA, 4))
	d := w.look()
	d = w.fail("new", &d, failed())
	if p := w.memory.PFs[pfA]; p.Phase != decide.Failed || p.Pause != time.Second || len(p.Work) == 0 {
		t.Errorf("after a failure: %+v", p)
	}
	w.look(decide.Ended{PF: pfA})
	if p := w.memory.PFs[pfA]; p.Phase != decide.Failed || p.Pause != time.Second || p.Report == nil || p.Report.Err == nil {
		t.Errorf("a run that only reclaimed made it %+v", p)
	}
	w.wait(time.Second)
	d = w.look()
	d = w.fail("due again", &d, &apply.Report{})
	w.wantStart("what is left after a success is due", &d, pfA)
	d = w.fail("due", &d, failed())
	w.wantNext("failed after a success", &d, time.Second)
	w.wait(time.Second)
	d = w.look()
	w.look(ended(&d, &apply.Report{})...)
	if p := w.memory.PFs[pfA]; len(p.Work) > 0 || p.Pause != 0 || p.Report.Err != nil {
		t.Errorf("after a success: %+v", p)
	}
}

// TestRelieved: what failed because nothing could be recorded need not wait for the end
// of its pause, also when its run ended only now.
func TestRelieved(t *testing.T) {
	w := newWorld(t)
	w.configure("a", entry(pfA, 4))
	d := w.look()
	for range 5 {
		d = w.fail("due", &d, failed())
		w.wait(d.Next.Sub(w.now))
		d = w.look()
	}
	d = w.fail("due", &d, failed())
	w.wantStart("rests", &d, "")
	o := w.observe()
	o.Relieved = true
	d = w.decide(o)
	w.wantStart("relieved", &d, pfA)
	o = w.observe()
	o.Relieved, o.Ended = true, ended(&d, failed())
	d = w.decide(o)
	w.wantStart("relieved as it ended", &d, pfA)
}

// TestNextIsTheEarliest of all deadlines, as each comes on top of those before.
func TestNextIsTheEarliest(t *testing.T) {
	w := newWorld(t)
	w.settings.NetworkWait = 20 * time.Minute
	w.settings.OrphanGrace = 10 * time.Minute
	w.wantNext("nothing is known", new(w.decide(decide.Observation{})), resync)
	w.wantNext("a PF may be no uplink", new(w.look()), 20*time.Minute)
	w.wait(5 * time.Minute)
	w.wantNext("the rest of it", new(w.look()), 15*time.Minute)
	w.makeVFs(pfB, 1)
	cfg := w.configure("a", withUplink(entry(pfA, 4)), withUplink(entry(pfB, 1)))
	cfg.Health.HoldDown = spec.Duration(45 * time.Second)
	left := cni.Orphan{Evidence: cni.EvidenceNetns, Device: w.vf(pfB, 0), File: "c-net1"}
	see := func(e ...decide.Ended) decide.Decision {
		o := w.observe()
		o.Leftovers, o.Ended = []cni.Orphan{left}, e
		return w.decide(o)
	}
	d := see()
	w.wantStart("new", &d, pfA)
	w.wantNext("a leftover has its grace", &d, 10*time.Minute)
	for range 6 {
		d = see(ended(&d, failed())...)
		w.wait(w.memory.PFs[pfA].Pause)
		d = see()
	}
	d = see(ended(&d, failed())...)
	w.wantNext("failed work rests", &d, 64*time.Second)
	w.kernel.Plug(pfB, false)
	w.wantNext("a link went", new(see()), 45*time.Second)
	o := w.observe()
	o.Unconfirmed = true
	w.wantNext("the kubelet is asked again", new(w.decide(o)), 2*time.Second)
}

// withUplink needs no evidence.
func withUplink(e spec.PhysicalFunction) spec.PhysicalFunction {
	e.AllowUplink = true
	return e
}
