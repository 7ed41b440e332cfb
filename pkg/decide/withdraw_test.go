package decide_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/decide"
	"github.com/talos-sriov/talos-sriov/pkg/pool"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// fault is one thing for which VF 1 of the PF is withdrawn.
type fault struct {
	cause   pool.Cause
	machine func(w *world)
	entry   func(e *spec.PhysicalFunction)
	found   func(o *decide.Observation, vf string)
	text    string // part of the reason
	all     bool   // of all VFs of the PF, not only of VF 1
	pod     bool   // a pod is known to have VF 1
}

// faults in the order in which they win.
func faults() []fault {
	return []fault{
		{
			cause: pool.CauseNoInterface, text: "interface",
			machine: func(w *world) { w.kernel.Hold(w.vf(pfA, 1), "nobody knows") },
		},
		{
			cause: pool.CauseWaiting, text: "is waiting", all: true,
			machine: func(w *world) { w.held[w.vf(pfA, 3)] = "db" },
			entry:   func(e *spec.PhysicalFunction) { e.NumVFs = new(2) },
		},
		{
			cause: pool.CauseUnfinished, text: "not configured yet: ",
			entry: func(e *spec.PhysicalFunction) {
				e.VirtualFunctions = []spec.VFGroup{{Indexes: spec.IndexSet{1}, VLAN: &spec.VLAN{ID: 5}}}
			},
		},
		{
			cause: pool.CauseHeldElsewhere, text: "pod default/web has it as example.com/old", pod: true,
			machine: func(w *world) { w.held[w.vf(pfA, 1)] = "web" },
			found: func(o *decide.Observation, vf string) {
				o.Use.Devices[vf].Holders[0].Resource = "example.com/old"
			},
		},
		{
			cause: pool.CauseOpen, text: "no pod is known to have it",
			found: func(o *decide.Observation, vf string) {
				o.Open = map[string]use.Answer{vf: {State: use.Open, Path: "/dev/vfio/7"}}
			},
		},
		{
			cause: pool.CauseNoLink, text: "has no link", all: true,
			machine: func(w *world) { w.kernel.Plug(pfA, false) },
		},
	}
}

// withdrawn is what is withdrawn of a PF with four VFs under the faults.
func withdrawn(t *testing.T, list ...fault) (d decide.Decision, vf func(int) string) {
	t.Helper()
	w := newWorld(t)
	w.makeVFs(pfA, 4)
	e := withUplink(entry(pfA, 4)) // also without a link
	cfg := w.configure("a", e)
	cfg.Health.HoldDown = spec.Duration(time.Nanosecond)
	if d := w.look(); len(d.Withdrawn) > 0 || d.Pools.Pool(resource).Healthy() != 4 {
		t.Fatalf("withdrawn without a reason: %v", d.Withdrawn)
	}
	addresses := make([]string, 4)
	for i := range addresses {
		addresses[i] = w.vf(pfA, i)
	}
	cfg = w.configure("b", e)
	cfg.Health.HoldDown = spec.Duration(time.Nanosecond)
	for _, f := range list {
		if f.machine != nil {
			f.machine(w)
		}
		if f.entry != nil {
			f.entry(&cfg.PhysicalFunctions[0])
		}
	}
	// A link is believed to be gone at the second look.
	for range 2 {
		w.wait(time.Second)
		o := w.observe()
		for _, f := range list {
			if f.found != nil {
				f.found(&o, addresses[1])
			}
		}
		d = w.decide(o)
	}
	return d, func(i int) string { return addresses[i] }
}

// TestWithdrawn is why a device is not given out, and that the free ones beside it are.
func TestWithdrawn(t *testing.T) {
	for _, f := range faults() {
		t.Run(string(f.cause), func(t *testing.T) {
			d, vf := withdrawn(t, f)
			if got := d.Withdrawn[vf(1)]; got.Cause != f.cause || !strings.Contains(got.Text, f.text) {
				t.Errorf("withdrawn because %+v, want %s: %q", got, f.cause, f.text)
			}
			for _, i := range []int{0, 2} {
				if got, ok := d.Withdrawn[vf(i)]; ok != f.all || f.all && got.Cause != f.cause {
					t.Errorf("VF %d: %+v, want withdrawn %v", i, got, f.all)
				}
			}
			if want := map[bool]int{false: 3, true: 0}[f.all]; d.Pools.Withhold(d.Withdrawn).Pool(resource).Healthy() != want {
				t.Errorf("%d are left, want %d", d.Pools.Withhold(d.Withdrawn).Pool(resource).Healthy(), want)
			}
		})
	}
}

// TestReasonThatWins: of two, the one that is nearer to the cause.
func TestReasonThatWins(t *testing.T) {
	list := faults()
	for i, first := range list {
		for _, second := range list[i+1:] {
			t.Run(fmt.Sprintf("%s and %s", first.cause, second.cause), func(t *testing.T) {
				want := first.cause
				if second.pod && first.cause != pool.CauseWaiting {
					want = second.cause // the interface is in that pod, and what a pod has is not written to
				}
				d, vf := withdrawn(t, first, second)
				if got := d.Withdrawn[vf(1)]; got.Cause != want {
					t.Errorf("withdrawn because %+v, want %s", got, want)
				}
			})
		}
	}
}

// TestHeldUnderItsOwnName is no reason: the pod keeps a device that is healthy.
func TestHeldUnderItsOwnName(t *testing.T) {
	w := newWorld(t)
	w.makeVFs(pfA, 2)
	w.configure("a", entry(pfA, 2))
	w.held[w.vf(pfA, 0)] = "web"
	w.kernel.Hold(w.vf(pfA, 0), "web")
	if d := w.look(); len(d.Withdrawn) > 0 {
		t.Errorf("withdrawn: %v", d.Withdrawn)
	}
	// A holder whose resource name is not known may have it under this one.
	o := w.observe()
	o.Use.Devices[w.vf(pfA, 0)].Holders[0].Resource = ""
	if d := w.decide(o); len(d.Withdrawn) > 0 {
		t.Errorf("withdrawn: %v", d.Withdrawn)
	}
}

// TestHeldDeviceStaysInItsPool when it leaves the machine: the pod still has it.
func TestHeldDeviceStaysInItsPool(t *testing.T) {
	w := newWorld(t)
	w.makeVFs(pfA, 2)
	w.configure("a", entry(pfA, 2))
	w.look()
	vf := w.vf(pfA, 1)
	w.held[vf] = "web"
	w.makeVFs(pfA, 1)
	d := w.look()
	p := d.Pools.Pool(resource)
	if len(p.Devices) != 2 || p.Healthy() != 1 {
		t.Errorf("%+v", p.Devices)
	}
	delete(w.held, vf)
	d = w.look()
	if p := d.Pools.Pool(resource); len(p.Devices) != 1 {
		t.Errorf("nobody has it, and the pool has %+v", p.Devices)
	}
}
