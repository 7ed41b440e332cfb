package cni

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/cni/attachment"
	"github.com/talos-sriov/talos-sriov/pkg/cni/fault"
	"github.com/talos-sriov/talos-sriov/pkg/cni/vf"
	"github.com/talos-sriov/talos-sriov/pkg/nl"
)

// returning is an attachment whose VF goes back to the host as it was.
type returning struct {
	att  *attachment.Attachment
	vf   vf.VF
	host NS
	pod  NS // nil: the pod's namespace is gone, or is not known
}

// release brings the attachment's VF back to the host as it was. The caller
// has the VF's lock.
func (p *Plugin) release(ctx context.Context, a *attachment.Attachment) error {
	// A namespace does not outlive a run of the machine, whatever a file's time is.
	if a.Stale(p.Boot) && (a.Extra.BootID != "" || !p.alive(a.Extra.Netns)) {
		return nil // the VF of that run is no more
	}
	v, err := vf.Find(p.Sysfs, a.DeviceID)
	if f, ok := errors.AsType[*fault.Error](err); ok && f.Code != fault.CodeReadVF {
		p.Log.Warn("VF is gone, nothing to give back", "vf", a.DeviceID, "err", err)
		return nil
	}
	if err != nil {
		return err
	}
	pod, err := p.openLeft(a.Extra.Netns)
	if err != nil {
		return fault.Wrapf(err, fault.CodeRelease, "", "open the pod's network namespace")
	}
	if pod != nil {
		defer pod.Close()
	}
	// Each step compares first, so that a way back that failed or was cut off is
	// finished by the next one. The RDMA device has to leave the namespace before the
	// interface does, and the pod must not keep the interface without the attributes of
	// its VF.
	r := returning{att: a, vf: v, host: p.Kernel.Host(), pod: pod}
	for _, step := range []func(context.Context, returning) error{p.returnRDMA, p.restoreAttributes, p.returnLink} {
		if err := step(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// openLeft opens the namespace of a pod that ends, nil when it is gone or not known.
func (p *Plugin) openLeft(path string) (NS, error) {
	if path == "" {
		return nil, nil
	}
	ns, err := p.Kernel.Open(path)
	if errors.Is(err, ErrNoNamespace) {
		return nil, nil
	}
	return ns, err
}

// returnRDMA moves the device out of the pod; one that is not there is back.
func (p *Plugin) returnRDMA(ctx context.Context, r returning) error {
	name := r.att.Extra.RDMADev
	if r.pod == nil || name == "" {
		return nil
	}
	_, err := moveRDMA(ctx, name, r.pod, r.host)
	return fault.Wrapf(err, fault.CodeRelease, "", "give RDMA device %s back", name)
}

// restoreAttributes sets what the PF holds for the VF.
func (p *Plugin) restoreAttributes(ctx context.Context, r returning) error {
	cur, known, err := vf.Info(ctx, r.host, r.vf)
	if err != nil {
		return fault.Wrapf(err, fault.CodeRelease, "", "VF %s", r.vf.Address)
	}
	if !known {
		return nil
	}
	for _, s := range vf.Restored(r.att, cur) {
		err := s.Apply(ctx, r.host, r.vf)
		switch {
		case err == nil, !s.Reported(cur) && errors.Is(err, nl.ErrUnsupported):
		case s.ClearsMAC() && refused(err):
			// Some drivers have no way back to "no MAC".
			p.Log.Warn("the PF keeps the VF's MAC", "vf", r.vf.Address, "err", err)
		default:
			return fault.Wrapf(err, fault.CodeRelease, "", "reset VF %s", r.vf.Address)
		}
	}
	return nil
}

// returnLink moves the interface to the host, from the pod or, when the kernel
// has done that because the namespace died, no more than names it there.
func (p *Plugin) returnLink(ctx context.Context, r returning) error {
	if r.vf.Userspace() {
		return nil
	}
	err := p.leave(ctx, r)
	if err == nil {
		err = p.arrive(ctx, r)
	}
	return fault.Wrapf(err, fault.CodeRelease, "", "give the interface of VF %s back", r.vf.Address)
}

// leave takes the interface out of the pod, if it is there. A name that it also has
// as an alternative one is in its own way.
func (p *Plugin) leave(ctx context.Context, r returning) error {
	if r.pod == nil {
		return nil
	}
	l, found, err := findLink(ctx, r.pod, r.att)
	if err != nil || !found {
		return err
	}
	name, err := p.hostName(ctx, r)
	if err != nil {
		return err
	}
	if slices.Contains(l.AltNames, name) {
		if err := r.pod.DelAltName(ctx, refOf(l), name); err != nil {
			return err
		}
	}
	return r.pod.MoveLink(ctx, refOf(l), r.host, name)
}

// arriveTries is how often an interface is looked at whose names change meanwhile.
const arriveTries = 3

// arrive makes the interface on the host what it was. udev gives an interface that comes
// back its names, at any moment between our look and our rename: then one of these is in
// the way (EEXIST), or the interface has another name than the one that was asked about
// (ENODEV).
func (p *Plugin) arrive(ctx context.Context, r returning) error {
	var err error
	for range arriveTries {
		if err = p.arriveOnce(ctx, r); !errors.Is(err, syscall.EEXIST) && !errors.Is(err, syscall.ENODEV) {
			return err
		}
	}
	return err
}

// arriveOnce does it for the names that the interface has now. A namespace that dies
// gives its interfaces back some time later.
func (p *Plugin) arriveOnce(ctx context.Context, r returning) error {
	find := p.linkOnHost
	if r.pod == nil {
		find = p.awaitLinkOnHost
	}
	l, found, err := find(ctx, r)
	if err != nil {
		return err
	}
	if found {
		name, err := p.hostName(ctx, r)
		if err != nil {
			return err
		}
		return p.settle(ctx, r, decideSettling(r, l, name))
	}
	// With the namespace gone nothing more can be done from here, and the
	// pod must be able to end.
	if r.pod == nil {
		p.Log.Warn("the VF's interface did not come back from the pod's namespace", "vf", r.vf.Address)
		return nil
	}
	now, err := vf.Find(p.Sysfs, r.vf.Address)
	if err == nil && now.Driver == "" {
		return nil // unbound: it has no interface anywhere
	}
	return fmt.Errorf("it is neither in the pod's namespace %s nor on the host", r.att.Extra.Netns)
}

// linkOnHost finds the interface on the host.
func (p *Plugin) linkOnHost(ctx context.Context, r returning) (nl.Link, bool, error) {
	names, err := vf.Netdevs(p.Sysfs, r.vf.Address)
	if err != nil || len(names) == 0 {
		return nl.Link{}, false, err
	}
	l, err := r.host.Link(ctx, nl.LinkRef{Name: names[0]})
	return l, err == nil, err
}

// awaitLinkOnHost is linkOnHost for an interface that may be on its way.
func (p *Plugin) awaitLinkOnHost(ctx context.Context, r returning) (nl.Link, bool, error) {
	const tries, between = 20, 100 * time.Millisecond
	for range tries {
		if l, found, err := p.linkOnHost(ctx, r); found || err != nil {
			return l, found, err
		}
		if err := p.pause(ctx, between); err != nil {
			return nl.Link{}, false, err
		}
	}
	return p.linkOnHost(ctx, r)
}
