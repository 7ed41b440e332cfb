package cni

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"

	"github.com/containernetworking/cni/pkg/types"
	cni100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/talos-sriov/talos-sriov/pkg/cni/attachment"
	"github.com/talos-sriov/talos-sriov/pkg/cni/fault"
	"github.com/talos-sriov/talos-sriov/pkg/cni/vf"
	"github.com/talos-sriov/talos-sriov/pkg/nl"
)

// applied is how far a change got: all that the way back must know.
type applied struct {
	att  *attachment.Attachment // as it is on disk
	ipam bool                   // the IPAM plugin was called
}

// apply changes the machine. The way back is on disk before the first change.
func (p *Plugin) apply(ctx context.Context, c change) (types.Result, applied, error) {
	done := applied{att: c.att}
	if err := p.record(c.att); err != nil {
		return nil, done, err
	}
	for _, s := range c.settings {
		if err := s.Apply(ctx, p.Kernel.Host(), c.vf); err != nil {
			return nil, done, fault.Wrapf(err, fault.CodeSetVF, "the PF's driver or firmware refuses it; leave the key out, or see the NIC's page in docs",
				"network %q: %s of VF %s", c.conf.Name, s.Attribute, c.vf.Address)
		}
	}
	if err := p.verifyMAC(ctx, c); err != nil {
		return nil, done, err
	}
	var link nl.Link
	var err error
	if c.vf.Userspace() {
		link, err = p.describe(ctx, c)
	} else {
		link, done.att, err = p.move(ctx, c)
	}
	if err != nil {
		return nil, done, err
	}
	if err := p.moveRDMA(ctx, c); err != nil {
		return nil, done, err
	}
	done.ipam = c.conf.IPAM.Type != ""
	addresses, err := p.addresses(ctx, c, link)
	if err != nil {
		return nil, done, err
	}
	out, err := result(c, link, addresses).GetAsVersion(c.conf.CNIVersion)
	if err != nil {
		return nil, done, fault.Wrapf(err, types.ErrInvalidNetworkConfig, "", "result in cniVersion %q", c.conf.CNIVersion)
	}
	return out, done, nil
}

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

// record writes the way back. The allocation comes first: a cache without one may
// be an attachment that ended and must not be taken for the VF's last.
func (p *Plugin) record(a *attachment.Attachment) error {
	const hint = "is /var/lib/cni writable?"
	if err := p.store().Allocate(a.DeviceID, a.Extra.Netns); err != nil {
		return fault.Wrapf(err, types.ErrIOFailure, hint, "write allocation of VF %s", a.DeviceID)
	}
	return fault.Wrapf(p.store().Save(a), types.ErrIOFailure, hint, "write cache")
}

// describe is what is known of a VF that a program drives: it has no interface, and
// the link has only a MAC, if one is set, and the PF's MTU.
func (p *Plugin) describe(ctx context.Context, c change) (nl.Link, error) {
	pf, err := p.Kernel.Host().Link(ctx, c.vf.PFRef())
	if err != nil {
		return nl.Link{}, fault.Wrapf(err, fault.CodeReadVF, "", "PF of VF %s", c.vf.Address)
	}
	if c.conf.MTU != nil && *c.conf.MTU != pf.MTU {
		p.Log.Warn("mtu has no effect on a VF without network driver", "vf", c.vf.Address)
	}
	link := nl.Link{MAC: c.mac, MTU: pf.MTU}
	if link.MAC == nil && c.known && !vf.IsZero(c.cur.MAC) {
		link.MAC = c.cur.MAC
	}
	return link, nil
}

