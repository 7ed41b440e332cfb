package pool_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/pool"
	"github.com/talos-sriov/talos-sriov/pkg/selection"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

func pf(bus int, name string, numa, vfs int, driver string) inventory.PF {
	p := inventory.PF{
		Function: inventory.Function{Address: fmt.Sprintf("0000:%02x:00.0", bus), Vendor: "15b3", Driver: "mlx5_core", NUMANode: numa},
		TotalVFs: 8, NumVFs: vfs,
	}
	if name != "" {
		p.Netdevs = []inventory.Netdev{{Name: name}}
	}
	for i := range vfs {
		p.VFs = append(p.VFs, inventory.VF{Index: i, Function: inventory.Function{
			Address: fmt.Sprintf("0000:%02x:01.%d", bus, i), Driver: driver, NUMANode: numa, IOMMUGroup: 10 + i,
		}})
	}
	return p
}

func entry(name string, numVFs int, resource string, groups ...spec.VFGroup) spec.PhysicalFunction {
	return spec.PhysicalFunction{
		Match: spec.Match{Names: []string{name}}, NumVFs: &numVFs, ResourceName: resource, VirtualFunctions: groups,
	}
}

// show renders pools as "resource: id[!reason]...", the way the tables compare
// them.
func show(a *pool.Assignment) []string {
	var out []string
	for _, p := range a.Pools {
		s := p.Resource + ":"
		for _, d := range p.Devices {
			s += " " + strings.TrimPrefix(d.ID, "0000:")
			if !d.Healthy {
				s += "!(" + d.Reason.Text + ")"
			}
		}
		out = append(out, s)
	}
	return out
}

