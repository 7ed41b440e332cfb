package decide_test

import (
	"errors"
	"testing"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/apply"
	"github.com/talos-sriov/talos-sriov/pkg/cni"
	"github.com/talos-sriov/talos-sriov/pkg/decide"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

// left is a machine on which a pod left a VF behind.
type left struct {
	*world
	orphan cni.Orphan
	there  bool
}

func newLeft(t failing, evidence cni.Evidence) *left {
	w := newWorld(t)
	w.makeVFs(pfA, 2)
	w.configure("a", entry(pfA, 2))
	return &left{world: w, orphan: cni.Orphan{Evidence: evidence, Device: w.vf(pfA, 0), File: "c-net1"}, there: true}
}

func (l *left) see(e ...decide.Ended) decide.Decision {
	l.t.Helper()
	o := l.observe()
	o.Ended = e
	if l.there {
		o.Leftovers = []cni.Orphan{l.orphan}
	}
	return l.decide(o)
}

// wantReason holds what is known of the leftover.
func (l *left) wantReason(what, want string) {
	l.t.Helper()
	if got := l.memory.Leftovers[l.orphan]; got.Reason != want || got.Since.IsZero() {
		l.t.Fatalf("%s: %+v, want reason %q", what, got, want)
	}
}

// reclaimed is the end of the runs of d.
func reclaimed(d *decide.Decision, busy string, err error) []decide.Ended {
	out := ended(d, nil)
	i := 0
	for _, work := range d.Start {
		for _, r := range work {
			for _, o := range r.Reclaim {
				out[i].Reclaimed = append(out[i].Reclaimed, decide.Reclaimed{Orphan: o, Busy: busy, Err: err})
			}
			i++
		}
	}
	return out
}

// TestLeftoverIsReclaimed after its grace, and counted.
func TestLeftoverIsReclaimed(t *testing.T) {
	l := newLeft(t, cni.EvidenceNetns)
	d := l.see()
	l.wantStart("found", &d, "")
	l.wantNext("found", &d, grace)
	l.wantReason("found", "")
	l.wait(grace - 1)
	d = l.see()
	l.wantStart("within its grace", &d, "")
	l.wantNext("within its grace", &d, 1)
	l.wait(1)
	d = l.see()
	l.wantStart("after it", &d, "-"+pfA+"+1")
	during := l.see()
	l.wantStart("while it is reclaimed", &during, "")
	l.there = false
	d = l.see(reclaimed(&d, "", nil)...)
	l.wantStart("reclaimed", &d, "")
	if m := l.memory; m.Reclaimed != 1 || len(m.Leftovers) > 0 {
		t.Errorf("reclaimed %d, left %v", m.Reclaimed, m.Leftovers)
	}
	l.wantNext("reclaimed", &d, resync)
}

// TestLeftoverThatComesBack, as it is listed again after it was reclaimed, is not
// reclaimed round and round.
func TestLeftoverThatComesBack(t *testing.T) {
	l := newLeft(t, cni.EvidenceNetns)
	l.see()
	l.wait(grace)
	run := l.see()
	d := l.see(reclaimed(&run, "", nil)...)
	l.wantStart("just reclaimed", &d, "")
	l.wantNext("just reclaimed", &d, grace)
	l.wait(grace)
	d = l.see()
	l.wantStart("after its grace", &d, "-"+pfA+"+1")
}

// TestLeftoverThatWasGivenBack by the container runtime is forgotten: another one of
// the same name has a grace of its own.
func TestLeftoverThatWasGivenBack(t *testing.T) {
	l := newLeft(t, cni.EvidenceNetns)
	l.see()
	l.wait(grace - time.Second)
	l.there = false
	l.see()
	l.there = true
	l.wait(time.Second)
	d := l.see()
	l.wantStart("a new one", &d, "")
	l.wantNext("a new one", &d, grace)
	if l.memory.Reclaimed != 0 {
		t.Errorf("reclaimed %d", l.memory.Reclaimed)
	}
}

// TestLeftoverInUse is not touched as long as anybody has the VF.
func TestLeftoverInUse(t *testing.T) {
	l := newLeft(t, cni.EvidenceNetns)
	l.held[l.orphan.Device] = "web"
	l.see()
	l.wait(grace)
	for range 3 {
		d := l.see()
		l.wantStart("in use", &d, "")
		l.wantReason("in use", "in use: pod default/web")
		l.wantNext("in use", &d, grace) // its holder may go without an event
		l.wait(grace)
	}
	delete(l.held, l.orphan.Device)
	d := l.see()
	l.wantStart("free", &d, "-"+pfA+"+1")
	l.wantReason("free", "")
}

// TestLeftoverFiles need no evidence of use: the VF is not touched.
func TestLeftoverFiles(t *testing.T) {
	l := newLeft(t, cni.EvidenceBoot)
	l.held[l.orphan.Device] = "web"
	l.see()
	l.wait(grace)
	d := l.see()
	l.wantStart("files alone", &d, "-"+pfA+"+1")
}

// TestLeftoverThatStays: who has the VF, or what went wrong, is known until it is tried
// again.
func TestLeftoverThatStays(t *testing.T) {
	for name, c := range map[string]struct {
		busy string
		err  error
		want string
	}{
		"the gate found a pod": {busy: "in use: pod default/web", want: "in use: pod default/web"},
		"it failed":            {err: errors.New("the PF said no"), want: "the PF said no"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLeft(t, cni.EvidenceNetns)
			l.see()
			l.wait(grace)
			d := l.see()
			for range 3 {
				l.wantStart("due", &d, "-"+pfA+"+1")
				l.wait(time.Minute)
				d = l.see(reclaimed(&d, c.busy, c.err)...)
				l.wantStart("just tried", &d, "")
				l.wantReason("just tried", c.want)
				l.wantNext("just tried", &d, grace)
				l.wait(grace)
				d = l.see()
			}
			if l.memory.Reclaimed != 0 {
				t.Errorf("reclaimed %d", l.memory.Reclaimed)
			}
		})
	}
}