// move brings the interface into the pod and up. The attachment is as it is on disk
// then, with an error too.
func (p *Plugin) move(ctx context.Context, c change) (nl.Link, *attachment.Attachment, error) {
	att := c.att
	fail := func(err error, what string) (nl.Link, *attachment.Attachment, error) {
		return nl.Link{}, att, fault.Wrapf(err, fault.CodeMove, "", "%s: VF %s as %s", what, c.vf.Address, c.args.IfName)
	}
	if err := p.enter(ctx, c); err != nil {
		return fail(err, "move into the pod")
	}
	l, err := c.pod.Link(ctx, nl.LinkRef{Name: c.args.IfName})
	if err != nil {
		return fail(err, "find it in the pod")
	}
	ref := refOf(l)
	if c.mac != nil {
		if att, err = p.effectiveMAC(ctx, macChange{ns: c.pod, index: l.Index, mac: c.mac, vf: c.vf, att: att}); err != nil {
			return fail(err, "set MAC")
		}
	}
	if c.mtu != nil {
		if err := c.pod.SetMTU(ctx, ref, *c.mtu); err != nil {
			return l, att, fault.Wrapf(err, fault.CodeMove, "the MTU cannot be above what the PF has and the NIC can", "network %q: mtu", c.conf.Name)
		}
	}
	p.setNotify(ctx, c)
	if err := c.pod.SetUp(ctx, ref, true); err != nil {
		return fail(err, "set up")
	}
	if l, err = c.pod.Link(ctx, ref); err != nil {
		return fail(err, "read back")
	}
	return l, att, nil
}

// enter moves the interface.
func (p *Plugin) enter(ctx context.Context, c change) error {
	host := p.Kernel.Host()
	for _, name := range c.inTheWay {
		if err := host.DelAltName(ctx, refOf(c.link), name); err != nil {
			return fmt.Errorf("remove alternative name %s: %w", name, err)
		}
	}
	return host.MoveLink(ctx, refOf(c.link), c.pod, c.args.IfName)
}

// setNotify has the kernel announce the interface's addresses whenever it comes up.
func (p *Plugin) setNotify(ctx context.Context, c change) {
	for _, name := range []string{
		"ipv4/conf/" + c.args.IfName + "/arp_notify",
		"ipv6/conf/" + c.args.IfName + "/ndisc_notify",
		"ipv6/conf/" + c.args.IfName + "/optimistic_dad",
	} {
		if err := c.pod.SetSysctl(ctx, name, "1"); err != nil {
			p.Log.Debug("sysctl not set", "name", name, "err", err) // no IPv6, mostly
		}
	}
}

func (p *Plugin) moveRDMA(ctx context.Context, c change) error {
	if c.rdma == "" {
		return nil
	}
	found, err := moveRDMA(ctx, c.rdma, p.Kernel.Host(), c.pod)
	if err == nil && !found {
		err = fmt.Errorf("it is not on the host any more: %w", syscall.ENODEV)
	}
	return fault.Wrapf(err, fault.CodeRDMA, "", "RDMA device %s of VF %s", c.rdma, c.vf.Address)
}

// moveRDMA moves the device with the name, if it is there.
func moveRDMA(ctx context.Context, name string, from, to NS) (found bool, err error) {
	devs, err := from.RDMADevs(ctx)
	i := slices.IndexFunc(devs, func(d nl.RDMADev) bool { return d.Name == name })
	if err != nil || i < 0 {
		return false, err
	}
	return true, from.MoveRDMA(ctx, devs[i], to)
}

// result is what the runtime gets: the interface, and the addresses, if any.
func result(c change, link nl.Link, addresses *cni100.Result) *cni100.Result {
	out := &cni100.Result{
		CNIVersion: cni100.ImplementedSpecVersion,
		Interfaces: []*cni100.Interface{{
			Name: c.args.IfName, Sandbox: c.args.Netns, PciID: c.vf.Address, Mac: link.MAC.String(), Mtu: link.MTU,
		}},
	}
	if c.conf.DNS != nil {
		out.DNS = *c.conf.DNS
	}
	if addresses != nil {
		out.IPs, out.Routes = addresses.IPs, addresses.Routes
		if !addresses.DNS.IsEmpty() {
			out.DNS = addresses.DNS
		}
	}
	return out
}
