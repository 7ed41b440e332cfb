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

// idle is an agent that does not run.
func idle(t *testing.T, k *modelkernel.Kernel, kubelet KubeletAsker) *Agent {
	t.Helper()
	dir := t.TempDir()
	a, err := New(Options{
		Config: filepath.Join(dir, "c.yaml"), StateDir: filepath.Join(dir, "state"), KubeletDir: dir, RunDir: filepath.Join(dir, "run"),
		Proc: "/proc", Dev: "/dev", Log: slog.New(slog.DiscardHandler), Sysfs: k, Network: k, Links: k, Kubelet: kubelet,
	}, "boot-1")
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestOwnersAreAskedWithoutALock: while the kubelet is being asked, for a pass of the
// loop or for a run, another run claims, an Allocate notes, pools are offered, and
// status, health and state are read. A test that hangs: a lock was held.
func TestOwnersAreAskedWithoutALock(t *testing.T) {
	t.Parallel()
	const name, one, two = "example.com/x", "0000:21:10.0", "0000:21:10.1"
	k := modelkernel.New(modelkernel.Standard()...)
	kubelet := &asking{}
	a := idle(t, k, kubelet)
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

// TestOffersInOrder: what runs have claimed is not offered, also when they claimed it
// before anything was; it is again once a pass has seen their end. Each offer comes after
// the one before.
func TestOffersInOrder(t *testing.T) {
	t.Parallel()
	l := ledger.New("boot-1")
	base := &pool.Assignment{Pools: []pool.Pool{{Resource: "example.com/x", Devices: []pool.Device{
		{ID: "a", Healthy: true}, {ID: "b", Healthy: true}, {ID: "c", Healthy: true},
	}}}}
	reason := pool.Reason{Cause: pool.CauseUnfinished, Text: "is being changed"}
	var claims []ledger.Claim
	claim := func(id string) ledger.Offered {
		c, offered, err := l.Claim("a run", []string{id}, reason)
		if err != nil {
			t.Fatal(err)
		}
		claims = append(claims, c)
		return offered
	}
	before := claim("b")
	began := l.Ask()
	offers := []ledger.Offered{l.Offer(began, base, nil), claim("c")}
	for _, c := range claims {
		l.End(c)
	}
	offers = append(offers, l.Offer(began, base, nil), l.Offer(l.Ask(), base, nil))
	if before.Assignment != nil {
		t.Errorf("before anything was offered: %+v", before.Assignment)
	}
	last := before.Seq
	for i, healthy := range []int{2, 1, 1, 3} {
		o := &offers[i]
		if got := o.Assignment.Pools[0].Healthy(); got != healthy {
			t.Errorf("offer %d has %d healthy devices, want %d", i, got, healthy)
		}
		if o.Seq <= last {
			t.Errorf("offer %d does not come after the one before", i)
		}
		last = o.Seq
	}
}
