package plan_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

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

var update = flag.Bool("update", false, "write golden files")

const (
	igb0 = "0000:21:00.0"
	igb1 = "0000:41:00.0"
	cx7  = "0000:01:00.0"
)

func machine() *modelkernel.Kernel {
	k := modelkernel.New(modelkernel.Standard()...)
	k.AddPF(modelkernel.PF{Address: igb0, Vendor: "8086", Device: "10c9", VFDevice: "10ca", Driver: "igb", Total: 7, Name: "enp33s0", MAC: "52:54:00:00:00:01"})
	k.AddPF(modelkernel.PF{Address: igb1, Vendor: "8086", Device: "10c9", VFDevice: "10ca", Driver: "igb", Total: 7, Name: "enp65s0", MAC: "52:54:00:00:00:02", NUMA: 1})
	k.AddPF(modelkernel.PF{Address: cx7, Vendor: "15b3", Device: "1021", VFDevice: "101e", Driver: "mlx5_core", Total: 16, Name: "enp1s0f0np0", MAC: "b8:3f:d2:00:00:01", Offset: 2, Stride: 1})
	return k
}

func write(t *testing.T, k *modelkernel.Kernel, name, value string) {
	t.Helper()
	if err := k.Write(name, value); err != nil {
		t.Fatal(err)
	}
}

func entry(line, n int, names ...string) spec.PhysicalFunction {
	return spec.PhysicalFunction{
		Match: spec.Match{Names: names}, NumVFs: &n, ResourceName: "example.com/vf",
		Pos: spec.Pos{Line: line, Column: 5},
	}
}

func config(entries ...spec.PhysicalFunction) *spec.Config {
	return &spec.Config{PhysicalFunctions: entries}
}

// allFree is what use.Judge says of a machine without pods.
func judged(k *modelkernel.Kernel, held map[string]string) use.Set {
	kl := use.Kubelet{Answered: true, Held: map[string][]use.Holder{}}
	for dev, pod := range held {
		kl.Held[dev] = []use.Holder{{Device: dev, Namespace: "default", Pod: pod, Evidence: use.EvidencePodResources}}
	}
	return use.Judge(use.Evidence{Snapshot: k.Snapshot(), Kubelet: kl})
}

func judgedAll(s *inventory.Snapshot) use.Set {
	return use.Judge(use.Evidence{Snapshot: s, Kubelet: use.Kubelet{Answered: true}})
}

// planned is the plan of a machine of which a test that says nothing of who has what
// means that nobody has a PF.
func planned(in plan.Input) *plan.Plan {
	if in.Use.Devices == nil && in.Snapshot != nil {
		in.Use.Devices = map[string]use.Status{}
		for i := range in.Snapshot.PFs {
			in.Use.Devices[in.Snapshot.PFs[i].Address] = use.Status{State: use.Free}
		}
	}
	return plan.Compute(in)
}

