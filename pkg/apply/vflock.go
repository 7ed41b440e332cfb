package apply

import (
	"context"
	"fmt"

	"github.com/talos-sriov/talos-sriov/pkg/op"
	"github.com/talos-sriov/talos-sriov/pkg/plan"
)

// VFLocks orders the writes of a VF's attributes with those of whoever else sets
// them: the CNI plugin does at ADD and DEL, and compares before it writes.
type VFLocks interface {
	// LockVF returns when nobody else is at work on the VF (a PCI address), and
	// keeps others from it until unlock is called; an error when that is not so
	// within a bounded time.
	LockVF(ctx context.Context, vf string) (unlock func(), err error)
}

// lock takes the lock of the VF of which the step sets an attribute. It is held for
// one write, and given back also when the kernel does not answer that in time.
func (r *run) lock(ctx context.Context, s *plan.Step) (unlock func(), err error) {
	if r.a.opts.VFLocks == nil || !setsAttribute(s.Op) {
		return func() {}, nil
	}
	addr, err := r.vfAddress(s.Op.VFs()[0])
	if err != nil {
		return nil, err
	}
	if unlock, err = r.a.opts.VFLocks.LockVF(ctx, addr); err != nil {
		return nil, fmt.Errorf("VF %s: %w", addr, err)
	}
	return unlock, nil
}

// setsAttribute reports whether the operation sets what the CNI plugin sets.
func setsAttribute(o op.Op) bool {
	switch o.(type) {
	case op.SetVFMTU:
		return true
	case op.SetVFNodeGUID, op.SetVFPortGUID:
		return false // the plugin sets none
	}
	return op.IsAttribute(o)
}
