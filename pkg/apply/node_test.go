package apply_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/talos-sriov/talos-sriov/pkg/apply"
	"github.com/talos-sriov/talos-sriov/pkg/internal/modelkernel"
	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/nl"
	"github.com/talos-sriov/talos-sriov/pkg/plan"
	"github.com/talos-sriov/talos-sriov/pkg/record"
	"github.com/talos-sriov/talos-sriov/pkg/report"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/status"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

const (
	mlx = "0000:01:00.0"
	ice = "0000:17:00.0"
)

// node is a model kernel with an applier and its record, as the agent has them.
type node struct {
	k     *modelkernel.Kernel
	a     applier
	rec   record.Record
	cfg   *spec.Config
	held  []string
	gate  apply.Gate
	force map[string]bool

	mu sync.Mutex // guards rec
}

func (n *node) link(t testing.TB, pf string) nl.LinkRef {
	t.Helper()
	d := n.k.Snapshot().PF(pf).Netdevs[0]
	return nl.LinkRef{Index: d.Index, Name: d.Name}
}

const (
	boot = "b1"
	hash = "document"
)

// newNode has two igb PFs, a ConnectX-7 and an E810.
func newNode(cfg *spec.Config) *node {
	n := &node{k: machine(), cfg: cfg}
	n.k.AddPF(modelkernel.PF{Address: mlx, Vendor: "15b3", Device: "1021", VFDevice: "101e", Driver: "mlx5_core", Total: 8, Name: "enp1s0f0np0", MAC: "b8:3f:d2:00:00:01", Offset: 2, Stride: 1, Eswitch: true})
	n.k.AddPF(modelkernel.PF{Address: ice, Vendor: "8086", Device: "159b", VFDevice: "1889", Driver: "ice", Total: 8, Name: "ens1f0", MAC: "b4:96:91:00:00:01", Offset: 8, Stride: 1, Eswitch: true})
	n.rec = proved(n.k.Snapshot())
	n.start()
	return n
}

// proved is the record of a machine that was up for a while under the config
// with the hash: each port that has a link and no address is no uplink.
func proved(s *inventory.Snapshot) record.Record {
	var seen []record.Evidence
	quiet := plan.QuietNow(s)
	for i := range s.PFs {
		pf := &s.PFs[i]
		seen = append(seen, record.Evidence{
			Card: record.Card{Address: pf.Address, Device: pf.Vendor + ":" + pf.Device, PermMAC: pf.Netdevs[0].PermMAC},
			Safe: quiet[pf.Address],
		})
	}
	r, _ := record.Record{BootID: boot}.Proven(seen, hash)
	return r
}

// start is what a new process has: nothing but the record.
func (n *node) start() {
	n.a = newApplier(n.k, n.options())
}

// applier runs whole plans.
type applier struct{ *apply.Applier }

// newApplier is an applier of the model kernel.
func newApplier(k *modelkernel.Kernel, o apply.Options) applier {
	o.Links = k
	a, err := apply.New(k, complete(o))
	if err != nil {
		panic(err)
	}
	return applier{a}
}

// complete adds what the options lack: a journal that keeps nothing, a gate that
// finds nobody.
func complete(o apply.Options) apply.Options {
	if o.Journal == nil {
		o.Journal = nowhere{}
	}
	if o.Gate == nil {
		o.Gate = nobody{}
	}
	if o.OnWrite == nil {
		o.OnWrite = func(apply.Write) {}
	}
	if o.OnAnswer == nil {
		o.OnAnswer = func(string) {}
	}
	return o
}

type nowhere struct{}

func (nowhere) Begin(context.Context, record.Run, []string) error     { return nil }
func (nowhere) End(context.Context, record.Run, record.Outcome) error { return nil }

type nobody struct{}

func (n nobody) Begin(string) apply.Claims { return n }

func (nobody) Claim(context.Context, []string) ([]use.Holder, error) { return nil, nil }

func (nobody) Release() {}