func TestComputeGolden(t *testing.T) {
	cases := []struct {
		name string
		in   func(t *testing.T) plan.Input
	}{
		{"create", func(*testing.T) plan.Input {
			return plan.Input{Config: config(entry(4, 4, "enp33s0"), entry(7, 2, "enp1s0f*")), Snapshot: machine().Snapshot()}
		}},
		{"nothing", func(t *testing.T) plan.Input {
			k := machine()
			write(t, k, "bus/pci/devices/"+igb0+"/sriov_numvfs", "4")
			return plan.Input{Config: config(entry(4, 4, "enp33s0")), Snapshot: k.Snapshot()}
		}},
		{"autoprobe-was-off", func(t *testing.T) plan.Input {
			k := machine()
			write(t, k, "bus/pci/devices/"+igb0+"/sriov_drivers_autoprobe", "0")
			return plan.Input{Config: config(entry(4, 4, "enp33s0")), Snapshot: k.Snapshot()}
		}},
		{"grow-free", func(t *testing.T) plan.Input {
			k := machine()
			write(t, k, "bus/pci/devices/"+igb0+"/sriov_numvfs", "4")
			return plan.Input{Config: config(entry(4, 6, "enp33s0")), Snapshot: k.Snapshot(), Use: judged(k, nil)}
		}},
		{"grow-held", func(t *testing.T) plan.Input {
			k := machine()
			write(t, k, "bus/pci/devices/"+igb0+"/sriov_numvfs", "4")
			return plan.Input{Config: config(entry(4, 6, "enp33s0"), entry(9, 1, "enp65s0")), Snapshot: k.Snapshot(),
				Use: judged(k, map[string]string{"0000:21:10.2": "trader-0", "0000:21:10.6": "trader-1"})}
		}},
		{"grow-forced", func(t *testing.T) plan.Input {
			k := machine()
			write(t, k, "bus/pci/devices/"+igb0+"/sriov_numvfs", "4")
			return plan.Input{Config: config(entry(4, 6, "enp33s0")), Snapshot: k.Snapshot(), Force: map[string]bool{igb0: true},
				Use: judged(k, map[string]string{"0000:21:10.2": "trader-0"})}
		}},
		{"grow-ordered", func(t *testing.T) plan.Input {
			k := machine()
			write(t, k, "bus/pci/devices/"+igb0+"/sriov_numvfs", "4")
			write(t, k, "bus/pci/devices/"+igb1+"/sriov_numvfs", "4")
			fresh, old := entry(4, 6, "enp33s0"), entry(9, 6, "enp65s0")
			fresh.Force, old.Force = "today", "yesterday"
			return plan.Input{Config: config(fresh, old), Snapshot: k.Snapshot(),
				Record: record.Record{PFs: map[string]record.PF{igb1: {Device: "8086:10c9", Forced: []string{"before", "yesterday"}}}},
				Use:    judged(k, map[string]string{"0000:21:10.2": "trader-0", "0000:41:10.2": "trader-1"})}
		}},
		{"shrink-unknown", func(t *testing.T) plan.Input {
			k := machine()
			write(t, k, "bus/pci/devices/"+igb0+"/sriov_numvfs", "2")
			return plan.Input{Config: config(entry(4, 0, "enp33s0")), Snapshot: k.Snapshot(),
				Use: use.Judge(use.Evidence{Snapshot: k.Snapshot(), KubeletSeen: true, Kubelet: use.Kubelet{Err: "no kubelet listens"}})}
		}},
		{"too-many", func(*testing.T) plan.Input {
			return plan.Input{Config: config(entry(4, 9, "enp33s0"), entry(8, 3, "enp65s0")), Snapshot: machine().Snapshot()}
		}},
		{"no-driver", func(*testing.T) plan.Input {
			k := modelkernel.New(modelkernel.Standard()...)
			k.AddPF(modelkernel.PF{Address: igb0, Vendor: "8086", Device: "10c9", VFDevice: "10ca", Total: 7})
			c := config(entry(4, 2))
			c.PhysicalFunctions[0].Match.PCIAddresses = []string{igb0}
			return plan.Input{Config: c, Snapshot: k.Snapshot()}
		}},
		{"unmatched", func(*testing.T) plan.Input {
			c := config(entry(4, 2, "enp99s0"), entry(7, 2, "enp98s0"))
			c.PhysicalFunctions[1].Required = true
			return plan.Input{Config: c, Snapshot: machine().Snapshot()}
		}},
		{"disagree", func(*testing.T) plan.Input {
			return plan.Input{Config: config(entry(4, 2, "enp33s0"), entry(7, 3, "enp*s0")), Snapshot: machine().Snapshot()}
		}},
		{"external", func(*testing.T) plan.Input {
			c := config(entry(4, 2, "enp33s0"))
			c.PhysicalFunctions[0].ExternallyManaged = true
			return plan.Input{Config: c, Snapshot: machine().Snapshot()}
		}},
		{"uplink", func(*testing.T) plan.Input {
			s := machine().Snapshot()
			s.PF(igb0).Uplink = "carries the IPv4 default route"
			return plan.Input{Config: config(entry(4, 4, "enp*s0")), Snapshot: s}
		}},
		{"no-evidence", func(*testing.T) plan.Input {
			return plan.Input{Config: config(entry(4, 4, "enp33s0")), Snapshot: machine().Snapshot(), SpecHash: "unproven"}
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			in := c.in(t)
			if in.SpecHash == "" {
				in.Quiet = plan.QuietNow(in.Snapshot)
			}
			var b bytes.Buffer
			if err := status.PlanText(&b, report.Plan(planned(in))); err != nil {
				t.Fatal(err)
			}
			golden(t, c.name+".txt", b.Bytes())
		})
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s (-want +got):\n%s", file, d)
	}
}

