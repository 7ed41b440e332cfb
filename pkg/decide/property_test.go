package decide_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/talos-sriov/talos-sriov/pkg/apply"
	"github.com/talos-sriov/talos-sriov/pkg/decide"
	"github.com/talos-sriov/talos-sriov/pkg/internal/modelkernel"
	"github.com/talos-sriov/talos-sriov/pkg/plan"
	"github.com/talos-sriov/talos-sriov/pkg/record"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// machine is a world in which what Decide starts is done.
type machine struct {
	*world
	applier *apply.Applier
	record  record.Record
	forced  bool // the config went over a pod
}

func newMachine(t *rapid.T) *machine {
	m := &machine{world: newWorld(t), record: record.Record{BootID: boot}}
	var err error
	m.applier, err = apply.New(m.kernel, apply.Options{
		Links: m.kernel, Journal: m, Gate: gate{m.world}, OnWrite: func(apply.Write) {}, OnAnswer: func(string) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Begin and End implement apply.Journal.
func (m *machine) Begin(_ context.Context, r record.Run, ids []string) error {
	m.record = m.record.Begin(r, ids)
	return nil
}

func (m *machine) End(_ context.Context, r record.Run, out record.Outcome) error {
	m.record = m.record.End(r, out)
	return nil
}

// gate implements apply.Gate and its claims: it finds those whom w.held says.
type gate struct{ *world }

func (g gate) Begin(string) apply.Claims { return g }

func (g gate) Claim(_ context.Context, devices []string) ([]use.Holder, error) {
	var out []use.Holder
	for _, dev := range devices {
		if name, ok := g.held[dev]; ok {
			out = append(out, pod(dev, name))
		}
	}
	return out, nil
}

func (gate) Release() {}

// pass is one pass of the loop after the runs that ended: it returns the decision and
// the runs that it came to.
func (m *machine) pass(t *rapid.T, after []decide.Ended) (decide.Decision, []decide.Ended) {
	o := m.observe()
	o.Record, o.Ended = m.record, after
	d := m.decide(o)
	if d.Next.Before(m.now) || d.Next.After(m.now.Add(resync)) {
		t.Fatalf("the next decision is at %s, and now it is %s", d.Next, m.now)
	}
	if d.Tokens != nil {
		m.record, _ = m.record.Acknowledge(*d.Tokens)
	}
	var out []decide.Ended
	for _, work := range d.Start {
		for _, r := range work {
			if _, ok := m.memory.Running()[r.PF]; !ok {
				t.Fatalf("%s starts, and is not known as under way", r.PF)
			}
			m.forced = m.forced || slices.ContainsFunc(r.Plan.Steps, func(s plan.Step) bool { return len(s.Forced) > 0 })
			out = append(out, decide.Ended{PF: r.PF, Plan: r.Plan, Report: m.applier.Run(t.Context(), r.Plan)})
		}
	}
	return d, out
}

func drawEntry(t *rapid.T, pf string) spec.PhysicalFunction {
	n := rapid.IntRange(0, 5).Draw(t, "numVFs")
	e := entry(pf, n)
	e.Force = rapid.SampledFrom([]string{"", "", "one", "two"}).Draw(t, "force")
	for from := 0; from < n; {
		to := rapid.IntRange(from, n-1).Draw(t, "to")
		g := spec.VFGroup{Driver: rapid.SampledFrom([]spec.Driver{"", spec.DriverVFIO, spec.DriverNone}).Draw(t, "driver")}
		for i := from; i <= to; i++ {
			g.Indexes = append(g.Indexes, i)
		}
		if rapid.Bool().Draw(t, "vlan") {
			g.VLAN = &spec.VLAN{ID: rapid.SampledFrom([]int{0, 5, 4094}).Draw(t, "id")}
		}
		g.MACAddresses.Mode = rapid.SampledFrom([]spec.MACMode{"", spec.MACStable}).Draw(t, "macAddresses")
		g.Optional.All = rapid.Bool().Draw(t, "optional")
		e.VirtualFunctions = append(e.VirtualFunctions, g)
		from = to + 1
	}
	return e
}

func drawConfig(t *rapid.T, m *machine, hash string) {
	var entries []spec.PhysicalFunction
	for _, pf := range []string{pfA, pfB} {
		if rapid.IntRange(0, 4).Draw(t, "in the config") > 0 {
			entries = append(entries, drawEntry(t, pf))
		}
	}
	m.configure(hash, entries...)
}

// live is what happens on the machine between two passes.
func live(t *rapid.T, m *machine, i int) {
	s := m.kernel.Snapshot()
	switch pf := &s.PFs[rapid.IntRange(0, 1).Draw(t, "PF")]; rapid.IntRange(0, 6).Draw(t, "what") {
	case 0:
		drawConfig(t, m, fmt.Sprint("config ", i))
	case 1:
		m.config.Newest = newest(rapid.SampledFrom([]string{"absent", "bad", "unreadable"}).Draw(t, "newest"))
	case 2:
		for _, vf := range pf.VFs {
			if rapid.IntRange(0, 2).Draw(t, "held") == 0 && len(vf.Netdevs) > 0 {
				m.held[vf.Address] = "p"
				m.kernel.Hold(vf.Address, "p")
			}
		}
	case 3:
		m.release(rapid.IntRange(0, len(m.held)).Draw(t, "pods that end"))
	case 4:
		n := rapid.IntRange(1, 3).Draw(t, "faults")
		m.kernel.Faults(func(string, string) modelkernel.Fault {
			if n--; n < 0 {
				return modelkernel.Fault{}
			}
			return modelkernel.Fault{Errno: 5}
		})
	case 5:
		// Somebody at the keyboard; a fault may be his.
		_ = m.kernel.Write("bus/pci/devices/"+pf.Address+"/sriov_drivers_autoprobe", "0")
		if len(pf.VFs) == 0 {
			_ = m.kernel.Write("bus/pci/devices/"+pf.Address+"/sriov_numvfs", "2")
		}
	}
}

// release is the end of some pods.
func (m *machine) release(n int) {
	for _, dev := range slices.Sorted(maps.Keys(m.held))[:n] {
		m.kernel.Release(dev)
		delete(m.held, dev)
	}
}

// TestConverges: whatever happens on a machine, when that is over Decide comes to a
// state with nothing to start, and stays there. Each decision on the way is held to be
// pure.
func TestConverges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMachine(t)
		drawConfig(t, m, "first")
		var after []decide.Ended
		for i := range rapid.IntRange(0, 6).Draw(t, "events") {
			live(t, m, i)
			if rapid.IntRange(0, 5).Draw(t, "unread") == 0 {
				m.decide(decide.Observation{Err: errors.New("no"), Ended: after})
				after = nil
			}
			_, after = m.pass(t, after)
			m.wait(time.Duration(rapid.IntRange(0, 5).Draw(t, "seconds")) * time.Second)
		}
		m.release(len(m.held))
		m.kernel.Faults(nil)
		drawConfig(t, m, "last")
		var d decide.Decision
		for i := 0; ; i++ {
			if d, after = m.pass(t, after); len(after) == 0 && len(m.memory.Running()) == 0 && d.Next.Equal(m.now.Add(resync)) {
				break
			}
			if i > 40 {
				t.Fatalf("not through: %+v\nmemory: %+v", d.Plan.PFs, m.memory.PFs)
			}
			if len(after) == 0 {
				m.now = d.Next
			}
		}
		stays(t, m, &d)
	})
}

// stays holds that the last decision was that there is nothing to do.
func stays(t *rapid.T, m *machine, last *decide.Decision) {
	before := len(m.kernel.Writes())
	for i := range last.Plan.PFs {
		if f := &last.Plan.PFs[i]; len(f.Steps) > 0 {
			t.Fatalf("%s is left with %+v", f.Address, f.Steps)
		}
	}
	for range 3 {
		m.wait(resync)
		d, after := m.pass(t, nil)
		if len(after) > 0 || len(d.Drifted) > 0 {
			t.Fatalf("started %+v, drifted %+v", d.Start, d.Drifted)
		}
	}
	if w := m.kernel.Writes()[before:]; len(w) > 0 {
		t.Fatalf("written: %q", w)
	}
	if v := m.kernel.Violations(); len(v) > 0 && !m.forced {
		t.Fatalf("violations: %q", v)
	}
}
