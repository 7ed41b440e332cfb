package agent

import (
	"testing"

	"github.com/talos-sriov/talos-sriov/pkg/decide"
	"github.com/talos-sriov/talos-sriov/pkg/pool"
	"github.com/talos-sriov/talos-sriov/pkg/record"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

// known is what is known of two configs.
func known(newest, good *spec.Config) decide.Config {
	return decide.Config{Newest: &decide.Document{Parsed: decide.Parsed{Config: newest}}, LastGood: decide.LastGood{Parsed: decide.Parsed{Config: good}}}
}

func TestNeeds(t *testing.T) {
	t.Parallel()
	byDriver := &spec.Config{ResourceList: []spec.Resource{{Selectors: []spec.Selector{{Drivers: []string{"iavf"}}}}}}
	byIndex := &spec.Config{ResourceList: []spec.Resource{{Selectors: []spec.Selector{{}, {ACPIIndexes: []string{"101"}}}}}}
	pfs := &spec.Config{PhysicalFunctions: make([]spec.PhysicalFunction, 1)}
	for name, tc := range map[string]struct {
		newest, good   *spec.Config
		rec            record.Record
		settings, acpi bool
	}{
		"nothing configured":           {},
		"a resource list":              {newest: byDriver},
		"selected by firmware's index": {newest: byIndex, acpi: true},
		"physical functions":           {newest: pfs, settings: true},
		"the last good one has some":   {newest: byDriver, good: pfs, settings: true},
		"something is to be undone": {
			rec: record.Record{PFs: map[string]record.PF{"a": {Made: &record.Made{}}}}, settings: true,
		},
		"a run did not end":     {rec: record.Record{PFs: map[string]record.PF{"a": {Open: []string{"x"}}}}, settings: true},
		"only a record of safe": {rec: record.Record{PFs: map[string]record.PF{"a": {SafeSpec: "x"}}}},
	} {
		n := needs(known(tc.newest, tc.good), tc.rec, nil)
		if n.VFSettings != tc.settings || n.ACPIIndexes != tc.acpi || n.AER != nil {
			t.Errorf("%s: %+v", name, n)
		}
	}
	n := needs(known(nil, nil), record.Record{}, &pool.Assignment{Pools: []pool.Pool{{Devices: []pool.Device{{ID: "0000:01:10.0"}}}}})
	if !n.AER("0000:01:10.0") || n.AER("0000:01:10.2") {
		t.Error("the error counters of the offered devices are wanted, and no others")
	}
}
