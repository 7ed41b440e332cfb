package cni

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"

	"github.com/talos-sriov/talos-sriov/pkg/cni/attachment"
	"github.com/talos-sriov/talos-sriov/pkg/cni/fault"
	"github.com/talos-sriov/talos-sriov/pkg/cni/netconf"
)

// Del ends an attachment. It succeeds when there is none, and keeps the cache
// when it fails, because the runtime calls again. The IPAM plugin goes first,
// under the VF's lock: as long as it takes, no other pod gets the VF.
func (p *Plugin) Del(ctx context.Context, args *skel.CmdArgs) error {
	conf, err := netconf.Decode(args.StdinData)
	if err != nil {
		return err
	}
	name := attachment.Name(args.ContainerID, args.IfName)
	a, err := p.store().Load(name)
	if err != nil {
		// A cache that cannot be read now will not be later; what is to be
		// known without it is the IPAM plugin.
		p.Log.Error("cannot read cache, VF left as it is", "err", err)
	}
	if a == nil && err == nil && conf.IPAM.Type != "" {
		if missing := p.IPAM.Find(conf.IPAM.Type); missing != nil {
			// No ADD got as far as a cache, so none got an address: the runtime
			// ends a failed ADD with DEL, and the pod must not hang on it.
			p.Log.Warn("nothing is attached, and the IPAM plugin is missing", "cache", name, "err", missing)
			return p.forget(name)
		}
	}
	if a == nil || !a.HasDevice() {
		if err := p.ipam(ctx, "DEL", conf.IPAM.Type, args.StdinData); err != nil {
			return err
		}
		return p.forget(name)
	}
	unlock, err := p.store().Lock(ctx, a.DeviceID)
	if err != nil {
		return err
	}
	defer unlock()
	if err := p.ipam(ctx, "DEL", a.IPAM.Type, args.StdinData); err != nil {
		return err
	}
	return p.end(ctx, a.In(cmp.Or(a.Extra.Netns, args.Netns), args.IfName))
}

// end gives the VF of an attachment back and removes its files. A VF that is another
// pod's by now is left alone: the namespace of its pod died, the next one got the VF,
// and only then this attachment's DEL came.
func (p *Plugin) end(ctx context.Context, a *attachment.Attachment) error {
	owner, err := p.store().Owner(a.DeviceID)
	if err != nil {
		return fault.Wrapf(err, types.ErrIOFailure, "", "read allocation of VF %s", a.DeviceID)
	}
	if owner == a.Extra.Netns || !p.alive(owner) {
		if err := p.release(ctx, a); err != nil {
			return err
		}
		return p.drop(a)
	}
	if a.Extra.Netns == "" {
		// sriov-cni's cache does not have where the VF is; the allocation has.
		p.Log.Warn("VF is in a live namespace that may be another pod's, left there", "vf", a.DeviceID, "netns", owner)
	} else {
		p.Log.Info("VF is another pod's by now, left alone", "vf", a.DeviceID)
	}
	return p.forget(a.File)
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

// ipam has the network's IPAM plugin, if there is one, do a command without a result.
func (p *Plugin) ipam(ctx context.Context, command, plugin string, stdin []byte) error {
	if plugin == "" {
		return nil
	}
	code, hint := uint(fault.CodeIPAM), ""
	switch command {
	case "DEL":
		hint = "the IPAM plugin's own error says more; its program must be in the CNI directory"
	case "STATUS":
		code, hint = fault.CodeUnavailable, "is its program in the CNI directory?"
	}
	return fault.Wrapf(p.IPAM.Run(ctx, command, plugin, stdin), code, hint, "IPAM plugin %s: %s", plugin, command)
}

// GC ends the network's attachments that the runtime does not name, and has
// the IPAM plugin do the same. One that fails does not stop the others.
func (p *Plugin) GC(ctx context.Context, args *skel.CmdArgs) error {
	conf, err := netconf.Decode(args.StdinData)
	if err != nil {
		return err
	}
	var keep []string
	for _, v := range conf.Valid {
		keep = append(keep, attachment.Name(v.ContainerID, v.IfName))
	}
	all, err := p.store().All(p.Boot)
	errs := []error{err}
	for _, a := range all {
		if a.Name != conf.Name || slices.Contains(keep, a.File) || !a.HasDevice() {
			continue
		}
		errs = append(errs, p.collect(ctx, a))
	}
	errs = append(errs, p.ipam(ctx, "GC", conf.IPAM.Type, args.StdinData))
	return fault.Wrapf(errors.Join(errs...), fault.CodeRelease, "run again; what failed was kept", "network %q", conf.Name)
}

func (p *Plugin) collect(ctx context.Context, a *attachment.Attachment) error {
	unlock, err := p.store().Lock(ctx, a.DeviceID)
	if err != nil {
		return err
	}
	defer unlock()
	p.Log.Info("attachment is not among the valid ones, ended", "cache", a.File, "vf", a.DeviceID)
	return p.end(ctx, a)
}
