package decide_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/talos-sriov/talos-sriov/pkg/apply"
	"github.com/talos-sriov/talos-sriov/pkg/cni"
	"github.com/talos-sriov/talos-sriov/pkg/decide"
	"github.com/talos-sriov/talos-sriov/pkg/op"
	"github.com/talos-sriov/talos-sriov/pkg/plan"
	"github.com/talos-sriov/talos-sriov/pkg/record"
)

// TestRunningPFIsLeftAlone: while a run is under way, nothing starts there, whatever
// else is to be done; the other PF goes on.
func TestRunningPFIsLeftAlone(t *testing.T) {
	w := newWorld(t)
	w.configure("a", entry(pfA, 4))
	first := w.look()
	w.wantStart("new", &first, pfA)
	if !w.memory.Running()[pfA] {
		t.Error("a run that starts is not known as one that is under way")
	}
	d := w.look()
	w.wantStart("the same work", &d, "")
	w.configure("b", entry(pfA, 6), entry(pfB, 2))
	second := w.look()
	w.wantStart("a newer config", &second, pfB)
	d = w.look(ended(&first, &apply.Report{})...)
	w.wantStart("the end of the first", &d, pfA)
	if got := w.memory.Running(); !got[pfA] || !got[pfB] {
		t.Errorf("under way are %v", got)
	}
	d = w.look(append(ended(&d, failed()), ended(&second, failed())...)...)
	if got := w.memory.Running(); len(got) > 0 {
		t.Errorf("under way are %v after all have ended", got)
	}
	w.wantStart("both failed", &d, "")
}

// TestConflictGroup: PFs that share hardware are worked on one after the other, and not
// at all as long as the kernel owes an answer to a write on one of them.
func TestConflictGroup(t *testing.T) {
	w := newWorld(t)
	w.configure("a", entry(pfA, 4), entry(pfB, 2))
	look := func(stuck string, e ...decide.Ended) decide.Decision {
		o := w.observe()
		for _, pf := range []string{pfA, pfB} {
			o.Snapshot.PF(pf).Netdevs[0].PhysSwitchID = "c0ffee"
		}
		o.Ended, o.Stuck = e, map[string]bool{stuck: stuck != ""}
		return w.decide(o)
	}
	run := look("")
	w.wantStart("new", &run, pfA+" "+pfB)
	if len(run.Start) != 1 {
		t.Errorf("in one piece start %d", len(run.Start))
	}
	ends := ended(&run, failed())
	d := look("", ends[0])
	w.wantStart("the first has ended", &d, "")
	w.makeVFs(pfA, 3)
	d = look("", ends[1])
	w.wantStart("both have", &d, pfA)
	w.wait(time.Second)
	d = look("")
	w.wantStart("the other one is due, and one is under way", &d, "")
	hangs := failed()
	hangs.Stuck = true
	d = look(pfA, decide.Ended{PF: pfA, Plan: run.Start[0][0].Plan, Report: hangs})
	w.wantStart("the kernel owes an answer", &d, "")
	w.wait(time.Hour)
	d = look(pfA)
	w.wantStart("an hour later", &d, "")
	d = look("")
	w.wantStart("it has answered", &d, pfA+" "+pfB)
}

// TestStuckPFHoldsUpNobody that shares nothing with it.
func TestStuckPFHoldsUpNobody(t *testing.T) {
	w := newWorld(t)
	w.configure("a", entry(pfA, 4))
	run := w.look()
	hangs := failed()
	hangs.Stuck = true
	w.configure("b", entry(pfA, 4), entry(pfB, 2))
	o := w.observe()
	o.Ended, o.Stuck = ended(&run, hangs), map[string]bool{pfA: true}
	d := w.decide(o)
	w.wantStart("stuck on the one", &d, pfB)
	d = w.look()
	w.wantStart("answered: there is no pause", &d, pfA)
}

// TestRunningPFIsNoDrift: what a run changes is changed by us.
func TestRunningPFIsNoDrift(t *testing.T) {
	w := newWorld(t)
	w.makeVFs(pfA, 4)
	w.configure("a", entry(pfA, 4))
	if d := w.look(); !d.Plan.Done() {
		t.Fatalf("not done: %+v", d.Plan)
	}
	// Something is reclaimed: a run that has no part in the plan.
	left := cni.Orphan{Evidence: cni.EvidenceNetns, Device: w.vf(pfA, 0), File: "c-net1"}
	see := func(e ...decide.Ended) decide.Decision {
		o := w.observe()
		o.Leftovers, o.Ended = []cni.Orphan{left}, e
		return w.decide(o)
	}
	see()
	w.wait(grace)
	run := see()
	w.wantStart("the leftover", &run, "-"+pfA+"+1")
	w.makeVFs(pfA, 2)
	if d := see(); len(d.Drifted) > 0 {
		t.Errorf("a PF with a run under way has drifted: %+v", d.Drifted)
	}
	d := see(ended(&run, nil)...)
	if len(d.Drifted) != 1 || d.Drifted[0].PF != pfA || d.Drifted[0].Times != 1 {
		t.Errorf("after it: %+v", d.Drifted)
	}
}

