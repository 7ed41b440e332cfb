package agent

import (
	"testing"

	"github.com/talos-sriov/talos-sriov/pkg/deviceplugin"
	"github.com/talos-sriov/talos-sriov/pkg/pool"
)

// asking is a plugin that asks back, as every owner may that is called without a lock.
type asking struct {
	of     *offered
	offers []deviceplugin.Offer
}

func (a *asking) Offer(o deviceplugin.Offer) {
	_, _ = a.of.assignment().Members(), a.of.assignment()
	a.offers = append(a.offers, o)
}

// A test that hangs: the plugin was called under the lock.
func TestPluginIsCalledWithoutTheLock(t *testing.T) {
	t.Parallel()
	var o offered
	plugin := &asking{of: &o}
	o.plugin = plugin
	o.claim("0000:21:00.0", []string{"b"}, pool.Reason{Text: "is being changed"}, nil) // before anything is offered
	base := &pool.Assignment{Pools: []pool.Pool{{Resource: "example.com/x", Devices: []pool.Device{
		{ID: "a", Healthy: true}, {ID: "b", Healthy: true}, {ID: "c", Healthy: true},
	}}}}
	busy := map[string]bool{"0000:21:00.0": true}
	o.set(base, nil, busy, []string{"a"})
	o.claim("0000:21:00.0", []string{"c"}, pool.Reason{Text: "is being changed"}, nil)
	o.set(base, nil, nil, nil) // the run is over

	healthy := []int{2, 1, 3}
	if len(plugin.offers) != len(healthy) {
		t.Fatalf("%d offers, want %d", len(plugin.offers), len(healthy))
	}
	for i, want := range healthy {
		p := plugin.offers[i].Assignment.Pools[0]
		if got := p.Healthy(); got != want {
			t.Errorf("offer %d has %d healthy devices, want %d", i, got, want)
		}
		if i > 0 && plugin.offers[i].Seq <= plugin.offers[i-1].Seq {
			t.Errorf("offer %d does not come after the one before", i)
		}
	}
}