func TestAssign(t *testing.T) {
	noGroup := pf(1, "a", 0, 1, "vfio-pci")
	noGroup.VFs[0].IOMMUGroup = -1
	for _, tc := range []struct {
		name    string
		entries []spec.PhysicalFunction
		pfs     []inventory.PF
		want    []string
	}{
		{
			"one resource for all VFs",
			[]spec.PhysicalFunction{entry("a", 4, "x.y/all")},
			[]inventory.PF{pf(1, "a", 0, 4, "mlx5_core")},
			[]string{"x.y/all: 01:01.0 01:01.1 01:01.2 01:01.3"},
		},
		{
			"nothing here: the pool is kept, empty",
			[]spec.PhysicalFunction{entry("zz", 4, "x.y/all")},
			[]inventory.PF{pf(1, "a", 0, 4, "mlx5_core")},
			[]string{"x.y/all:"},
		},
		{
			"VFs not made yet: the pool is kept, empty",
			[]spec.PhysicalFunction{entry("a", 4, "x.y/all")},
			[]inventory.PF{pf(1, "a", 0, 0, "")},
			[]string{"x.y/all:"},
		},
		{
			"one resource across PFs, sorted by address",
			[]spec.PhysicalFunction{entry("b", 2, "x.y/all"), entry("a", 2, "x.y/all")},
			[]inventory.PF{pf(1, "a", 0, 2, "mlx5_core"), pf(2, "b", 1, 2, "mlx5_core")},
			[]string{"x.y/all: 01:01.0 01:01.1 02:01.0 02:01.1"},
		},
		{
			"groups override the entry's resource; the order is the config's",
			[]spec.PhysicalFunction{entry("a", 4, "x.y/rest",
				spec.VFGroup{Indexes: spec.IndexSet{2, 3}, ResourceName: "x.y/dpdk"},
				spec.VFGroup{Indexes: spec.IndexSet{1}})},
			[]inventory.PF{pf(1, "a", 0, 4, "mlx5_core")},
			[]string{"x.y/rest: 01:01.0 01:01.1", "x.y/dpdk: 01:01.2 01:01.3"},
		},
		{
			"no resource, no pool",
			[]spec.PhysicalFunction{entry("a", 4, "", spec.VFGroup{Indexes: spec.IndexSet{3}, ResourceName: "x.y/g"})},
			[]inventory.PF{pf(1, "a", 0, 4, "mlx5_core")},
			[]string{"x.y/g: 01:01.3"},
		},
		{
			"entries that agree on a PF give its VFs once",
			[]spec.PhysicalFunction{entry("a", 1, "x.y/all"), entry("*", 1, "x.y/all")},
			[]inventory.PF{pf(1, "a", 0, 1, "mlx5_core")},
			[]string{"x.y/all: 01:01.0"},
		},
		{
			"entries that disagree withhold its VFs",
			[]spec.PhysicalFunction{entry("a", 1, "x.y/all"), entry("*", 2, "x.y/two")},
			[]inventory.PF{pf(1, "a", 0, 1, "mlx5_core")},
			[]string{
				"x.y/all: 01:01.0!(the entries at line 0 and line 0 both select this PF and disagree (numVFs): make them agree or select different PFs)",
				"x.y/two:",
			},
		},
		{
			"VFs beyond numVFs are unhealthy",
			[]spec.PhysicalFunction{entry("a", 1, "x.y/all")},
			[]inventory.PF{pf(1, "a", 0, 2, "mlx5_core")},
			[]string{"x.y/all: 01:01.0 01:01.1!(VF 1 is beyond numVFs: 1 and is to be removed)"},
		},
		{
			"unbound",
			[]spec.PhysicalFunction{entry("a", 1, "x.y/all")},
			[]inventory.PF{pf(1, "a", 0, 1, "")},
			[]string{"x.y/all: 01:01.0!(no driver is bound: is the kernel module for this VF loaded?)"},
		},
		{
			"driver absent: any will do",
			[]spec.PhysicalFunction{entry("a", 1, "x.y/all")},
			[]inventory.PF{pf(1, "a", 0, 1, "vfio-pci")},
			[]string{"x.y/all: 01:01.0"},
		},
		{
			"driver default, vfio bound",
			[]spec.PhysicalFunction{entry("a", 1, "x.y/all", spec.VFGroup{Indexes: spec.IndexSet{0}, Driver: spec.DriverDefault})},
			[]inventory.PF{pf(1, "a", 0, 1, "vfio-pci")},
			[]string{"x.y/all: 01:01.0!(driver vfio-pci is bound, the config asks for the default driver)"},
		},
		{
			"driver vfio-pci, not bound yet",
			[]spec.PhysicalFunction{entry("a", 1, "x.y/all", spec.VFGroup{Indexes: spec.IndexSet{0}, Driver: spec.DriverVFIO})},
			[]inventory.PF{pf(1, "a", 0, 1, "")},
			[]string{"x.y/all: 01:01.0!(driver none is bound, the config asks for vfio-pci)"},
		},
		{
			"driver vfio-pci without IOMMU",
			[]spec.PhysicalFunction{entry("a", 1, "x.y/all", spec.VFGroup{Indexes: spec.IndexSet{0}, Driver: spec.DriverVFIO})},
			[]inventory.PF{noGroup},
			[]string{"x.y/all: 01:01.0!(the device has no IOMMU group: turn the IOMMU on (firmware and kernel arguments))"},
		},
		{
			"driver none",
			[]spec.PhysicalFunction{entry("a", 1, "x.y/all", spec.VFGroup{Indexes: spec.IndexSet{0}, Driver: spec.DriverNone})},
			[]inventory.PF{pf(1, "a", 0, 1, ""), pf(2, "b", 0, 1, "")},
			[]string{"x.y/all: 01:01.0"},
		},
		{
			"driver none, but bound",
			[]spec.PhysicalFunction{entry("a", 1, "x.y/all", spec.VFGroup{Indexes: spec.IndexSet{0}, Driver: spec.DriverNone})},
			[]inventory.PF{pf(1, "a", 0, 1, "iavf")},
			[]string{"x.y/all: 01:01.0!(driver iavf is bound, the config asks for none)"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := &spec.Config{PhysicalFunctions: tc.entries}
			snap := &inventory.Snapshot{PFs: tc.pfs}
			got := pool.Assign(cfg, snap, selection.PFs(cfg, snap))
			if d := cmp.Diff(tc.want, show(got)); d != "" {
				t.Errorf("pools (-want +got):\n%s", d)
			}
		})
	}
}