// TestLeftoverOfAnotherPlugin, or without a config, is not ours.
func TestLeftoverOfAnotherPlugin(t *testing.T) {
	for name, off := range map[string]func(w *world){
		"not installed": func(w *world) { w.configure("b", entry(pfA, 2)).CNI.Install = spec.CNIInstallOff },
		"no config":     func(w *world) { w.config.Newest = newest("absent") },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLeft(t, cni.EvidenceNetns)
			l.see()
			off(l.world)
			l.wait(grace)
			d := l.see()
			l.wantStart("off", &d, "")
			if len(l.memory.Leftovers) > 0 {
				t.Errorf("left are %v", l.memory.Leftovers)
			}
		})
	}
}

// TestLeftoverAndWork on one PF are one run; what comes while one is under way waits
// for its end.
func TestLeftoverAndWork(t *testing.T) {
	l := newLeft(t, cni.EvidenceNetns)
	l.see()
	l.wait(grace)
	l.configure("b", entry(pfA, 2), entry(pfB, 3))
	l.makeVFs(pfA, 1)
	d := l.see()
	l.wantStart("both", &d, pfA+"+1 "+pfB)

	l = newLeft(t, cni.EvidenceNetns)
	l.makeVFs(pfA, 1)
	run := l.see()
	l.wantStart("work", &run, pfA)
	l.wait(grace)
	d = l.see()
	l.wantStart("a run is under way", &d, "")
	l.makeVFs(pfA, 2)
	d = l.see(ended(&run, &apply.Report{})...)
	l.wantStart("it is over", &d, "-"+pfA+"+1")
}

// TestLeftoverOfNoVF: its VF is no more, and so are its PF's runs nothing to it.
func TestLeftoverOfNoVF(t *testing.T) {
	l := newLeft(t, cni.EvidenceNetns)
	l.makeVFs(pfA, 0)
	run := l.see()
	l.wantStart("the VFs are gone", &run, pfA)
	l.wait(grace)
	d := l.see()
	l.wantStart("a run on the PF is under way", &d, "-+1")
	again := l.see()
	l.wantStart("it is reclaimed", &again, "")
	l.there = false
	l.see(reclaimed(&d, "", nil)...)
	if l.memory.Reclaimed != 1 {
		t.Errorf("reclaimed %d", l.memory.Reclaimed)
	}
}
