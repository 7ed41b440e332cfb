package decide_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/talos-sriov/talos-sriov/pkg/apply"
	"github.com/talos-sriov/talos-sriov/pkg/decide"
	"github.com/talos-sriov/talos-sriov/pkg/internal/modelkernel"
	"github.com/talos-sriov/talos-sriov/pkg/record"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

const (
	pfA      = "0000:21:00.0"
	pfB      = "0000:41:00.0"
	resource = "example.com/vf"
	boot     = "boot-1"
	resync   = time.Hour
	grace    = 30 * time.Second
)

// failing is what tests and properties have in common.
type failing interface {
	Helper()
	Fatalf(format string, args ...any)
}

// world is all that a decision depends on, from one decision to the next.
type world struct {
	t        failing
	kernel   *modelkernel.Kernel
	config   decide.Config
	settings decide.Settings
	memory   decide.Memory
	now      time.Time
	held     map[string]string // device -> pod

	// What the decision before came to, and as it was then.
	last     [2]any
	lastDump string
}

// newWorld is a machine with two igb PFs of seven VFs, and a daemon that has just
// started. It takes a PF that looks quiet for one that is.
func newWorld(t failing) *world {
	k := modelkernel.New(modelkernel.Standard()...)
	for i, pf := range []string{pfA, pfB} {
		k.AddPF(modelkernel.PF{
			Address: pf, Vendor: "8086", Device: "10c9", VFDevice: "10ca", Driver: "igb", Total: 7,
			Name: fmt.Sprintf("enp%ds0", 33+32*i), MAC: fmt.Sprintf("52:54:00:00:00:%02d", i+1),
		})
	}
	return &world{
		t: t, kernel: k, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), held: map[string]string{},
		settings: decide.Settings{BootID: boot, Resync: resync, OrphanGrace: grace},
	}
}

// observe is the machine as it is, and a kubelet that answers with what w.held says.
func (w *world) observe() decide.Observation {
	s := w.kernel.Snapshot()
	o := decide.Observation{Snapshot: s, Held: map[string]bool{}, Answered: true, Recorded: true, Record: record.Record{BootID: boot}}
	kubelet := use.Kubelet{Answered: true, Held: map[string][]use.Holder{}}
	for _, dev := range slices.Sorted(maps.Keys(w.held)) {
		kubelet.Held[dev] = []use.Holder{pod(dev, w.held[dev])}
		o.Held[dev] = true
	}
	o.Use = use.Judge(use.Evidence{Snapshot: s, Kubelet: kubelet, Now: w.now})
	return o
}

func pod(dev, name string) use.Holder {
	return use.Holder{Device: dev, Namespace: "default", Pod: name, Resource: resource, Evidence: use.EvidencePodResources}
}

// decide decides on the observation at the time of the world, and holds, each time,
// that Decide is pure: it changes nothing that it is given, also not what it returned
// before, and says the same when it is asked twice.
func (w *world) decide(o decide.Observation) decide.Decision {
	w.t.Helper()
	o.At = w.now
	before := dump(w.config, w.settings, o, w.memory)
	d, m := decide.Decide(w.config, w.settings, o, w.memory)
	if diff := cmp.Diff(before, dump(w.config, w.settings, o, w.memory)); diff != "" {
		w.t.Fatalf("an argument was changed:\n%s", diff)
	}
	again, n := decide.Decide(w.config, w.settings, o, w.memory)
	if diff := cmp.Diff(dump(d, m), dump(again, n)); diff != "" {
		w.t.Fatalf("another decision on the same arguments:\n%s", diff)
	}
	if w.last[0] != nil {
		if diff := cmp.Diff(w.lastDump, dump(w.last[0], w.last[1])); diff != "" {
			w.t.Fatalf("what the decision before came to was changed:\n%s", diff)
		}
	}
	w.last, w.lastDump = [2]any{w.memory, again}, dump(w.memory, again)
	w.memory = m
	return d
}

// look observes and decides.
func (w *world) look(ended ...decide.Ended) decide.Decision {
	w.t.Helper()
	o := w.observe()
	o.Ended = ended
	return w.decide(o)
}

func (w *world) wait(t time.Duration) { w.now = w.now.Add(t) }

