package cni

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/nl"
	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
)

// release brings the attachment's VF back to the host as it was. The caller
// has the VF's lock. Every step compares first, so a release that failed is
// finished by the next one. The order is: the RDMA device (it has to leave the
// namespace before the interface), the PF's attributes (the pod must not keep
// the interface without them), the interface.
func (p *Plugin) release(ctx context.Context, a *Attachment) error {
	// A namespace does not outlive a run of the machine, whatever a file's time says.
	if a.stale(p.Boot) && (a.Extra.BootID != "" || !p.alive(a.Extra.Netns)) {
		return nil // the VF of that run is no more
	}
	vf, err := FindVF(p.Sysfs, a.DeviceID)
	if f, ok := errors.AsType[*fault](err); ok && f.code != CodeReadVF {
		p.log().Warn("VF is gone, nothing to give back", "vf", a.DeviceID, "reason", err)
		return nil
	}
	if err != nil {
		return err
	}
	host := p.Kernel.Host()
	var pod NS
	if a.Extra.Netns != "" {
		pod, err = p.Kernel.Open(a.Extra.Netns)
		if err != nil && !errors.Is(err, ErrNoNamespace) {
			return wrapf(err, CodeRelease, "", "open the pod's network namespace")
		}
		if err == nil {
			defer pod.Close()
		} else {
			pod = nil
		}
	}
	if pod != nil && a.Extra.RDMADev != "" {
		if err := returnRDMA(ctx, pod, host, a.Extra.RDMADev); err != nil {
			return wrapf(err, CodeRelease, "", "give RDMA device %s back", a.Extra.RDMADev)
		}
	}
	cur, known, err := vfInfo(ctx, host, vf)
	if err != nil {
		return wrapf(err, CodeRelease, "", "VF %s", vf.Address)
	}
	if known {
		for _, s := range resets(a, cur) {
			err := s.apply(ctx, host, nl.LinkRef{Name: vf.Master}, vf.Index)
			if err != nil && s.kind == "mac" && isZero(s.mac) && refused(err) {
				// Some drivers have no way back to "no MAC".
				p.log().Warn("the PF keeps the VF's MAC", "vf", vf.Address, "err", err)
				continue
			}
			if err != nil {
				return wrapf(err, CodeRelease, "", "reset VF %s", vf.Address)
			}
		}
	}
	if vf.Userspace() {
		return nil
	}
	if err := p.returnLink(ctx, pod, host, a, vf); err != nil {
		return wrapf(err, CodeRelease, "", "give the interface of VF %s back", vf.Address)
	}
	return nil
}

// returnRDMA moves the device out of the pod; one that is not there is back.
func returnRDMA(ctx context.Context, pod, host NS, name string) error {
	devs, err := pod.RDMADevs(ctx)
	if err != nil {
		return err
	}
	for _, d := range devs {
		if d.Name == name {
			return pod.MoveRDMA(ctx, d, host)
		}
	}
	return nil
}

// returnLink moves the interface to the host, from the pod or, when the kernel
// has done that because the namespace died, no more than names it there.
func (p *Plugin) returnLink(ctx context.Context, pod, host NS, a *Attachment, vf VF) error {
	if pod != nil {
		l, found, err := findLink(ctx, pod, a.DeviceID, a.Extra.IfName)
		if err != nil {
			return err
		}
		if found {
			name, err := p.hostName(ctx, host, l, a)
			if err != nil {
				return err
			}
			if err := p.leave(ctx, pod, host, l, name); err != nil {
				return err
			}
		}
	}
	l, found, err := p.onHost(ctx, host, a.DeviceID, pod == nil)
	if err != nil {
		return err
	}
	if !found {
		// With the namespace gone nothing more can be done from here, and the
		// pod must be able to end.
		if pod == nil {
			p.log().Warn("the VF's interface did not come back from the pod's namespace", "vf", a.DeviceID)
			return nil
		}
		now, err := FindVF(p.Sysfs, a.DeviceID)
		if err == nil && now.Driver == "" {
			return nil // unbound: it has no interface anywhere
		}
		return fmt.Errorf("it is neither in the pod's namespace %s nor on the host", a.Extra.Netns)
	}
	return p.settle(ctx, host, l, a, vf)
}

