package deviceplugin_test

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/talos-sriov/talos-sriov/pkg/deviceplugin"
)

// An offer that was overtaken by a newer one changes nothing: a gate that withdrew a
// device must not see it offered again by a loop that decided earlier.
func TestOvertakenOffer(t *testing.T) {
	m, k, _, _ := serve(t, assignment(res+" a b"), deviceplugin.Options{})
	m.Offer(deviceplugin.Offer{Assignment: assignment(res + " a! b"), Seq: 2})
	m.Offer(deviceplugin.Offer{Assignment: assignment(res + " a b"), Seq: 1})
	if got := m.Status()[0].Healthy; got != 1 {
		t.Errorf("%d healthy devices are offered, want 1", got)
	}
	m.Offer(deviceplugin.Offer{Assignment: assignment(res + " b c"), Seq: 3})
	k.WaitDevices(res, "b=Healthy@0 c=Healthy@1")
}

// Whoever is asked during Settle may use the manager: nothing is locked meanwhile. A
// file that is written meanwhile belongs to an allocation that the answer did not know
// of, and stays.
func TestSettleAsksWithoutALock(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dp")
	m, _, client, ctx := serve(t, withInfo(res), deviceplugin.Options{DeviceInfoDir: dir})
	if _, err := client.Allocate(ctx, request(vf0, vf1)); err != nil {
		t.Fatal(err)
	}
	if err := m.Settle(func(id string) bool {
		m.Update(withInfo(res))
		if id == vf1 {
			if _, err := client.Allocate(ctx, request(vf1)); err != nil {
				t.Error(err)
			}
		}
		return false
	}); err != nil {
		t.Fatal(err)
	}
	if got, want := names(t, dir), []string{deviceplugin.InfoName(res, vf1)}; !slices.Equal(got, want) {
		t.Errorf("files %v, want %v", got, want)
	}
}
