package agent_test

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/talos-sriov/talos-sriov/pkg/health"
	"github.com/talos-sriov/talos-sriov/pkg/internal/modelkernel"
	"github.com/talos-sriov/talos-sriov/pkg/internal/sysfstest"
	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/plan"
	"github.com/talos-sriov/talos-sriov/pkg/pool"
	"github.com/talos-sriov/talos-sriov/pkg/record"
	"github.com/talos-sriov/talos-sriov/pkg/report"
	"github.com/talos-sriov/talos-sriov/pkg/selection"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/status"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// snapshots are machines of every kind, among them none at all.
func snapshots(t *testing.T) map[string]*inventory.Snapshot {
	t.Helper()
	out := map[string]*inventory.Snapshot{
		"nil": nil, "zero": {},
		"a device of each kind without anything": {
			PFs:    []inventory.PF{{}, {VFs: []inventory.VF{{}, {Index: -1}}, NumVFs: -1, TotalVFs: -1}},
			Others: []inventory.Function{{}}, Subfunctions: []inventory.Subfunction{{}}, RDMANetns: "shared",
			Network: inventory.NetworkAnswers{Complete: true},
		},
	}
	files, err := filepath.Glob("../inventory/testdata/*.sysfs")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		for _, network := range []inventory.Network{nil, modelkernel.New()} {
			s, err := inventory.Read(t.Context(), sysfstest.Load(t, f).Tree(t), network)
			if err != nil {
				t.Fatal(err)
			}
			out[fmt.Sprintf("%s, netlink %v", filepath.Base(f), network != nil)] = s
		}
	}
	k := modelkernel.Full()
	out["model"] = k.Snapshot()
	k.FailNetwork(func(string) error { return unix.ENOBUFS })
	out["model without answers"] = k.Snapshot()
	for what, change := range map[string]func(*modelkernel.Kernel){
		"without the PF": func(k *modelkernel.Kernel) { k.RemovePF("0000:21:00.0") },
		"a pod has a VF": func(k *modelkernel.Kernel) { k.Hold("0000:01:00.2", "p") },
		"no link":        func(k *modelkernel.Kernel) { k.Plug("0000:01:00.0", false) },
	} {
		k := modelkernel.Full()
		change(k)
		out["model, "+what] = k.Snapshot()
	}
	return out
}

// configs are those of every kind, among them none at all.
func configs(t *testing.T) map[string]*spec.Config {
	t.Helper()
	const head = "apiVersion: v1alpha1\nkind: SRIOVConfig\n"
	many, none := 5, -1
	out := map[string]*spec.Config{
		"nil": nil, "zero": {},
		"an empty entry": {PhysicalFunctions: []spec.PhysicalFunction{{}}},
		"an entry that spec refuses": {PhysicalFunctions: []spec.PhysicalFunction{{
			Match: spec.Match{Vendors: []string{"", "8086", "15b3"}}, NumVFs: &many, AllowUplink: true, EswitchMode: "x",
			VirtualFunctions: []spec.VFGroup{
				{}, {Indexes: spec.IndexSet{0, -1, 70000}, RDMA: true, VDPA: "x", Driver: "x", MACAddresses: spec.MACPolicy{Mode: spec.MACList}, Rate: &spec.Rate{Min: -1}, VLAN: &spec.VLAN{ID: -1}},
			},
		}, {Match: spec.Match{Vendors: []string{""}}, ExternallyManaged: true, NumVFs: &none}}},
		"fewer than no VFs":    {PhysicalFunctions: []spec.PhysicalFunction{{Match: spec.Match{Vendors: []string{"", "8086", "15b3"}}, AllowUplink: true, NumVFs: &none}}},
		"resources of nothing": {ResourceList: []spec.Resource{{}}},
	}
	for name, text := range map[string]string{
		"reference": string(spec.Reference()),
		"everything of every PF": head + `physicalFunctions:
  - match: {names: ["*"], vendors: ["8086", "15b3"]}
    numVFs: 2
    mtu: 9000
    allowUplink: true
    force: now
    required: true
    resourceName: example.com/a
    virtualFunctions:
      - {indexes: 0, driver: vfio-pci, trust: true, vlan: {id: 5}}
      - {indexes: 1, rdma: true, macAddresses: stable, spoofCheck: false, rate: {max: 10}, linkState: enable, mtu: 1500}
`,
		"no VFs": head + "physicalFunctions:\n  - match: {names: [\"*\"]}\n    numVFs: 0\n",
	} {
		c, err := spec.Load(name, []byte(text))
		if err != nil {
			t.Fatal(name, err)
		}
		out[name] = c
	}
	return out
}

// states are records of every kind.
func states() map[string]record.Record {
	during := func(boot string) record.Record {
		st := record.Record{BootID: boot, PFs: map[string]record.PF{"": {}}}
		for _, pf := range []string{"0000:21:00.0", "0000:01:00.0", "0000:17:00.0"} {
			for _, device := range []string{"8086:10c9", "15b3:1021", "8086:159b"} {
				st.PFs[pf] = record.PF{
					Device: device, SafeSpec: "h", Forced: []string{"now"}, Open: []string{"", pf + "/vf0/vf-mac"},
					Made:    &record.Made{Wrote: map[record.Setting][]string{record.NumVFs: {"2", "3"}}, EswitchMode: "legacy", MTU: 1400},
					Refused: map[string]record.Refusal{pf + "/vf0/vf-trust": {Value: "on", Volatile: true}},
				}
				if device[:4] == map[bool]string{true: "15b3", false: "8086"}[pf == "0000:01:00.0"] {
					break
				}
			}
		}
		return st
	}
	return map[string]record.Record{
		"zero": {}, "this boot": during("b"), "another boot": during("a"), "no boot": during(""), "lost": {Lost: true},
		"empty PF": {BootID: "b", PFs: map[string]record.PF{"0000:21:00.0": {Made: &record.Made{}}}},
	}
}