func TestExternallyManagedWithoutNumber(t *testing.T) {
	e := entry("a", 0, "x.y/all")
	e.NumVFs, e.ExternallyManaged = nil, true
	cfg := &spec.Config{PhysicalFunctions: []spec.PhysicalFunction{e}}
	snap := &inventory.Snapshot{PFs: []inventory.PF{pf(1, "a", 0, 3, "iavf")}}
	if got := pool.Assign(cfg, snap, selection.PFs(cfg, snap)).Pool("x.y/all").Healthy(); got != 3 {
		t.Errorf("%d healthy devices, want 3", got)
	}
}

func TestDevice(t *testing.T) {
	cfg := &spec.Config{PhysicalFunctions: []spec.PhysicalFunction{
		entry("a", 1, "x.y/a"),
		{Match: spec.Match{PCIAddresses: []string{"0000:02:00.0"}}, ResourceName: "x.y/b"},
	}}
	snap := &inventory.Snapshot{PFs: []inventory.PF{pf(1, "a", 1, 1, "mlx5_core"), pf(2, "", -1, 1, "mlx5_core")}}
	got := pool.Assign(cfg, snap, selection.PFs(cfg, snap))
	want := &pool.Assignment{Pools: []pool.Pool{
		{Resource: "x.y/a", Devices: []pool.Device{{
			ID: "0000:01:01.0", Kind: pool.KindNet, PF: "0000:01:00.0", PFName: "a", NUMANode: 1, Driver: "mlx5_core", Healthy: true,
			Info:       map[string]map[string]string{"generic": {"deviceID": "0000:01:01.0"}},
			DeviceInfo: &pool.DeviceInfo{Type: "pci", Version: "1.1.0", PCI: &pool.PCIInfo{Address: "0000:01:01.0", PFPCIAddress: "0000:01:00.0"}},
		}}},
		{Resource: "x.y/b", Devices: []pool.Device{{
			ID: "0000:02:01.0", Kind: pool.KindNet, PF: "0000:02:00.0", PFName: "0000:02:00.0", NUMANode: -1, Driver: "mlx5_core", Healthy: true,
			Info:       map[string]map[string]string{"generic": {"deviceID": "0000:02:01.0"}},
			DeviceInfo: &pool.DeviceInfo{Type: "pci", Version: "1.1.0", PCI: &pool.PCIInfo{Address: "0000:02:01.0", PFPCIAddress: "0000:02:00.0"}},
		}}},
	}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("assignment (-want +got):\n%s", d)
	}
}

func TestNilConfig(t *testing.T) {
	if got := pool.Assign(nil, &inventory.Snapshot{}, selection.Result{}); len(got.Pools) != 0 {
		t.Errorf("got %v", show(got))
	}
}

func TestWithhold(t *testing.T) {
	cfg := &spec.Config{PhysicalFunctions: []spec.PhysicalFunction{entry("a", 2, "x.y/a")}}
	snap := &inventory.Snapshot{PFs: []inventory.PF{pf(1, "a", 0, 3, "iavf")}}
	a := pool.Assign(cfg, snap, selection.PFs(cfg, snap))
	before := show(a)
	b := a.Withhold(map[string]pool.Reason{
		"0000:01:01.1": {Cause: pool.CauseWaiting, Text: "waits for a pod"}, "0000:01:01.2": {Cause: pool.CauseOpen, Text: "other"}, "nobody": {Text: "x"},
	})
	if !reflect.DeepEqual(before, show(a)) {
		t.Errorf("the original changed: %v", show(a))
	}
	want := []string{"x.y/a: 01:01.0 01:01.1!(waits for a pod) 01:01.2!(VF 2 is beyond numVFs: 2 and is to be removed)"}
	if d := cmp.Diff(want, show(b)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	devices := b.Pool("x.y/a").Devices
	if got := []pool.Cause{devices[0].Reason.Cause, devices[1].Reason.Cause, devices[2].Reason.Cause}; !slices.Equal(got, []pool.Cause{"", pool.CauseWaiting, pool.CauseUnusable}) {
		t.Errorf("causes %q", got)
	}
	if n := b.Pool("x.y/a").Healthy(); n != 1 {
		t.Errorf("%d healthy, want 1", n)
	}
	if a.Withhold(nil) != a {
		t.Error("nothing to withhold, but a copy was made")
	}
}