// TestOrders: what the operator ordered is carried out when nothing is left to do on
// the PF, and no run is under way.
func TestOrders(t *testing.T) {
	w := newWorld(t)
	e := entry(pfA, 4)
	e.Force = "today"
	w.configure("a", e, entry(pfB, 0))
	look := func(e ...decide.Ended) decide.Decision {
		o := w.observe()
		o.Forced, o.Ended = map[string]bool{pfA: true, pfB: true}, e
		return w.decide(o)
	}
	tokens := func(what string, d *decide.Decision, want ...record.Token) {
		t.Helper()
		if d.Tokens == nil || !d.Tokens.Config || !cmp.Equal(d.Tokens.All, []string{"today"}) || !cmp.Equal(d.Tokens.PFs, want) {
			t.Errorf("%s: tokens %+v, want %+v", what, d.Tokens, want)
		}
	}
	acknowledged := func(what string, d *decide.Decision, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, d.Acknowledged); diff != "" {
			t.Errorf("%s: acknowledged %s", what, diff)
		}
	}
	run := look()
	tokens("it starts", &run)
	acknowledged("it starts", &run, pfB)
	w.makeVFs(pfA, 4)
	d := look()
	tokens("it is under way", &d)
	acknowledged("it is under way", &d, pfB)
	d = look(ended(&run, &apply.Report{})...)
	tokens("it is over", &d, record.Token{Card: d.Plan.PF(pfA).Card, Text: "today", Done: true})
	acknowledged("it is over", &d, pfA, pfB)
}

// TestOrderForASilentPF: an order for a PF about which the kernel does not answer is kept.
func TestOrderForASilentPF(t *testing.T) {
	w := newWorld(t)
	w.configure("a", entry(pfA, 4))
	look := func(silent string) []string {
		o := w.observe()
		o.Snapshot.PF(pfA).Silent = silent
		o.Forced = map[string]bool{pfA: true}
		d := w.decide(o)
		return d.Acknowledged
	}
	if got := look("the kernel has not answered"); len(got) > 0 {
		t.Errorf("acknowledged %v, and it is not known what is left to do", got)
	}
	w.makeVFs(pfA, 4)
	if got := look(""); !slices.Equal(got, []string{pfA}) {
		t.Errorf("acknowledged %v when nothing is left to do", got)
	}
}

// TestOpenTokens: a token is open while its work rests or waits.
func TestOpenTokens(t *testing.T) {
	w := newWorld(t)
	e := entry(pfA, 4)
	e.Force = "today"
	w.configure("a", e)
	d := w.look()
	d = w.look(ended(&d, failed())...)
	if d.Tokens == nil || len(d.Tokens.PFs) != 1 || d.Tokens.PFs[0].Done {
		t.Errorf("failed work: tokens %+v", d.Tokens)
	}
	if len(d.Acknowledged) > 0 {
		t.Errorf("acknowledged %v, which nobody ordered", d.Acknowledged)
	}
}

// TestTokensOfALostRecord are recorded all at once, when no run is under way anywhere;
// and none before the state directory was read.
func TestTokensOfALostRecord(t *testing.T) {
	w := newWorld(t)
	e := entry(pfA, 0)
	e.Force = "today"
	w.configure("a", e, entry(pfB, 2))
	look := func(lost, read bool, e ...decide.Ended) decide.Decision {
		o := w.observe()
		o.Record.Lost, o.Recorded, o.Ended = lost, read, e
		return w.decide(o)
	}
	if d := look(false, false); d.Tokens != nil {
		t.Errorf("the state was not read, and tokens are to be recorded: %+v", d.Tokens)
	}
	if d := look(true, true); d.Tokens != nil {
		t.Errorf("a run is under way, and tokens are to be recorded for a lost record: %+v", d.Tokens)
	}
	if d := look(false, true); d.Tokens == nil {
		t.Error("a run on another PF keeps tokens from being recorded")
	}
	if d := look(true, true, decide.Ended{PF: pfB}); d.Tokens != nil {
		t.Errorf("the run starts again, and tokens are to be recorded: %+v", d.Tokens)
	}
	w.makeVFs(pfB, 2)
	if d := look(true, true, decide.Ended{PF: pfB}); d.Tokens == nil || !cmp.Equal(d.Tokens.All, []string{"today"}) {
		t.Errorf("nothing is under way: tokens %+v", d.Tokens)
	}
}