// TestPureFunctionsTakeEveryValue: on every machine, under every config and with
// every record each decision is an answer, the same one each time, and what is
// computed can be shown and recorded.
func TestPureFunctionsTakeEveryValue(t *testing.T) {
	t.Parallel()
	docs, records := configs(t), states()
	for machine, s := range snapshots(t) {
		for doc, cfg := range docs {
			sel := selection.PFs(cfg, s)
			a := pool.Assign(cfg, s, sel)
			for i := range a.Pools {
				p := &a.Pools[i]
				ids := make([]string, 0, len(p.Devices))
				for _, d := range p.Devices {
					ids = append(ids, d.ID)
				}
				for n := -1; n <= len(ids)+1; n++ {
					_, _ = p.Prefer(ids, nil, n)
				}
			}
			a.Withhold(map[string]pool.Reason{"0000:21:10.0": {Text: "x"}, "": {}})
			var j health.Judge
			for _, held := range []bool{false, true} {
				j.Observe(health.From(cfg), s, a, func(string) bool { return held }, time.Time{})
				j.Observe(health.From(cfg), nil, a, func(string) bool { return held }, time.Unix(1e9, 0))
				j.Observe(health.Settings{}, s, nil, func(string) bool { return held }, time.Unix(2e9, 0))
			}
			var w plan.Watch
			quiet, _ := w.See(s, time.Time{}, 0)
			for record, st := range records {
				for _, boot := range []string{"b", ""} {
					in := plan.Input{Config: cfg, SpecHash: "h", Snapshot: s, Quiet: quiet, Record: st, BootID: boot, Use: use.Judge(use.Evidence{Snapshot: s})}
					check(t, fmt.Sprintf("%s, %s, %s, boot %q", machine, doc, record, boot), in)
				}
			}
			check(t, machine+", "+doc, plan.Input{Config: cfg, Snapshot: s})
			check(t, machine+", "+doc+", forced", plan.Input{Config: cfg, Snapshot: s, Force: map[string]bool{"0000:21:00.0": true}, Quiet: quiet,
				Use: use.Judge(use.Evidence{Snapshot: s, KubeletSeen: true})})
		}
		if s != nil {
			if err := inventory.Table(io.Discard, s); err != nil {
				t.Errorf("%s: %v", machine, err)
			}
		}
	}
}

func check(t *testing.T, what string, in plan.Input) {
	t.Helper()
	p := plan.Compute(in)
	if again := plan.Compute(in); len(again.PFs) != len(p.PFs) || len(again.Problems) != len(p.Problems) {
		t.Errorf("%s: another plan the second time", what)
	}
	if in.Config == nil && len(p.Problems)+len(p.Notices) > 0 {
		t.Errorf("%s: without a config: %+v %+v", what, p.Problems, p.Notices)
	}
	if err := status.PlanText(io.Discard, report.Plan(p)); err != nil {
		t.Errorf("%s: %v", what, err)
	}
	if err := json.NewEncoder(io.Discard).Encode(report.Plan(p)); err != nil {
		t.Errorf("%s: %v", what, err)
	}
	st, _ := in.Record.Acknowledge(p.Tokens())
	st, _ = st.Proven(p.Evidence(), in.SpecHash)
	for i := range p.PFs {
		f := &p.PFs[i]
		ids := make([]string, 0, len(f.Steps))
		for j := range f.Steps {
			ids = append(ids, f.Steps[j].ID)
		}
		if slices.Contains(ids, "") {
			t.Errorf("%s: a step without ID: %+v", what, f.Steps)
		}
		st = st.Begin(f.Run(), ids).End(f.Run(), record.Outcome{Unfinished: ids}).Boot("other")
	}
}

// TestNoConfigOnANodeWithRDMA: the mode of the kernel's RDMA devices is nothing
// to a daemon without a config, from the start and after one was removed.
func TestNoConfigOnANodeWithRDMA(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.kubelet.Start()
	const pf = "0000:01:00.0"
	n.kernel.AddPF(modelkernel.PF{Address: pf, Vendor: "15b3", Device: "1021", VFDevice: "101e", Driver: "mlx5_core", Total: 8, Name: "enp1s0f0np0", MAC: "b8:3f:d2:00:00:01", Offset: 2, Stride: 1})
	if err := n.kernel.Write("bus/pci/devices/"+pf+"/sriov_numvfs", "2"); err != nil {
		t.Fatal(err)
	}
	n.start()
	absent := func(s *status.Status) bool { return s.Spec.State == status.SpecAbsent && s.RDMANetns == "shared" }
	n.status("no config", absent)
	n.configure(vfs(pfA, 4))
	n.healthy(4)
	if err := os.Remove(n.config); err != nil {
		t.Fatal(err)
	}
	n.status("no config again", absent)
	n.status("undone", func(*status.Status) bool { return n.kernel.Snapshot().PF(pfA).NumVFs == 0 })
}
