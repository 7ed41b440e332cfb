package cni

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"

	"github.com/talos-sriov/talos-sriov/pkg/cni/attachment"
	"github.com/talos-sriov/talos-sriov/pkg/cni/fault"
	"github.com/talos-sriov/talos-sriov/pkg/cni/netconf"
	"github.com/talos-sriov/talos-sriov/pkg/cni/vf"
	"github.com/talos-sriov/talos-sriov/pkg/nl"
)

// Add makes the VF an interface of the pod. When it fails, everything is as it
// was; what could not be brought back stays in the cache for DEL.
//
// A value goes from stage to stage: a request, the VF that it resolves to, the
// change that is decided for that, and how far the change was applied.
func (p *Plugin) Add(ctx context.Context, args *skel.CmdArgs) (types.Result, error) {
	req, err := p.request(args)
	if err != nil {
		return nil, err
	}
	pod, err := p.openPod(args)
	if err != nil {
		return nil, err
	}
	defer pod.Close()
	unlock, err := p.store().Lock(ctx, req.conf.DeviceID)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := p.takeOver(ctx, req); err != nil {
		return nil, err
	}
	found, err := p.resolve(ctx, req, pod)
	if err != nil {
		return nil, err
	}
	result, done, err := p.apply(ctx, decide(found, p.Boot))
	if err != nil {
		// The runtime may have given up on this ADD; the way back must not.
		if back := p.wayBack(context.WithoutCancel(ctx), req, done); back != nil {
			p.Log.Error("rollback failed, attachment kept for DEL", "vf", req.conf.DeviceID, "err", back)
			err = fmt.Errorf("%w; and the way back failed, DEL will try again: %w", err, back)
		}
		return nil, err
	}
	return result, nil
}

// request is an ADD that was decoded and validated.
type request struct {
	args *skel.CmdArgs
	conf *netconf.NetConf // its MAC is the one that the pod is to have
	mac  net.HardwareAddr // nil when none was asked for
}

// request validates what the runtime gave. Nothing is opened.
func (p *Plugin) request(args *skel.CmdArgs) (request, error) {
	conf, err := netconf.Parse(args.StdinData)
	if f, ok := errors.AsType[*fault.Error](err); ok && f.Code == fault.CodeNoDevice {
		return request{}, p.noDevice(f, args)
	}
	if err != nil {
		return request{}, err
	}
	argsMAC, err := netconf.ParseArgs(args.Args)
	if err != nil {
		return request{}, err
	}
	if err := netconf.CheckIfName(args.IfName); err != nil {
		return request{}, err
	}
	if _, err := conf.Previous(); err != nil {
		return request{}, err
	}
	if conf.IPAM.Type == "" && slices.Contains([]string{"", "0.1.0", "0.2.0"}, conf.CNIVersion) {
		return request{}, fault.Newf(types.ErrInvalidNetworkConfig, "set cniVersion to 0.3.1 or later, or add ipam",
			"network %q: cniVersion %q has no result without addresses", conf.Name, conf.CNIVersion)
	}
	if conf.IPAM.Type != "" {
		if err := p.IPAM.Find(conf.IPAM.Type); err != nil {
			return request{}, fault.Wrapf(err, fault.CodeIPAM, "put its program into the CNI directory (/opt/cni/bin), or correct ipam.type", "network %q: IPAM plugin %s", conf.Name, conf.IPAM.Type)
		}
	}
	conf = conf.WithMAC(argsMAC)
	mac, _ := net.ParseMAC(conf.MAC) // "" is none; anything else was validated
	return request{args: args, conf: conf, mac: mac}, nil
}

// takeOver makes sure that nobody has the VF, and gives back to the host what a
// pod that died without DEL has left of it: its name and attributes must not
// become the "original" ones.
func (p *Plugin) takeOver(ctx context.Context, req request) error {
	device := req.conf.DeviceID
	owner, err := p.store().Owner(device)
	if err != nil {
		return fault.Wrapf(err, types.ErrIOFailure, "", "read allocation of VF %s", device)
	}
	if p.alive(owner) {
		who := "by the network namespace " + owner
		if owner == req.args.Netns {
			who += " (this very pod)"
		}
		return fault.Newf(fault.CodeInUse, "wait for the other pod's end; if there is none, two device plugins hand the same VF out",
			"VF (pci address) %s is already allocated %s", device, who)
	}
	all, err := p.store().All(p.Boot)
	if err != nil {
		p.Log.Warn("some cache files are unreadable", "err", err)
	}
	for _, a := range leftovers(all, device, owner, p.Boot) {
		p.Log.Info("leftover VF of an ended pod is released first", "vf", a.DeviceID, "cache", a.File)
		if err := p.release(ctx, a); err != nil {
			return err
		}
	}
	return fault.Wrapf(p.store().Free(device), types.ErrIOFailure, "", "remove allocation of VF %s", device)
}

// leftovers are those of the attachments that a device's last owner left. Those of an
// earlier owner, or of an earlier run of the machine, are history.
func leftovers(all []*attachment.Attachment, device, owner string, boot attachment.BootInfo) []*attachment.Attachment {
	var out []*attachment.Attachment
	for _, a := range all {
		if a.DeviceID != device || a.Stale(boot) {
			continue
		}
		if a.Extra.Netns == "" {
			a = a.In(owner, a.Extra.IfName) // sriov-cni's own cache
		}
		if a.Extra.Netns == owner {
			out = append(out, a)
		}
	}
	return out
}

