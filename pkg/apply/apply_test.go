package apply_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/talos-sriov/talos-sriov/pkg/apply"
	"github.com/talos-sriov/talos-sriov/pkg/internal/modelkernel"
	"github.com/talos-sriov/talos-sriov/pkg/op"
	"github.com/talos-sriov/talos-sriov/pkg/plan"
	"github.com/talos-sriov/talos-sriov/pkg/record"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	pf0 = "0000:21:00.0"
	pf1 = "0000:41:00.0"
)

func numVFs(pf string) string { return "bus/pci/devices/" + pf + "/sriov_numvfs" }

func machine() *modelkernel.Kernel {
	k := modelkernel.New(modelkernel.Standard()...)
	k.AddPF(modelkernel.PF{Address: pf0, Vendor: "8086", Device: "10c9", VFDevice: "10ca", Driver: "igb", Total: 7, Name: "enp33s0", MAC: "52:54:00:00:00:01"})
	k.AddPF(modelkernel.PF{Address: pf1, Vendor: "8086", Device: "10c9", VFDevice: "10ca", Driver: "igb", Total: 7, Name: "enp65s0", MAC: "52:54:00:00:00:02"})
	return k
}

func config(want map[string]int) *spec.Config {
	c := &spec.Config{}
	for _, pf := range []string{pf0, pf1} {
		if n, ok := want[pf]; ok {
			c.PhysicalFunctions = append(c.PhysicalFunctions, spec.PhysicalFunction{
				Match: spec.Match{PCIAddresses: []string{pf}}, NumVFs: &n, Pos: spec.Pos{Line: 3, Column: 5},
			})
		}
	}
	return c
}

// compute plans for a machine whose kubelet says that pods hold what held says.
func compute(k *modelkernel.Kernel, c *spec.Config, held ...string) *plan.Plan {
	s := k.Snapshot()
	kl := use.Kubelet{Answered: true, Held: map[string][]use.Holder{}}
	for _, h := range held {
		kl.Held[h] = []use.Holder{{Device: h, Namespace: "default", Pod: "p", Evidence: use.EvidencePodResources}}
	}
	return plan.Compute(plan.Input{Config: c, Snapshot: s, Quiet: plan.QuietNow(s),
		Use: use.Judge(use.Evidence{Snapshot: s, Kubelet: kl})})
}

func TestCreatesAndThenWritesNothing(t *testing.T) {
	k := machine()
	a := newApplier(k, apply.Options{})
	cfg := config(map[string]int{pf0: 4, pf1: 7})
	rep := a.Run(t.Context(), compute(k, cfg))
	if err := rep.Err(); err != nil {
		t.Fatal(err)
	}
	if len(k.Writes()) != 2 {
		t.Errorf("want one write for each PF: %q", k.Writes())
	}
	p := compute(k, cfg)
	if !p.Done() {
		t.Errorf("not done: %+v", p)
	}
	if a.Run(t.Context(), p); len(k.Writes()) != 2 {
		t.Errorf("the second run wrote: %q", k.Writes())
	}
}

// TestRequired: without netlink there is no applier, so that no step finds out that
// there is none; and without a gate none, so that no VF is taken away unasked.
func TestRequired(t *testing.T) {
	k := machine()
	for what, without := range map[string]func(*apply.Options){
		"Journal":  func(o *apply.Options) { o.Journal = nil },
		"Gate":     func(o *apply.Options) { o.Gate = nil },
		"Links":    func(o *apply.Options) { o.Links = nil },
		"OnWrite":  func(o *apply.Options) { o.OnWrite = nil },
		"OnAnswer": func(o *apply.Options) { o.OnAnswer = nil },
	} {
		o := complete(apply.Options{Links: k})
		without(&o)
		if a, err := apply.New(k, o); a != nil || !errors.Is(err, apply.ErrIncomplete) {
			t.Errorf("New() without %s = %v, %v", what, a, err)
		}
	}
}

func TestGrowGoesThroughZero(t *testing.T) {
	k := machine()
	a := newApplier(k, apply.Options{})
	a.Run(t.Context(), compute(k, config(map[string]int{pf0: 4})))
	rep := a.Run(t.Context(), compute(k, config(map[string]int{pf0: 6})))
	if err := rep.Err(); err != nil {
		t.Fatal(err)
	}
	want := []string{numVFs(pf0) + "=4", numVFs(pf0) + "=0", numVFs(pf0) + "=6"}
	if d := cmp.Diff(want, k.Writes()); d != "" {
		t.Error(d)
	}
}