// onHost finds the interface on the host. A namespace that dies gives its
// interfaces back some time later.
func (p *Plugin) onHost(ctx context.Context, host NS, addr string, wait bool) (nl.Link, bool, error) {
	for try := 0; ; try++ {
		names, err := list(p.Sysfs, interfaces(addr))
		if err != nil {
			return nl.Link{}, false, err
		}
		if len(names) > 0 {
			l, err := host.Link(ctx, nl.LinkRef{Name: names[0]})
			return l, err == nil, err
		}
		if !wait || try == 20 {
			return nl.Link{}, false, nil
		}
		if err := p.pause(ctx, 100*time.Millisecond); err != nil {
			return nl.Link{}, false, err
		}
	}
}

// hostName is the name that the interface gets on the host: the one it had, or
// one made of the PCI address when somebody else took that meanwhile.
func (p *Plugin) hostName(ctx context.Context, host NS, l nl.Link, a *Attachment) (string, error) {
	links, err := host.Links(ctx)
	if err != nil {
		return "", err
	}
	want := a.OrigVFState.HostIFName
	spare := "vf" + strings.NewReplacer(":", "", ".", "").Replace(strings.TrimPrefix(a.DeviceID, "0000:"))
	if want == "" {
		want = spare
	}
	for _, other := range links {
		if other.ParentDev == a.DeviceID && a.DeviceID != "" {
			continue // itself
		}
		if other.Name == want || slices.Contains(other.AltNames, want) {
			p.log().Warn("another interface has the VF's name", "vf", a.DeviceID, "name", want, "instead", spare)
			return spare, nil
		}
	}
	return want, nil
}

// leave takes the interface out of the pod. A name that it also has as an
// alternative one is in its own way.
func (p *Plugin) leave(ctx context.Context, pod, host NS, l nl.Link, name string) error {
	ref := nl.LinkRef{Index: l.Index, Name: l.Name}
	if slices.Contains(l.AltNames, name) {
		if err := pod.DelAltName(ctx, ref, name); err != nil {
			return err
		}
	}
	return pod.MoveLink(ctx, ref, host, name)
}

// settle gives the interface on the host its name, MAC, MTU and alternative
// names back. It is left down.
func (p *Plugin) settle(ctx context.Context, host NS, l nl.Link, a *Attachment, vf VF) error {
	ref := nl.LinkRef{Index: l.Index, Name: l.Name}
	if l.Up {
		if err := host.SetUp(ctx, ref, false); err != nil {
			return err
		}
	}
	name, err := p.hostName(ctx, host, l, a)
	if err != nil {
		return err
	}
	if l.Name != name {
		if slices.Contains(l.AltNames, name) {
			if err := host.DelAltName(ctx, ref, name); err != nil {
				return err
			}
		}
		if err := host.Rename(ctx, ref, name); err != nil {
			return err
		}
	}
	if mtu := a.OrigVFState.MTU; mtu != 0 && l.MTU != mtu {
		if err := host.SetMTU(ctx, ref, mtu); err != nil {
			return err
		}
	}
	if mac, err := net.ParseMAC(a.OrigVFState.EffectiveMAC); err == nil && l.MAC.String() != mac.String() {
		err := p.effectiveMAC(ctx, host, l.Index, mac, vf, a)
		if refused(err) {
			p.log().Warn("the VF keeps its MAC", "vf", a.DeviceID, "err", err)
		} else if err != nil {
			return err
		}
	}
	now, err := host.Link(ctx, ref)
	if err != nil {
		return err
	}
	for _, alt := range a.Extra.AltNames {
		if slices.Contains(now.AltNames, alt) || alt == now.Name {
			continue
		}
		// A name that another interface took meanwhile is not worth a VF.
		if err := host.AddAltName(ctx, ref, alt); err != nil {
			p.log().Warn("restore alternative name", "vf", a.DeviceID, "name", alt, "err", err)
		}
	}
	return nil
}

// freeOwn drops the allocation if it is the attachment's.
func (p *Plugin) freeOwn(a *Attachment) error {
	owner, err := p.store().Owner(a.DeviceID)
	if err != nil || owner == "" {
		return err
	}
	if owner == a.Extra.Netns || !p.alive(owner) {
		return p.store().Free(a.DeviceID)
	}
	return nil
}

// foreign reports whether the VF belongs to another pod by now: its namespace
// died, the next pod got the VF, and only then this attachment's DEL came.
func (p *Plugin) foreign(a *Attachment) (bool, error) {
	owner, err := p.store().Owner(a.DeviceID)
	if err != nil {
		return false, err
	}
	return owner != "" && owner != a.Extra.Netns && p.alive(owner), nil
}

// device is the attachment's PCI address when it is one; what a damaged cache
// names must not become part of a path.
func device(a *Attachment) bool { return sysfs.IsPCIAddress(a.DeviceID) }