// makeVFs is somebody at the machine's keyboard.
func (w *world) makeVFs(pf string, n int) {
	w.t.Helper()
	for _, count := range []int{0, n} {
		w.write("bus/pci/devices/"+pf+"/sriov_numvfs", fmt.Sprint(count))
	}
}

func (w *world) write(name, value string) {
	w.t.Helper()
	if err := w.kernel.Write(name, value); err != nil {
		w.t.Fatalf("%v", err)
	}
}

// vf is the address of the VF.
func (w *world) vf(pf string, index int) string { return w.kernel.Snapshot().PF(pf).VF(index).Address }

// configure makes the entries the newest config, and what is kept as the last good one
// the one before.
func (w *world) configure(hash string, entries ...spec.PhysicalFunction) *spec.Config {
	if was := w.config.Newest; was != nil {
		w.config.LastGood = decide.LastGood{Known: true, None: !was.Present, Parsed: was.Parsed}
	}
	w.config.Newest = &decide.Document{Path: "sriov.yaml", Present: true, Parsed: parsed(hash, entries...)}
	return w.config.Newest.Config
}

func parsed(hash string, entries ...spec.PhysicalFunction) decide.Parsed {
	return decide.Parsed{Data: []byte(hash), Hash: hash, Config: &spec.Config{PhysicalFunctions: entries}}
}

func entry(pf string, n int) spec.PhysicalFunction {
	return spec.PhysicalFunction{Match: spec.Match{PCIAddresses: []string{pf}}, NumVFs: &n, ResourceName: resource, Pos: spec.Pos{Line: 3, Column: 5}}
}

// withDriver gives all VFs of the entry the driver.
func withDriver(e spec.PhysicalFunction, d spec.Driver) spec.PhysicalFunction {
	g := spec.VFGroup{Driver: d}
	for i := range *e.NumVFs {
		g.Indexes = append(g.Indexes, i)
	}
	e.VirtualFunctions = []spec.VFGroup{g}
	return e
}

// started are the PFs whose plan starts, one word each; with "+" and the count of
// leftovers that are reclaimed before it, and "-" where there is nothing but these.
func started(d *decide.Decision) string {
	var out []string
	for _, work := range d.Start {
		for _, r := range work {
			s := r.PF
			if r.Plan == nil {
				s = "-" + s
			}
			if len(r.Reclaim) > 0 {
				s += fmt.Sprintf("+%d", len(r.Reclaim))
			}
			out = append(out, s)
		}
	}
	return strings.Join(out, " ")
}

// ended are the runs of the decision, which came to r.
func ended(d *decide.Decision, r *apply.Report) []decide.Ended {
	var out []decide.Ended
	for _, work := range d.Start {
		for _, run := range work {
			e := decide.Ended{PF: run.PF, Plan: run.Plan}
			if run.Plan != nil {
				e.Report = r
			}
			out = append(out, e)
		}
	}
	return out
}

func failed() *apply.Report { return &apply.Report{Err: errors.New("no")} }

// wantStart holds what starts.
func (w *world) wantStart(what string, d *decide.Decision, want string) {
	w.t.Helper()
	if got := started(d); got != want {
		w.t.Fatalf("%s: %q starts, want %q", what, got, want)
	}
}

// wantNext holds how long it is until the next decision.
func (w *world) wantNext(what string, d *decide.Decision, want time.Duration) {
	w.t.Helper()
	if got := d.Next.Sub(w.now); got != want {
		w.t.Fatalf("%s: decided again after %s, want %s", what, got, want)
	}
}

// The dump differs for values that differ in a field that is not exported.
func TestDump(t *testing.T) {
	a, b := newWorld(t), newWorld(t)
	a.look()
	b.look()
	if dump(a.memory) != dump(b.memory) {
		t.Error("equal memories have different dumps")
	}
	b.wait(time.Second)
	a.configure("a")
	b.configure("a")
	a.look()
	b.kernel.Plug(pfA, false)
	b.look()
	if dump(a.memory.Quiet) == dump(b.memory.Quiet) || dump(a.memory.Health) == dump(b.memory.Health) {
		t.Error("different memories have the same dump")
	}
}