func TestHeldVFWaitsAndTheOtherPFGoesOn(t *testing.T) {
	k := machine()
	a := newApplier(k, apply.Options{})
	a.Run(t.Context(), compute(k, config(map[string]int{pf0: 4})))
	k.Hold("0000:21:10.2", "p")
	cfg := config(map[string]int{pf0: 2, pf1: 3})
	rep := a.Run(t.Context(), compute(k, cfg, "0000:21:10.2"))
	if err := rep.Err(); err != nil {
		t.Fatal(err)
	}
	if n := k.Snapshot().PF(pf0).NumVFs; n != 4 {
		t.Errorf("PF with a held VF has %d VFs", n)
	}
	if n := k.Snapshot().PF(pf1).NumVFs; n != 3 {
		t.Errorf("the other PF has %d VFs", n)
	}
	if len(rep.PFs[0].Waiting) != 3 {
		t.Errorf("waiting: %q", rep.PFs[0].Waiting)
	}
	k.Release("0000:21:10.2")
	a.Run(t.Context(), compute(k, cfg))
	if n := k.Snapshot().PF(pf0).NumVFs; n != 2 {
		t.Errorf("after the release %d VFs", n)
	}
	if v := k.Violations(); len(v) > 0 {
		t.Error(v)
	}
}

type gate func(vfs []string) ([]use.Holder, error)

func (g gate) Begin(string) apply.Claims { return g }

func (g gate) Claim(_ context.Context, vfs []string) ([]use.Holder, error) { return g(vfs) }

func (gate) Release() {}

// TestGateSeesAPodThatCameAfterThePlan: the plan believes the VFs free, the
// last check does not.
func TestGateSeesAPodThatCameAfterThePlan(t *testing.T) {
	for name, g := range map[string]gate{
		"held":  func(vfs []string) ([]use.Holder, error) { return []use.Holder{{Device: vfs[0], Pod: "late"}}, nil },
		"error": func([]string) ([]use.Holder, error) { return nil, errors.New("kubelet does not answer") },
	} {
		t.Run(name, func(t *testing.T) {
			k := machine()
			newApplier(k, apply.Options{}).Run(t.Context(), compute(k, config(map[string]int{pf0: 4})))
			rep := newApplier(k, apply.Options{Gate: g}).Run(t.Context(), compute(k, config(map[string]int{pf0: 2})))
			if n := k.Snapshot().PF(pf0).NumVFs; n != 4 {
				t.Fatalf("%d VFs left", n)
			}
			if len(rep.PFs[0].Waiting) != 3 {
				t.Errorf("waiting: %q", rep.PFs[0].Waiting)
			}
			if (rep.Err() != nil) != (name == "error") {
				t.Errorf("err = %v", rep.Err())
			}
		})
	}
}

func TestErrnosInWords(t *testing.T) {
	for errno, want := range map[unix.Errno]string{
		unix.EBUSY: "only through 0", unix.ERANGE: "lower numVFs", unix.ENOSPC: "pci=realloc", unix.ENOMEM: "pci=realloc",
		unix.EIO: "kernel log", unix.EPERM: "lockdown", unix.EACCES: "writeableSysfs", unix.EROFS: "writeableSysfs",
		unix.ENODEV: "when it is back", unix.ENOENT: "cannot make VFs", unix.EOPNOTSUPP: "optional", unix.EAGAIN: "tried again",
		unix.EINVAL: "kernel log", unix.ETIMEDOUT: "did not answer", unix.EXDEV: "EXDEV",
	} {
		k := machine()
		k.Faults(func(name, _ string) modelkernel.Fault {
			if name == numVFs(pf0) {
				return modelkernel.Fault{Errno: errno}
			}
			return modelkernel.Fault{}
		})
		rep := newApplier(k, apply.Options{}).Run(t.Context(), compute(k, config(map[string]int{pf0: 4, pf1: 2})))
		err := rep.Err()
		if !errors.Is(err, errno) {
			t.Errorf("%v: the errno is lost in %v", errno, err)
			continue
		}
		for _, w := range []string{want, "enp33s0", pf0, "sriov_numvfs", `"4"`} {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%v: %q is not in %q", errno, w, err)
			}
		}
		if n := k.Snapshot().PF(pf1).NumVFs; n != 2 {
			t.Errorf("%v: the other PF has %d VFs", errno, n)
		}
		if len(rep.PFs[0].Skipped) != 1 {
			t.Errorf("%v: skipped %q", errno, rep.PFs[0].Skipped)
		}
	}
}

// TestStuckWriteIsReportedAndNeverRaced: a process holds a vfio device open, so
// numvfs=0 does not return.
func TestStuckWriteIsReportedAndNeverRaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := machine()
		answered := make(chan string, 1)
		a := newApplier(k, apply.Options{OnAnswer: func(pf string) { answered <- pf }})
		a.Run(t.Context(), compute(k, config(map[string]int{pf0: 2})))
		release := make(chan struct{})
		k.Faults(func(name, value string) modelkernel.Fault {
			if name == numVFs(pf0) && value == "0" {
				return modelkernel.Fault{Until: release}
			}
			return modelkernel.Fault{}
		})
		cfg := config(map[string]int{pf0: 4, pf1: 1})
		start := time.Now()
		rep := a.Run(t.Context(), compute(k, cfg))
		if took := time.Since(start); took != 30*time.Second {
			t.Errorf("the write was bounded to %s", took)
		}
		var stuck *apply.StuckError
		if !rep.PFs[0].Stuck || !errors.As(rep.Err(), &stuck) || !strings.Contains(rep.Err().Error(), "vfio") {
			t.Fatalf("report: %+v", rep.PFs[0])
		}
		writes := len(k.Writes())
		if again := a.Run(t.Context(), compute(k, cfg)); !again.PFs[0].Stuck || len(k.Writes()) != writes {
			t.Errorf("the stuck PF was written to again: %q", k.Writes())
		}
		if o, ok := stuck.Step.Op.(op.SetNumVFs); !ok || o.N != 0 {
			t.Errorf("stuck in %+v", stuck.Step)
		}
		close(release)
		if pf := <-answered; pf != pf0 {
			t.Errorf("answer of %s", pf)
		}
		if err := a.Run(t.Context(), compute(k, cfg)).Err(); err != nil {
			t.Error(err)
		}
		if n := k.Snapshot().PF(pf0).NumVFs; n != 4 {
			t.Errorf("%d VFs in the end", n)
		}
	})
}

func TestNetdevsAreAwaitedByEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := machine()
		k.Async(true)
		var hub apply.Hub
		k.OnChange(hub.Notify)
		start := time.Now()
		rep := newApplier(k, apply.Options{Events: &hub}).Run(t.Context(), compute(k, config(map[string]int{pf0: 7})))
		if len(rep.PFs[0].Problems) > 0 || rep.Err() != nil {
			t.Errorf("%+v", rep.PFs[0])
		}
		if time.Since(start) != 0 {
			t.Error("time passed: something polls or waits for a deadline")
		}
		for _, vf := range k.Snapshot().PF(pf0).VFs {
			if len(vf.Netdevs) != 1 {
				t.Errorf("VF %d has no netdev yet", vf.Index)
			}
		}
		k.Settle()
	})
}

func TestMissingVFDriverIsPending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := modelkernel.New(modelkernel.Driver{Name: "igb", Netdev: true, Loaded: true}, modelkernel.Driver{Name: "igbvf", IDs: []string{"8086:10ca"}, Netdev: true})
		k.AddPF(modelkernel.PF{Address: pf0, Vendor: "8086", Device: "10c9", VFDevice: "10ca", Driver: "igb", Total: 7, Name: "enp33s0"})
		var hub apply.Hub
		k.OnChange(hub.Notify)
		rep := newApplier(k, apply.Options{Events: &hub}).Run(t.Context(), compute(k, config(map[string]int{pf0: 2})))
		if err := rep.Err(); err != nil {
			t.Errorf("a missing module is an error: %v", err)
		}
		if len(rep.PFs[0].Problems) != 1 || !rep.PFs[0].Problems[0].Pending || !rep.PFs[0].Problems[0].Settling {
			t.Errorf("%+v", rep.PFs[0].Problems)
		}
	})
}

type journal struct {
	err error
	log []string
}

func (j *journal) Begin(_ context.Context, _ record.Run, ids []string) error {
	j.log = append(j.log, fmt.Sprint("begin ", len(ids)))
	return j.err
}

func (j *journal) End(context.Context, record.Run, record.Outcome) error {
	j.log = append(j.log, "end")
	return nil
}

func TestIntentComesFirst(t *testing.T) {
	k := machine()
	j := &journal{err: unix.EROFS}
	rep := newApplier(k, apply.Options{Journal: j}).Run(t.Context(), compute(k, config(map[string]int{pf0: 2})))
	if !errors.Is(rep.Err(), unix.EROFS) || len(k.Writes()) != 0 {
		t.Errorf("err %v, writes %q", rep.Err(), k.Writes())
	}
	j.err, j.log = nil, nil
	newApplier(k, apply.Options{Journal: j}).Run(t.Context(), compute(k, config(map[string]int{pf0: 2})))
	if d := cmp.Diff([]string{"begin 2", "end"}, j.log); d != "" {
		t.Error(d)
	}
	j.log = nil
	newApplier(k, apply.Options{Journal: j}).Run(t.Context(), compute(k, config(map[string]int{pf0: 2})))
	if len(j.log) != 0 {
		t.Errorf("a run without steps was journalled: %q", j.log)
	}
}

func TestEndedContextStopsBetweenWrites(t *testing.T) {
	k := machine()
	newApplier(k, apply.Options{}).Run(t.Context(), compute(k, config(map[string]int{pf0: 2})))
	ctx, cancel := context.WithCancel(t.Context())
	before := len(k.Writes())
	a := newApplier(k, apply.Options{OnWrite: func(apply.Write) { cancel() }})
	rep := a.Run(ctx, compute(k, config(map[string]int{pf0: 4})))
	if !errors.Is(rep.Err(), context.Canceled) || len(k.Writes()) != before+1 || len(rep.PFs[0].Skipped) != 2 {
		t.Errorf("%+v", rep.PFs[0])
	}
	newApplier(k, apply.Options{}).Run(t.Context(), compute(k, config(map[string]int{pf0: 4})))
	if n := k.Snapshot().PF(pf0).NumVFs; n != 4 {
		t.Errorf("%d VFs in the end", n)
	}
}