// TestDrift: a PF that was as the config says, and is not under the same config, was
// changed by somebody else. Each change counts once.
func TestDrift(t *testing.T) {
	w := newWorld(t)
	hash := ""
	for i, step := range []struct {
		state, hash string
		want        int // times, 0 for no drift
	}{
		{"work", "a", 0}, // the first time is no drift
		{"work", "a", 0},
		{"ready", "a", 0},
		{"work", "b", 0}, // a new config is no drift
		{"ready", "b", 0},
		{"work", "b", 1},
		{"work", "b", 0}, // one change is counted once
		{"ready", "b", 0},
		{"problem", "b", 0},
		{"work", "b", 2},
		{"ready", "a", 0},
		{"work", "", 0}, // nor is it drift that there is no config
	} {
		if hash != step.hash && step.hash != "" {
			w.configure(step.hash, entry(pfA, 2))
		}
		if hash = step.hash; hash == "" {
			w.config.Newest = newest("absent")
		}
		o := w.put(step.state)
		o.Ended = []decide.Ended{{PF: pfA}} // a run would be ours
		d := w.decide(o)
		if got := kind(d.Plan.PF(pfA)); got != step.state && hash != "" {
			t.Fatalf("step %d: the plan is of kind %q, want %q", i, got, step.state)
		}
		times := 0
		for _, x := range d.Drifted {
			times = x.Times
		}
		if times != step.want || len(d.Drifted) > 1 {
			t.Errorf("step %d (%s under %q): drift %+v, want %d", i, step.state, step.hash, d.Drifted, step.want)
		}
	}
	if got := w.memory.PFs[pfA].Drift; got != 2 {
		t.Errorf("counted %d, want 2", got)
	}
}

// put brings the PF into the state, under a config that wants two VFs of it.
func (w *world) put(state string) decide.Observation {
	w.t.Helper()
	w.kernel.Load("igbvf")
	w.makeVFs(pfA, 2)
	switch state {
	case "work":
		w.makeVFs(pfA, 1)
	case "problem":
		w.kernel.Unload("igbvf")
		w.makeVFs(pfA, 2)
	}
	return w.observe()
}

// kind is which of the states a plan shows.
func kind(f *plan.PFPlan) string {
	switch {
	case f == nil:
		return "none"
	case slices.ContainsFunc(f.Steps, func(s plan.Step) bool { return s.Op.Writes() }):
		return "work"
	case len(f.Problems) > 0:
		return "problem"
	}
	return "ready"
}

// TestWhatWasChanged is what is not as the plan leaves it in the end: not what is
// written first to repair it.
func TestWhatWasChanged(t *testing.T) {
	const numVFs = "/sys/bus/pci/devices/" + pfA + "/sriov_numvfs"
	for name, c := range map[string]struct {
		change              func(w *world)
		object, found, want string
	}{
		"fewer VFs": {func(w *world) { w.makeVFs(pfA, 1) }, numVFs, "1", "2"},
		"no VFs":    {func(w *world) { w.write("bus/pci/devices/"+pfA+"/sriov_numvfs", "0") }, numVFs, "0", "2"},
		"a VF is unbound": {
			func(w *world) { w.write("bus/pci/drivers/igbvf/unbind", w.vf(pfA, 1)) },
			"/sys/bus/pci/drivers_probe", "", "igbvf",
		},
		"a VF's override": {
			func(w *world) { w.write("bus/pci/devices/"+w.vf(pfA, 1)+"/driver_override", "vfio-pci") },
			"/sys/bus/pci/devices/" + pfA + "/virtfn1/driver_override", "vfio-pci", "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.write("bus/pci/devices/"+pfA+"/sriov_drivers_autoprobe", "1")
			w.makeVFs(pfA, 2)
			w.configure("a", entry(pfA, 2))
			if d := w.look(); !d.Plan.Done() {
				t.Fatalf("not done: %+v", d.Plan.PFs)
			}
			c.change(w)
			d := w.look()
			if len(d.Drifted) != 1 {
				t.Fatalf("drifted %+v", d.Drifted)
			}
			got := d.Drifted[0]
			if got.Object != c.object || op.Text(got.Found) != c.found || op.Text(got.Want) != c.want {
				t.Errorf("%s found as %s, want %s", got.Object, op.Text(got.Found), op.Text(got.Want))
			}
		})
	}
}
