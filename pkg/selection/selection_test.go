package selection_test

import (
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/selection"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

const (
	cx0  = "0000:01:00.0"
	cx1  = "0000:01:00.1"
	e810 = "0000:3b:00.0"
	vf0  = "0000:01:00.2"
	e1k  = "0000:00:1f.6"
)

// snapshot has two ports of a ConnectX-7 (the second under a bond, so that its
// current MAC is the first one's), an E810 without a driver, and an e1000e.
func snapshot() *inventory.Snapshot {
	return &inventory.Snapshot{
		PFs: []inventory.PF{
			{
				Function: inventory.Function{
					Address: cx0, Vendor: "15b3", Device: "1021", Driver: "mlx5_core",
					Netdevs: []inventory.Netdev{{
						Name: "enp1s0f0np0", AltNames: []string{"qsfp0", "enxb83fd2000001"},
						MAC: "b8:3f:d2:00:00:01", PermMAC: "b8:3f:d2:00:00:01",
					}},
				},
				VFs: []inventory.VF{{Function: inventory.Function{
					Address: vf0, Vendor: "15b3", Device: "101e", Driver: "mlx5_core",
					Netdevs: []inventory.Netdev{{Name: "enp1s0f0v0", MAC: "02:00:00:00:00:01"}},
				}}},
			},
			{Function: inventory.Function{
				Address: cx1, Vendor: "15b3", Device: "1021", Driver: "mlx5_core",
				Netdevs: []inventory.Netdev{{
					Name: "enp1s0f1np1", MAC: "b8:3f:d2:00:00:01", PermMAC: "b8:3f:d2:00:00:02",
				}},
			}},
			{Function: inventory.Function{Address: e810, Vendor: "8086", Device: "1592"}},
		},
		Others: []inventory.Function{{
			Address: e1k, Vendor: "8086", Device: "15b7", Driver: "e1000e",
			Netdevs: []inventory.Netdev{{Name: "eno1", MAC: "54:e1:ad:00:00:01"}},
		}},
	}
}

func TestMatch(t *testing.T) {
	for _, tc := range []struct {
		name  string
		match spec.Match
		want  selection.Entry
	}{
		{"no key at all", spec.Match{}, selection.Entry{}},
		{"name", spec.Match{Names: []string{"enp1s0f0np0"}}, selection.Entry{PFs: []string{cx0}}},
		{"altname", spec.Match{Names: []string{"qsfp0"}}, selection.Entry{PFs: []string{cx0}}},
		{"glob", spec.Match{Names: []string{"enp1s0f*np*"}}, selection.Entry{PFs: []string{cx0, cx1}}},
		{"glob with class", spec.Match{Names: []string{"enp1s0f[1-9]np?"}}, selection.Entry{PFs: []string{cx1}}},
		{"glob over altnames", spec.Match{Names: []string{"enxb83f*"}}, selection.Entry{PFs: []string{cx0}}},
		{"glob must match the whole name", spec.Match{Names: []string{"enp1s0f*n"}}, selection.Entry{}},
		{"malformed glob", spec.Match{Names: []string{"enp1s0f[0np0"}}, selection.Entry{}},
		{"names are an or", spec.Match{Names: []string{"enp1s0f1np1", "enp1s0f0np0"}}, selection.Entry{PFs: []string{cx0, cx1}}},
		{"one name of two is missing", spec.Match{Names: []string{"enp9s0", "qsfp0"}}, selection.Entry{PFs: []string{cx0}}},
		{"address", spec.Match{PCIAddresses: []string{e810}}, selection.Entry{PFs: []string{e810}}},
		{"vendor", spec.Match{Vendors: []string{"15b3"}}, selection.Entry{PFs: []string{cx0, cx1}}},
		{"vendor or vendor", spec.Match{Vendors: []string{"15b3", "8086"}}, selection.Entry{PFs: []string{cx0, cx1, e810}}},
		{"device", spec.Match{Devices: []string{"1592"}}, selection.Entry{PFs: []string{e810}}},
		{"driver", spec.Match{Drivers: []string{"mlx5_core"}}, selection.Entry{PFs: []string{cx0, cx1}}},
		{"driver does not match unbound", spec.Match{Drivers: []string{"ice"}}, selection.Entry{}},
		{"permanent MAC", spec.Match{MACAddresses: []string{"b8:3f:d2:00:00:02"}}, selection.Entry{PFs: []string{cx1}}},
		{"the bond's MAC is only the first port's", spec.Match{MACAddresses: []string{"B8:3F:D2:00:00:01"}}, selection.Entry{PFs: []string{cx0}}},
		{"keys are an and", spec.Match{Vendors: []string{"15b3"}, Names: []string{"*f1*"}}, selection.Entry{PFs: []string{cx1}}},
		{"keys that contradict", spec.Match{Vendors: []string{"8086"}, Names: []string{"qsfp0"}}, selection.Entry{}},
		{"nothing here has the name", spec.Match{Names: []string{"eth7"}}, selection.Entry{}},
		{"nothing here has any of them", spec.Match{Names: []string{"eth7", "eth7"}, PCIAddresses: []string{"0000:99:00.0"}, MACAddresses: []string{"aa:bb:cc:dd:ee:ff"}},
			selection.Entry{}},
		{"no SR-IOV, by name", spec.Match{Names: []string{"eno1"}}, selection.Entry{Unusable: []selection.Unusable{{Named: "eno1", Address: e1k}}}},
		{"no SR-IOV, by address", spec.Match{PCIAddresses: []string{e1k}}, selection.Entry{Unusable: []selection.Unusable{{Named: e1k, Address: e1k}}}},
		{"no SR-IOV, by MAC", spec.Match{MACAddresses: []string{"54:e1:ad:00:00:01"}}, selection.Entry{Unusable: []selection.Unusable{{Named: "54:e1:ad:00:00:01", Address: e1k}}}},
		{"no SR-IOV, but another key excludes it", spec.Match{Names: []string{"eno1"}, Vendors: []string{"15b3"}}, selection.Entry{}},
		{"no SR-IOV under a glob is no finding", spec.Match{Names: []string{"en*"}}, selection.Entry{PFs: []string{cx0, cx1}}},
		{"a VF is no PF", spec.Match{Names: []string{"enp1s0f0v0"}}, selection.Entry{Unusable: []selection.Unusable{{Named: "enp1s0f0v0", Address: vf0, PF: cx0}}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := &spec.Config{PhysicalFunctions: []spec.PhysicalFunction{{Match: tc.match}}}
			snap := snapshot()
			got := selection.PFs(cfg, snap)
			if d := cmp.Diff([]selection.Entry{tc.want}, got.Entries); d != "" {
				t.Errorf("entries (-want +got):\n%s", d)
			}
			if len(got.Bindings) != len(tc.want.PFs) {
				t.Errorf("got %d bindings, want %d", len(got.Bindings), len(tc.want.PFs))
			}
			if !reflect.DeepEqual(snap, snapshot()) {
				t.Error("the snapshot was changed")
			}
		})
	}
}

func TestNothing(t *testing.T) {
	if got := selection.PFs(nil, snapshot()); got.Entries != nil || got.Bindings != nil {
		t.Errorf("nil config selected %+v", got)
	}
	if got := selection.PFs(&spec.Config{PhysicalFunctions: make([]spec.PhysicalFunction, 1)}, nil); got.Bindings != nil {
		t.Errorf("nil snapshot selected %+v", got)
	}
}

func TestBindings(t *testing.T) {
	n4, other4, n8 := 4, 4, 8
	entry := func(line int, n *int, m spec.Match) spec.PhysicalFunction {
		return spec.PhysicalFunction{
			Match: m, NumVFs: n, ResourceName: "a.b/c", Pos: spec.Pos{Line: line, Column: 5},
			VirtualFunctions: []spec.VFGroup{{Indexes: spec.IndexSet{0}, Pos: spec.Pos{Line: line + 2, Column: 9}}},
		}
	}
	cfg := &spec.Config{PhysicalFunctions: []spec.PhysicalFunction{
		entry(10, &n4, spec.Match{Names: []string{"*f1*"}}),
		entry(20, &other4, spec.Match{Vendors: []string{"15b3"}, Drivers: []string{"mlx5_core"}}),
		entry(30, &n8, spec.Match{PCIAddresses: []string{cx0}}),
		entry(40, &n8, spec.Match{PCIAddresses: []string{cx0}}),
	}}
	cfg.PhysicalFunctions[2].VirtualFunctions[0].Driver = spec.DriverVFIO
	got := selection.PFs(cfg, snapshot())
	want := []selection.Binding{
		{PF: cx0, Entry: &cfg.PhysicalFunctions[1], Newest: &cfg.PhysicalFunctions[1], Conflict: &selection.Conflict{
			FirstPos: spec.Pos{Line: 20, Column: 5}, SecondPos: spec.Pos{Line: 30, Column: 5},
			Keys: []string{"numVFs", "virtualFunctions"},
		}},
		{PF: cx1, Entry: &cfg.PhysicalFunctions[0], Newest: &cfg.PhysicalFunctions[0]},
	}
	if d := cmp.Diff(want, got.Bindings); d != "" {
		t.Errorf("bindings (-want +got):\n%s", d)
	}
	if b := got.Binding(cx1); b == nil || b.Entry != &cfg.PhysicalFunctions[0] {
		t.Errorf("Binding(%s) = %+v", cx1, b)
	}
	if b := got.Binding(e810); b != nil {
		t.Errorf("Binding of a PF that is not selected = %+v", b)
	}
}

// TestGovern: a PF is governed by the newest config, unless that is refused there and the
// last good one is not.
func TestGovern(t *testing.T) {
	entry := func(line int, addrs ...string) spec.PhysicalFunction {
		return spec.PhysicalFunction{Match: spec.Match{PCIAddresses: addrs}, Pos: spec.Pos{Line: line, Column: 5}}
	}
	newest := &spec.Config{PhysicalFunctions: []spec.PhysicalFunction{entry(1, cx0), entry(2, cx1), entry(3, e810)}}
	good := &spec.Config{PhysicalFunctions: []spec.PhysicalFunction{entry(10, cx0, cx1)}}
	for name, c := range map[string]struct {
		good    *spec.Config
		refused []int // lines of entries
		want    [3]int
	}{
		"nothing is refused":      {good, nil, [3]int{1, 2, 3}},
		"one is":                  {good, []int{2}, [3]int{1, 10, 3}},
		"the good one is too":     {good, []int{2, 10}, [3]int{1, 2, 3}},
		"the good one has it not": {good, []int{3}, [3]int{1, 2, 3}},
		"there is no good one":    {nil, []int{1, 2, 3}, [3]int{1, 2, 3}},
	} {
		got := selection.Govern(newest, c.good, snapshot(), func(b *selection.Binding) bool { return slices.Contains(c.refused, b.Entry.Pos.Line) })
		for i, pf := range []string{cx0, cx1, e810} {
			b := got.Binding(pf)
			if b.Entry.Pos.Line != c.want[i] || b.Newest.Pos.Line != i+1 || b.Kept() != (c.want[i] == 10) {
				t.Errorf("%s: %s is governed by line %d, want %d (newest %d)", name, pf, b.Entry.Pos.Line, c.want[i], b.Newest.Pos.Line)
			}
		}
	}
}
