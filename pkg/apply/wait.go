package apply

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/op"
	"github.com/talos-sriov/talos-sriov/pkg/plan"
	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
)

// Hub passes on that something changed in the kernel. Its zero value is ready.
type Hub struct {
	mu   sync.Mutex
	subs map[chan struct{}]struct{}
}

// Subscribe returns a channel that has an element after each change since the
// call (several changes may share one), and a function that ends it.
func (h *Hub) Subscribe() (<-chan struct{}, func()) {
	c := make(chan struct{}, 1)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.subs == nil {
		h.subs = make(map[chan struct{}]struct{})
	}
	h.subs[c] = struct{}{}
	return c, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.subs, c)
	}
}

// Notify wakes every subscriber. It never blocks.
func (h *Hub) Notify() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.subs {
		select {
		case c <- struct{}{}:
		default: // it has not taken the last one yet
		}
	}
}

// until calls done after each change, until it returns true, or returns false at
// the deadline.
func (r *run) until(ctx context.Context, changed <-chan struct{}, done func() bool) (bool, error) {
	deadline := time.NewTimer(r.a.opts.AwaitTimeout)
	defer deadline.Stop()
	for {
		if done() {
			return true, nil
		}
		if changed == nil {
			return false, nil
		}
		select {
		case <-changed:
		case <-deadline.C:
			changed = nil // check once more
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
	}
}

// errNotTaken says that a VF's driver did not bring what it was bound for.
var errNotTaken = errors.New("the VF's driver did not take it")

// await runs a step that only waits.
func (r *run) await(ctx context.Context, s *plan.Step, changed <-chan struct{}) error {
	switch o := s.Op.(type) {
	case op.AwaitNetdevs:
		unbound, bare, err := r.awaitNetdevs(ctx, o, changed)
		r.notReady(unbound, bare)
		return err
	case op.AwaitVFAddress:
		return r.awaitAddress(ctx, o, changed)
	case op.AwaitVFRDMA:
		return r.awaitRDMA(ctx, o, changed)
	}
	return fmt.Errorf("an operation of kind %q cannot be waited for by this version", s.Op.Kind())
}

// awaitAddress returns when the VF's netdev has the address.
func (r *run) awaitAddress(ctx context.Context, o op.AwaitVFAddress, changed <-chan struct{}) error {
	there := false
	ok, err := r.until(ctx, changed, func() bool {
		l, err := r.vfLink(o.OnVF)
		if there = err == nil; !there {
			return false
		}
		addr, err := sysfs.ReadString(r.a.sys, sysfs.NetAttr(l.Name, sysfs.NetAddress))
		if err != nil {
			return false
		}
		mac, err := net.ParseMAC(addr)
		return err == nil && o.MAC.Equal(op.MAC(mac))
	})
	switch {
	case ok || err != nil:
		return err
	case !there:
		return errNotYet
	default:
		return errNotTaken
	}
}

// awaitRDMA returns when the VF has an RDMA device.
func (r *run) awaitRDMA(ctx context.Context, o op.AwaitVFRDMA, changed <-chan struct{}) error {
	ok, err := r.until(ctx, changed, func() bool {
		names, err := r.a.sys.ReadDir(sysfs.VFRDMA(o.Address, o.Index))
		return err == nil && len(names) > 0
	})
	if ok || err != nil {
		return err
	}
	return errNotTaken
}

// awaitNetdevs returns when each of the VFs has a netdev, or at the
// deadline with the VFs that have no driver and those that have one but no
// netdev. A VF without a driver is waited for as well: its module is often
// loaded by udev, after the VF appears.
func (r *run) awaitNetdevs(ctx context.Context, o op.AwaitNetdevs, changed <-chan struct{}) (unbound, bare []int, err error) {
	left := o.Indexes
	_, err = r.until(ctx, changed, func() bool {
		unbound, bare = nil, nil
		var still []int
		for _, i := range left {
			switch bound, ready := r.netdev(i); {
			case ready:
				continue
			case bound:
				bare = append(bare, i)
			default:
				unbound = append(unbound, i)
			}
			still = append(still, i)
		}
		left = still
		return len(left) == 0
	})
	return unbound, bare, err
}

// netdev reports whether the VF has a driver, and whether it has a netdev.
func (r *run) netdev(index int) (bound, ready bool) {
	pf := r.pf.Address
	if names, err := r.a.sys.ReadDir(sysfs.Netdevs(sysfs.VirtFn(pf, index))); err == nil && len(names) > 0 {
		return true, true
	}
	_, err := r.a.sys.ReadLink(sysfs.VFDriver(pf, index))
	return err == nil, false
}