func TestJSONIsStable(t *testing.T) {
	var a, b bytes.Buffer
	for _, w := range []*bytes.Buffer{&a, &b} {
		in := plan.Input{Config: config(entry(4, 4, "enp*s0")), Snapshot: machine().Snapshot(), Quiet: plan.QuietNow(machine().Snapshot())}
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		if err := e.Encode(report.Plan(planned(in))); err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff(a.String(), b.String()); d != "" {
		t.Error(d)
	}
	golden(t, "create.json", a.Bytes())
}

// TestEarlyStart walks the guard of the machine's own network (rule 8 of the reconcile
// contract, docs/architecture.md) through the boots of a node's life.
func TestEarlyStart(t *testing.T) {
	cfg := config(entry(4, 4, "enp33s0"))
	compute := func(in plan.Input) *plan.Plan {
		if in.Snapshot == nil {
			in.Snapshot = machine().Snapshot()
		}
		if in.Config == nil {
			in.Config = cfg
		}
		return planned(in)
	}
	blocked := func(p *plan.Plan) bool { return len(p.PFs[0].Steps) == 0 }

	first := compute(plan.Input{SpecHash: "h1", BootID: "b1"})
	if !blocked(first) || !first.PFs[0].Problems[0].Pending || !first.PFs[0].Problems[0].Settling {
		t.Fatalf("the first boot did not wait for evidence: %+v", first.PFs[0])
	}
	route := machine().Snapshot()
	route.DefaultRoute = true
	if p := compute(plan.Input{SpecHash: "h1", BootID: "b1", Snapshot: route}); !blocked(p) || p.PFs[0].Safe {
		t.Error("a default route somewhere proved something about this PF")
	}
	seen := compute(plan.Input{SpecHash: "h1", BootID: "b1", Quiet: plan.Quiet{igb0: true}})
	if blocked(seen) {
		t.Fatal("with evidence the PF is still blocked")
	}
	st, news := record.Record{BootID: "b1"}.Proven(seen.Evidence(), "h1")
	if !news {
		t.Fatal("the proof was not recorded")
	}
	if _, again := st.Proven(seen.Evidence(), "h1"); again {
		t.Error("the same proof is news twice")
	}
	if next := compute(plan.Input{SpecHash: "h1", BootID: "b2", Record: st.Boot("b2")}); blocked(next) {
		t.Error("the next boot did not start at once")
	}
	if changed := compute(plan.Input{SpecHash: "h2", BootID: "b2", Record: st.Boot("b2")}); !blocked(changed) {
		t.Error("a changed document started without evidence")
	}
	other := machine().Snapshot()
	other.PF(igb0).Netdevs[0].PermMAC = "52:54:00:00:00:99"
	if swapped := compute(plan.Input{SpecHash: "h1", BootID: "b2", Record: st.Boot("b2"), Snapshot: other}); !blocked(swapped) {
		t.Error("another card in the slot inherited the proof")
	}
	uplink := machine().Snapshot()
	uplink.PF(igb0).Uplink = "carries the address 10.0.0.1/24"
	refused := compute(plan.Input{SpecHash: "h1", BootID: "b2", Record: st, Snapshot: uplink})
	if !blocked(refused) || refused.PFs[0].Problems[0].Pending {
		t.Error("an uplink went ahead on an old proof")
	}
	if lost, news := st.Proven(refused.Evidence(), "h1"); !news || lost.PFs[igb0].SafeSpec != "" {
		t.Error("an uplink kept its safe record")
	}
	allow := config(entry(4, 4, "enp33s0"))
	allow.PhysicalFunctions[0].AllowUplink = true
	if p := compute(plan.Input{Config: allow, Snapshot: uplink}); blocked(p) {
		t.Error("allowUplink did not allow")
	}
}

func TestWithdrawNamesAllDestroyedVFs(t *testing.T) {
	k := machine()
	write(t, k, "bus/pci/devices/"+igb0+"/sriov_numvfs", "3")
	p := planned(plan.Input{Config: config(entry(4, 6, "enp33s0")), Snapshot: k.Snapshot(), Quiet: plan.QuietNow(k.Snapshot()),
		Use: judged(k, map[string]string{"0000:21:10.2": "a"})})
	want := []string{"0000:21:10.0", "0000:21:10.2", "0000:21:10.4"}
	if d := cmp.Diff(want, p.PFs[0].Withdraw); d != "" {
		t.Error(d)
	}
}

func link(t *testing.T, k *modelkernel.Kernel, pf string) nl.LinkRef {
	t.Helper()
	d := k.Snapshot().PF(pf).Netdevs[0]
	return nl.LinkRef{Index: d.Index, Name: d.Name}
}
