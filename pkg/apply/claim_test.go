package apply_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/talos-sriov/talos-sriov/pkg/apply"
	"github.com/talos-sriov/talos-sriov/pkg/internal/modelkernel"
	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/op"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// late is a gate that finds pods which came after the plan, once they could: on devices
// that are there.
type late struct {
	k    *modelkernel.Kernel
	pods map[string]bool // by device
	err  error

	mu    sync.Mutex
	asked [][]string
}

func (g *late) Begin(string) apply.Claims { return g }

func (*late) Release() {}

func (g *late) Claim(_ context.Context, devices []string) ([]use.Holder, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asked = append(g.asked, devices)
	if g.err != nil {
		return nil, g.err
	}
	var out []use.Holder
	for _, d := range devices {
		if _, there := g.k.Snapshot().Device(d); there && g.pods[d] {
			out = append(out, use.Holder{Device: d, Namespace: "default", Pod: "late", Evidence: use.EvidencePodResources})
		}
	}
	return out, nil
}

// addressed are the devices that an operation writes to, as the machine is now.
func addressed(s *inventory.Snapshot, o op.Op) []string {
	out := []string{o.PF()}
	if n, ok := o.(op.SetNumVFs); ok && n.N > 0 {
		return out
	}
	for _, i := range o.VFs() {
		if vf := s.PF(o.PF()).VF(i); vf != nil {
			out = append(out, vf.Address)
		}
	}
	return out
}

// tenant is a group that sets all that the driver of the igb PFs takes.
func tenant(at spec.IndexSet) spec.VFGroup {
	return spec.VFGroup{Indexes: at, VLAN: &spec.VLAN{ID: 100}, Trust: ptr(true), SpoofCheck: ptr(false), Rate: &spec.Rate{Max: 100}, MTU: ptr(1400)}
}

// TestAttributesAreNotWrittenOverAPod: a pod got the VF after the plan was made, and its
// CNI plugin set what it wants. Nothing of it is overwritten, other VFs are configured,
// and the next plan says who has it.
func TestAttributesAreNotWrittenOverAPod(t *testing.T) {
	const pods = "0000:21:10.2"
	for name, g := range map[string]*late{
		"held":  {pods: map[string]bool{pods: true}},
		"error": {err: errors.New("the machine cannot be read")},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(doc(pfEntry(pf0, 3)))
			n.converge(t)
			n.cfg = doc(pfEntry(pf0, 3, tenant(indexes(0, 2))))
			g.k, n.gate = n.k, g
			n.start()
			before := section(n.k, pf0, "1")
			writes := len(n.k.Writes())
			rep := n.a.Run(t.Context(), n.plan()).PFs[0]
			if after := section(n.k, pf0, "1"); after != before {
				t.Errorf("the pod's VF was %s, is %s", before, after)
			}
			if len(rep.Waiting) == 0 || len(g.asked) != 1 {
				t.Errorf("asked %d times, waiting: %q", len(g.asked), rep.Waiting)
			}
			if g.err != nil {
				if rep.Err == nil || len(n.k.Writes()) > writes {
					t.Errorf("error %v, written: %q", rep.Err, n.k.Writes()[writes:])
				}
				return
			}
			if !strings.Contains(section(n.k, pf0, "0"), "100") {
				t.Errorf("the other VF: %s", section(n.k, pf0, "0"))
			}
			n.hold(pods)
			p := n.plan()
			if len(p.PFs[0].Steps) > 0 || !strings.Contains(text(p), "vlan differs from the config, and is left to its holder") {
				t.Error(text(p))
			}
			n.gate = nil
			n.start()
			n.release(pods)
			if n.converge(t); !strings.Contains(section(n.k, pf0, "1"), "100") {
				t.Errorf("when the pod is gone: %s", section(n.k, pf0, "1"))
			}
		})
	}
}

// TestForcedRunGoesOverPods: what the operator forces is done over the holders whom
// the plan names, and the gate is asked anyway.
func TestForcedRunGoesOverPods(t *testing.T) {
	const pods = "0000:21:10.2"
	n := newNode(doc(pfEntry(pf0, 3)))
	n.converge(t)
	n.held = []string{pods}
	n.force = map[string]bool{pf0: true}
	g := &late{k: n.k, pods: map[string]bool{pods: true}}
	n.gate = g
	n.start()
	for _, cfg := range []*spec.Config{
		doc(pfEntry(pf0, 3, tenant(indexes(0, 2)))),
		doc(pfEntry(pf0, 3, spec.VFGroup{Indexes: indexes(0, 2), Driver: spec.DriverVFIO})),
		doc(pfEntry(pf0, 4, tenant(indexes(0, 3)))),
	} {
		n.cfg = cfg
		if p := n.converge(t); len(p.PFs[0].Steps) > 0 || len(p.PFs[0].Notices) > 0 {
			t.Fatal(text(p))
		}
	}
	if !slices.ContainsFunc(g.asked, func(asked []string) bool { return slices.Contains(asked, pods) }) {
		t.Errorf("asked about %q", g.asked)
	}
}

// TestUnboundVFOfAPodWaits: a VF without a driver may be somebody's as well, who unbound
// it for now.
func TestUnboundVFOfAPodWaits(t *testing.T) {
	const pods = "0000:21:10.2"
	n := newNode(doc(pfEntry(pf0, 3, spec.VFGroup{Indexes: indexes(0, 2), Driver: spec.DriverNone})))
	n.converge(t)
	n.hold(pods)
	n.cfg = doc(pfEntry(pf0, 3, spec.VFGroup{Indexes: indexes(0, 2), Driver: spec.DriverVFIO}))
	n.converge(t)
	drivers := func() (out []string) {
		for _, vf := range n.k.Snapshot().PF(pf0).VFs {
			out = append(out, vf.Driver)
		}
		return out
	}
	if got := drivers(); !slices.Equal(got, []string{"vfio-pci", "", "vfio-pci"}) {
		t.Errorf("while the pod has it: %q", got)
	}
	n.release(pods)
	if p := n.converge(t); !p.Done() || drivers()[1] != "vfio-pci" {
		t.Errorf("when the pod is gone: %q\n%s", drivers(), text(p))
	}
}