// resolved is the VF of a request as it is before anything is changed.
type resolved struct {
	request
	pod   NS
	vf    vf.VF
	cur   nl.VFInfo // what the PF holds for it
	known bool      // cur is knowledge
	link  nl.Link   // zero for a VF that a program drives
	rdma  string    // the RDMA device that moves with it, "" for none
}

// resolve reads the VF; nothing changes.
func (p *Plugin) resolve(ctx context.Context, req request, pod NS) (resolved, error) {
	r := resolved{request: req, pod: pod}
	var err error
	if r.vf, err = vf.Find(p.Sysfs, req.conf.DeviceID); err != nil {
		return r, err
	}
	if r.vf.Netdev == "" && !r.vf.Userspace() {
		return r, fault.Newf(fault.CodeNoNetdev, "bind the VF to its network driver or to vfio-pci (driver in the VF group of the spec); with a network driver, look for the interface in another network namespace",
			"VF %s has no network interface on the host and no userspace driver (its driver is %q)", r.vf.Address, r.vf.Driver)
	}
	if r.cur, r.known, err = vf.Info(ctx, p.Kernel.Host(), r.vf); err != nil {
		return r, fault.Wrapf(err, fault.CodeReadVF, "", "VF %s", r.vf.Address)
	}
	if !r.vf.Userspace() {
		if r.link, err = p.resolveLink(ctx, r); err != nil {
			return r, err
		}
	}
	r.rdma, err = p.resolveRDMA(ctx, r)
	return r, err
}

// resolveLink reads the VF's interface, and makes sure that the pod can take it.
func (p *Plugin) resolveLink(ctx context.Context, r resolved) (nl.Link, error) {
	link, err := p.Kernel.Host().Link(ctx, nl.LinkRef{Name: r.vf.Netdev})
	if err != nil {
		return link, fault.Wrapf(err, fault.CodeReadVF, "", "VF %s", r.vf.Address)
	}
	if link.Type == nl.TypeInfiniBand {
		if err := r.conf.CheckInfiniBand(); err != nil {
			return link, err
		}
	}
	links, err := r.pod.Links(ctx)
	if err != nil {
		return link, fault.Wrapf(err, fault.CodeBadNetns, "", "list the pod's interfaces")
	}
	if slices.ContainsFunc(links, func(l nl.Link) bool { return l.Name == r.args.IfName }) {
		return link, fault.Newf(fault.CodeNameTaken, "give the network another interface name in the pod's annotation (network@name)",
			"the pod has an interface %s already", r.args.IfName)
	}
	return link, nil
}

// resolveRDMA gives the RDMA device that moves. In shared mode every namespace
// sees all of them, and there is nothing to move.
func (p *Plugin) resolveRDMA(ctx context.Context, r resolved) (string, error) {
	if !r.conf.RDMA {
		return "", nil
	}
	mode, err := p.Kernel.Host().RDMANetnsMode(ctx)
	if errors.Is(err, nl.ErrUnsupported) {
		p.Log.Warn("rdma is asked for and the kernel's RDMA core is not loaded", "vf", r.vf.Address)
		return "", nil
	}
	if err != nil {
		return "", fault.Wrapf(err, fault.CodeRDMA, "", "network %q", r.conf.Name)
	}
	if mode != nl.RDMAExclusive {
		p.Log.Info("RDMA devices are shared by all network namespaces, nothing to move", "vf", r.vf.Address)
		return "", nil
	}
	if len(r.vf.RDMA) != 1 {
		return "", fault.Newf(fault.CodeRDMA, "load the NIC's RDMA driver (mlx5_ib, irdma, ...) before the VFs are made; only one device can be moved",
			"network %q wants rdma, and VF %s has %d RDMA devices on the host", r.conf.Name, r.vf.Address, len(r.vf.RDMA))
	}
	return r.vf.RDMA[0], nil
}

// change is what an ADD does to the machine.
type change struct {
	resolved
	att      *attachment.Attachment // the way back, on disk before anything else
	settings []vf.Setting           // to write through the PF
	inTheWay []string               // alternative names of the interface, see [decide]
	mtu      *int                   // of the interface; nil when it stays
}

// decide makes the change of what was found. It is pure. An alternative name that is
// the interface's name to be, in the pod or on the way back, would make the kernel
// refuse the rename.
func decide(r resolved, boot attachment.BootInfo) change {
	a := &attachment.Attachment{
		NetConf: *r.conf, Master: r.vf.Master, VFID: r.vf.Index,
		File: attachment.Name(r.args.ContainerID, r.args.IfName),
	}
	a.Prev, a.Valid = nil, nil
	if r.known {
		a.Original, a.Extra.Unreported = attachment.Attributes(r.cur)
	}
	a.Extra.BootID, a.Extra.Netns = boot.ID, r.args.Netns
	a.Extra.ContainerID, a.Extra.IfName = r.args.ContainerID, r.args.IfName
	a.Extra.RDMADev = r.rdma
	c := change{resolved: r, att: a, settings: vf.Wanted(r.conf, r.cur)}
	if r.vf.Userspace() {
		return c
	}
	a.Original.HostIFName, a.Original.MTU = r.link.Name, r.link.MTU
	a.Original.EffectiveMAC = r.link.MAC.String()
	a.Extra.AltNames = r.link.AltNames
	for _, name := range r.link.AltNames {
		if name == r.args.IfName || name == r.link.Name {
			c.inTheWay = append(c.inTheWay, name)
		}
	}
	if r.conf.MTU != nil && *r.conf.MTU != r.link.MTU {
		c.mtu = r.conf.MTU
	}
	return c
}
