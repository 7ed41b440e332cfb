package decide_test

import (
	"errors"
	"testing"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/decide"
	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// TestNothingConcluded from a machine that could not be read or was not: nothing
// starts, is accepted or offered, and what was known stays known.
func TestNothingConcluded(t *testing.T) {
	for name, o := range map[string]decide.Observation{
		"not read":       {},
		"cannot be read": {Snapshot: &inventory.Snapshot{}, Err: errors.New("no /sys")},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.configure("a", entry(pfA, 4), entry(pfB, 2))
			run := w.look()
			w.wantStart("new", &run, pfA+" "+pfB)
			w.makeVFs(pfB, 2)
			w.look(ended(&run, failed())[0])
			before := w.memory
			w.wait(time.Minute)
			d := w.decide(o)
			if d.Known || d.Plan != nil || d.Pools != nil || len(d.Withdrawn)+len(d.Start)+len(d.Acknowledged)+len(d.Drifted) > 0 || d.Accept != nil || d.Tokens != nil {
				t.Errorf("concluded %+v", d)
			}
			if d.Config != w.config.Newest.Config || d.Hash != "a" {
				t.Errorf("the config in force is %q", d.Hash)
			}
			if dump(before.PFs, before.Health, before.Leftovers) != dump(w.memory.PFs, w.memory.Health, w.memory.Leftovers) {
				t.Error("what was known of the machine is forgotten")
			}
			w.wantNext("nothing read", &d, resync)
			d = w.look()
			w.wantStart("read again", &d, pfA)
			if got := w.memory.Running(); !got[pfB] {
				t.Errorf("under way are %v", got)
			}
		})
	}
}

// TestRunsEndAlsoUnseen: a run that ends while the machine cannot be read has ended.
func TestRunsEndAlsoUnseen(t *testing.T) {
	w := newWorld(t)
	w.configure("a", entry(pfA, 4))
	d := w.look()
	w.decide(decide.Observation{Err: errors.New("no /sys"), Ended: ended(&d, failed())})
	if p := w.memory.PFs[pfA]; p.Phase != decide.Failed || p.Pause != time.Second {
		t.Errorf("%+v", p)
	}
}

// TestUnreadMachineIsNotQuiet: a PF must be seen quiet at every look. One at which
// nothing could be read begins again.
func TestUnreadMachineIsNotQuiet(t *testing.T) {
	w := newWorld(t)
	w.settings.NetworkWait = 10 * time.Second
	w.configure("a", entry(pfA, 4))
	d := w.look()
	w.wantStart("seen once", &d, "")
	w.wantNext("seen once", &d, 10*time.Second)
	w.wait(9 * time.Second)
	w.decide(decide.Observation{Snapshot: &inventory.Snapshot{}, Err: errors.New("no /sys")})
	w.wait(time.Second)
	d = w.look()
	w.wantStart("after ten seconds with a gap", &d, "")
	w.wantNext("after ten seconds with a gap", &d, 10*time.Second)
	w.wait(10 * time.Second)
	d = w.look()
	w.wantStart("after ten seconds without", &d, pfA)
}

// TestQuietIsSeenWithoutAConfig: the ports are watched before it is known what is
// wanted of them.
func TestQuietIsSeenWithoutAConfig(t *testing.T) {
	w := newWorld(t)
	w.settings.NetworkWait = 10 * time.Second
	w.look()
	w.wait(10 * time.Second)
	w.configure("a", entry(pfA, 4))
	d := w.look()
	w.wantStart("the config comes", &d, pfA)
}

// TestAskAgain: what ends without an event of the kernel is asked for.
func TestAskAgain(t *testing.T) {
	const soon = 2 * time.Second
	for name, c := range map[string]struct {
		found func(w *world, o *decide.Observation)
		want  time.Duration
	}{
		"nothing":           {func(*world, *decide.Observation) {}, resync},
		"a VF is open":      {func(w *world, o *decide.Observation) { o.Open = map[string]use.Answer{w.vf(pfA, 0): {State: use.Open}} }, soon},
		"not all is listed": {func(_ *world, o *decide.Observation) { o.Unconfirmed = true }, soon},
		"a pod has it under another name": {func(w *world, o *decide.Observation) {
			w.held[w.vf(pfA, 0)] = "web"
			*o = w.observe()
			o.Use.Devices[w.vf(pfA, 0)].Holders[0].Resource = "example.com/old"
		}, soon},
		"a pod has it under its own": {func(w *world, o *decide.Observation) {
			w.held[w.vf(pfA, 0)] = "web"
			*o = w.observe()
		}, resync},
		"a change waits":         {func(w *world, o *decide.Observation) { w.shrink(o) }, soon},
		"it waits on another PF": {func(w *world, o *decide.Observation) { w.makeVFs(pfB, 1); w.shrink(o) }, soon},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.makeVFs(pfA, 4)
			w.configure("a", entry(pfA, 4))
			o := w.observe()
			c.found(w, &o)
			w.wantNext(name, new(w.decide(o)), c.want)
		})
	}
}

// shrink makes a config that wants fewer VFs, one of which a pod has.
func (w *world) shrink(o *decide.Observation) {
	w.held[w.vf(pfA, 1)] = "web"
	w.configure("b", withDriver(entry(pfA, 2), spec.DriverDefault))
	*o = w.observe()
}
