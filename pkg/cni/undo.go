package cni

import (
	"context"
	"errors"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/talos-sriov/talos-sriov/pkg/cni/attachment"
	"github.com/talos-sriov/talos-sriov/pkg/cni/fault"
)

// wayBack undoes what an ADD did, in so far as it got. The VF goes back although the
// IPAM plugin failed, because neither needs the other one.
func (p *Plugin) wayBack(ctx context.Context, req request, done applied) error {
	var err error
	if done.ipam {
		err = p.ipam(ctx, "DEL", req.conf.IPAM.Type, req.args.StdinData)
	}
	if err = errors.Join(err, p.release(ctx, done.att)); err != nil {
		return err
	}
	return p.drop(done.att)
}

// drop removes the files of an attachment whose VF is back: with a failure before that
// they stay for the next try. The allocation may be another attachment's by now.
func (p *Plugin) drop(a *attachment.Attachment) error {
	owner, err := p.store().Owner(a.DeviceID)
	if err == nil && owner != "" && (owner == a.Extra.Netns || !p.alive(owner)) {
		err = p.store().Free(a.DeviceID)
	}
	if err != nil {
		return fault.Wrapf(err, types.ErrIOFailure, "", "remove allocation of VF %s", a.DeviceID)
	}
	return p.forget(a.File)
}

func (p *Plugin) forget(name string) error {
	return fault.Wrapf(p.store().Forget(name), types.ErrIOFailure, "", "remove cache")
}
