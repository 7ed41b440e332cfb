package cni

import (
	"context"
	"errors"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/talos-sriov/talos-sriov/pkg/cni/attachment"
	"github.com/talos-sriov/talos-sriov/pkg/cni/fault"
)

// undo is one step of a way back. Each compares first, so that a way back that
// failed or was cut off is finished by the next one.
type undo struct {
	do func(context.Context) error
	// independent: it is done although a step before it failed, because neither
	// needs the other one.
	independent bool
}

// runUndo runs the steps in their order; the first that fails ends it for those that
// are not independent.
func runUndo(ctx context.Context, steps []undo) error {
	var errs []error
	for _, s := range steps {
		if len(errs) > 0 && !s.independent {
			continue
		}
		if err := s.do(ctx); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// wayBack undoes what an ADD did, in so far as it got.
func (p *Plugin) wayBack(req request, done applied) []undo {
	var steps []undo
	if done.ipam {
		steps = append(steps, undo{do: func(ctx context.Context) error {
			return p.ipamDel(ctx, req.conf.IPAM.Type, req.args.StdinData)
		}})
	}
	return append(steps, p.ending(done.att)...)
}

// ending gives the VF of an attachment back, and then removes its files: with a
// failure before that they stay for the next try.
func (p *Plugin) ending(a *attachment.Attachment) []undo {
	return []undo{
		{do: func(ctx context.Context) error { return p.release(ctx, a) }, independent: true},
		{do: func(context.Context) error { return p.freeOwn(a) }},
		{do: func(context.Context) error { return p.forget(a.File) }},
	}
}

// freeOwn drops the allocation if it is the attachment's.
func (p *Plugin) freeOwn(a *attachment.Attachment) error {
	owner, err := p.store().Owner(a.DeviceID)
	if err == nil && owner != "" && (owner == a.Extra.Netns || !p.alive(owner)) {
		err = p.store().Free(a.DeviceID)
	}
	return fault.Wrapf(err, types.ErrIOFailure, "", "remove allocation of VF %s", a.DeviceID)
}

func (p *Plugin) forget(name string) error {
	return fault.Wrapf(p.store().Forget(name), types.ErrIOFailure, "", "remove cache")
}
