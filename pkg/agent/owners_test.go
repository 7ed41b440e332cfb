package agent

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/deviceplugin"
	"github.com/talos-sriov/talos-sriov/pkg/internal/modelkernel"
	"github.com/talos-sriov/talos-sriov/pkg/ledger"
	"github.com/talos-sriov/talos-sriov/pkg/pool"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// asking is a kubelet during whose answer all that may happen does happen, on the same
// goroutine: a lock that is held over a question to it would never be had.
type asking struct {
	during func()
	busy   atomic.Bool // a question within the question is answered at once
}

func (a *asking) Ask(context.Context) use.Kubelet {
	if a.during != nil && a.busy.CompareAndSwap(false, true) {
		defer a.busy.Store(false)
		a.during()
	}
	return use.Kubelet{Answered: true, Since: time.Now().Add(-time.Hour)}
}

// TestOwnersAreAskedWithoutALock: while the kubelet is being asked, for a pass of the
// loop or for a run, another run claims, an Allocate notes, pools are offered, and
// status, health and state are read. A test that hangs: a lock was held.
func TestOwnersAreAskedWithoutALock(t *testing.T) {
	t.Parallel()
	const name, one, two = "example.com/x", "0000:21:10.0", "0000:21:10.1"
	dir := t.TempDir()
	k := modelkernel.New(modelkernel.Standard()...)
	kubelet := &asking{}
	a, err := New(Options{
		Config: filepath.Join(dir, "c.yaml"), StateDir: filepath.Join(dir, "state"), KubeletDir: dir, RunDir: filepath.Join(dir, "run"),
		Proc: "/proc", Dev: "/dev", Log: slog.New(slog.DiscardHandler), Sysfs: k, Network: k, Links: k, Kubelet: kubelet,
	}, "boot-1")
	if err != nil {
		t.Fatal(err)
	}
	pools := &pool.Assignment{Pools: []pool.Pool{{Resource: name, Devices: []pool.Device{{ID: one, Healthy: true}, {ID: two, Healthy: true}}}}}
	allocate := func(id string) error {
		done, err := books{a}.Note(t.Context(), deviceplugin.Allocation{Resource: name, IDs: []string{id}})
		if err == nil {
			done(true)
		}
		return err
	}
	claim := func(id string) (release func()) {
		c := gate{a}.Begin("0000:21:00.0")
		if _, err := c.Claim(t.Context(), []string{id}); err != nil {
			t.Errorf("claim %s: %v", id, err)
		}
		return c.Release
	}
	asked := 0
	kubelet.during = func() {
		asked++
		release := claim(one)
		var refused *ledger.RefusedError
		if err := allocate(one); !errors.As(err, &refused) || refused.Reason != "is being changed" {
			t.Errorf("what a run has claimed was given out: %v", err)
		}
		if err := allocate(two); err != nil {
			t.Errorf("what nobody has was refused: %v", err)
		}
		release()
		a.offer(a.ledger.Offer(a.ledger.Ask(), pools, nil))
		if err := allocate(one); err != nil {
			t.Errorf("refused after the run ended, and its end was seen: %v", err)
		}
		a.plugin.Status()
		_ = a.collector.health()
		a.store.Open()
		a.keepBooks()
	}
	a.offer(a.ledger.Offer(a.ledger.Ask(), pools, nil))
	got := a.holders(t.Context(), a.ledger.Ask(), k.Snapshot())
	for _, id := range []string{one, two} {
		if !got.Held[id] {
			t.Errorf("%s, which was given out during the question, counts as free", id)
		}
	}
	kubelet.during = func() { asked++; a.offer(a.ledger.Offer(a.ledger.Ask(), pools, nil)) }
	claim(one)()
	if asked != 2 {
		t.Errorf("asked %d times", asked)
	}
}