// reports are what the runs on the PFs of a plan came to.
type reports struct{ PFs []*apply.Report }

// Run runs on all PFs at once, as the agent does.
func (a applier) Run(ctx context.Context, p *plan.Plan) reports {
	out := reports{make([]*apply.Report, len(p.PFs))}
	var wg sync.WaitGroup
	for i := range p.PFs {
		out.PFs[i] = &apply.Report{} // of a run that crashes
		wg.Go(func() { out.PFs[i] = a.Applier.Run(ctx, &p.PFs[i]) })
	}
	wg.Wait()
	return out
}

// Err joins the errors of all PFs.
func (r reports) Err() error {
	errs := make([]error, 0, len(r.PFs))
	for _, f := range r.PFs {
		errs = append(errs, f.Err)
	}
	return errors.Join(errs...)
}

func (n *node) options() apply.Options {
	return apply.Options{Journal: n, Gate: n.gate}
}

func (n *node) plan() *plan.Plan {
	s := n.k.Snapshot()
	kl := use.Kubelet{Answered: true, Held: map[string][]use.Holder{}}
	for _, h := range n.held {
		kl.Held[h] = []use.Holder{{Device: h, Namespace: "default", Pod: "p", Evidence: use.EvidencePodResources}}
	}
	return plan.Compute(plan.Input{
		Config: n.cfg, SpecHash: hash, Snapshot: s, Quiet: plan.QuietNow(s), Record: n.rec, BootID: boot, Force: n.force,
		Use: use.Judge(use.Evidence{Snapshot: s, Kubelet: kl}),
	})
}

func (n *node) hold(vf string) {
	n.k.Hold(vf, "p")
	n.held = append(n.held, vf)
}

func (n *node) release(vf string) {
	n.k.Release(vf)
	n.held = slices.DeleteFunc(n.held, func(h string) bool { return h == vf })
}

// converge runs until nothing is left to do that can be done, and returns the
// last plan.
func (n *node) converge(t testing.TB) *plan.Plan {
	t.Helper()
	for range 8 {
		p := n.plan()
		if !runnable(p) {
			before := len(n.k.Writes())
			n.a.Run(t.Context(), p)
			if w := n.k.Writes()[before:]; len(w) > 0 {
				t.Fatalf("a plan without runnable steps wrote %q", w)
			}
			return p
		}
		if err := n.a.Run(t.Context(), p).Err(); err != nil {
			t.Fatal(err)
		}
	}
	p := n.plan()
	t.Fatalf("does not converge: %s", text(p))
	return p
}

func runnable(p *plan.Plan) bool {
	for i := range p.PFs {
		held := plan.Held(&p.PFs[i])
		for j := range p.PFs[i].Steps {
			if held[p.PFs[i].Steps[j].ID] == "" {
				return true
			}
		}
	}
	return false
}

func text(p *plan.Plan) string {
	var b strings.Builder
	if err := status.PlanText(&b, report.Plan(p)); err != nil {
		return err.Error()
	}
	return b.String()
}

// The node is the journal of its applier. PFs run in parallel.
func (n *node) Begin(_ context.Context, run record.Run, ids []string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.rec = n.rec.Begin(run, ids)
	return nil
}

func (n *node) End(_ context.Context, run record.Run, out record.Outcome) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.rec = n.rec.End(run, out)
	return nil
}

func pfEntry(pf string, n int, groups ...spec.VFGroup) spec.PhysicalFunction {
	return spec.PhysicalFunction{
		Match: spec.Match{PCIAddresses: []string{pf}}, NumVFs: &n, Pos: spec.Pos{Line: 3, Column: 5}, VirtualFunctions: groups,
	}
}

func doc(entries ...spec.PhysicalFunction) *spec.Config {
	return &spec.Config{PhysicalFunctions: entries}
}

func ptr[T any](v T) *T { return &v }

func indexes(from, to int) spec.IndexSet {
	var s spec.IndexSet
	for i := from; i <= to; i++ {
		s = append(s, i)
	}
	return s
}