// TestNewVFIsClaimedBeforeItIsConfigured: a VF that reads as the config says before the
// run has come to it may be offered, and a pod may get it.
func TestNewVFIsClaimedBeforeItIsConfigured(t *testing.T) {
	const pods = "0000:21:10.2"
	n := newNode(doc(pfEntry(pf0, 3, tenant(indexes(0, 2)))))
	g := &late{k: n.k, pods: map[string]bool{pods: true}}
	n.gate = g
	n.start()
	rep := n.a.Run(t.Context(), n.plan()).PFs[0]
	if rep.Err != nil || len(rep.Held) != 1 || len(g.asked) != 2 {
		t.Errorf("asked about %q, report %+v", g.asked, rep)
	}
	if got := section(n.k, pf0, "1"); strings.Contains(got, "100") {
		t.Errorf("the pod's VF: %s", got)
	}
	if got := section(n.k, pf0, "2"); !strings.Contains(got, "100") {
		t.Errorf("another VF: %s", got)
	}
	// What was not written is not taken for done, also where the driver reports nothing.
	if open := n.rec.PFs[pf0].Open; !slices.Contains(open, pf0+"/vf1/vf-spoof-check") {
		t.Errorf("open: %q", open)
	}
	g.pods = nil
	if p := n.converge(t); !p.Done() {
		t.Error(text(p))
	}
}

// TestPFThatAPodGotLate: a pod got the PF itself after the plan was made.
func TestPFThatAPodGotLate(t *testing.T) {
	n := newNode(doc(pfEntry(pf0, 3), pfEntry(pf1, 2)))
	n.gate = &late{k: n.k, pods: map[string]bool{pf0: true}}
	n.start()
	rep := n.a.Run(t.Context(), n.plan()).PFs[0]
	s := n.k.Snapshot()
	if rep.Err != nil || s.PF(pf0).NumVFs != 0 || len(rep.Done) > 0 {
		t.Errorf("%d VFs, %+v", s.PF(pf0).NumVFs, rep)
	}
	if s.PF(pf1).NumVFs != 2 {
		t.Errorf("the other PF has %d VFs", s.PF(pf1).NumVFs)
	}
}

// TestSubfunctionThatAPodGotLate: leaving switchdev deletes the PF's subfunctions.
func TestSubfunctionThatAPodGotLate(t *testing.T) {
	e := pfEntry(mlx, 0)
	e.EswitchMode = spec.EswitchSwitchdev
	n := newNode(doc(e))
	n.converge(t)
	n.k.AddSubfunction(mlx, "mlx5_core", 4)
	sf := n.k.Snapshot().Subfunctions[0].Name
	e.EswitchMode = spec.EswitchLegacy
	n.cfg = doc(e)
	g := &late{k: n.k, pods: map[string]bool{sf: true}}
	n.gate = g
	n.start()
	if n.a.Run(t.Context(), n.plan()); n.k.Snapshot().PF(mlx).EswitchMode != string(spec.EswitchSwitchdev) {
		t.Error("the mode was changed under the pod")
	}
	g.pods = nil
	if n.converge(t); n.k.Snapshot().PF(mlx).EswitchMode != string(spec.EswitchLegacy) {
		t.Error("the mode was not changed when the pod was gone")
	}
}

// TestNothingIsWrittenToWhatIsHeld: whatever is planned and whatever the gate says,
// nothing is written to a device of which it says that somebody has it, unless the
// operator forces it.
func TestNothingIsWrittenToWhatIsHeld(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := newNode(drawConfig(t))
		n.k.LoadVDPA("vhost_vdpa")
		n.k.LoadVDPA("virtio_vdpa")
		n.a.Run(t.Context(), n.plan())
		n.cfg = drawConfig(t)
		p := n.plan()
		g := &late{k: n.k, pods: map[string]bool{}}
		if rapid.IntRange(0, 9).Draw(t, "no answer") == 0 {
			g.err = errors.New("no answer")
		}
		for _, pf := range n.k.Snapshot().PFs {
			g.pods[pf.Address] = rapid.IntRange(0, 9).Draw(t, "PF held") == 0
			for _, vf := range pf.VFs {
				g.pods[vf.Address] = rapid.IntRange(0, 2).Draw(t, "VF held") == 0
			}
		}
		var mu sync.Mutex
		var wrong []string
		opts := n.options()
		opts.Gate = g
		at := map[string][]string{} // what each step of a PF writes to, as it was before the write
		opts.Point = func(name string) {
			mu.Lock()
			defer mu.Unlock()
			_, id, write := strings.Cut(name, "/write/")
			for i := range p.PFs {
				for j := range p.PFs[i].Steps {
					if s := &p.PFs[i].Steps[j]; write && s.ID == id {
						at[id] = addressed(n.k.Snapshot(), s.Op)
					}
				}
			}
		}
		opts.OnWrite = func(w apply.Write) {
			mu.Lock()
			defer mu.Unlock()
			if g.err != nil || slices.ContainsFunc(at[w.Step.ID], func(d string) bool { return g.pods[d] }) {
				wrong = append(wrong, w.Step.ID)
			}
		}
		newApplier(n.k, opts).Run(t.Context(), p)
		if len(wrong) > 0 {
			t.Fatalf("held: %v, written: %q\n%s", g.pods, wrong, text(p))
		}
	})
}
