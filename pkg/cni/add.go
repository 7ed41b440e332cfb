package cni

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	cni100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/talos-sriov/talos-sriov/pkg/nl"
)

// Add makes the VF an interface of the pod. When it fails, everything is as it
// was; what could not be brought back stays in the cache for DEL.
func (p *Plugin) Add(ctx context.Context, args *skel.CmdArgs) (types.Result, error) {
	conf, err := ParseConf(args.StdinData)
	if f, ok := errors.AsType[*fault](err); ok && f.code == CodeNoDevice {
		return nil, p.noDevice(f, args)
	}
	if err != nil {
		return nil, err
	}
	argsMAC, err := ParseArgs(args.Args)
	if err != nil {
		return nil, err
	}
	if err := checkIfName(args.IfName); err != nil {
		return nil, err
	}
	if _, err := previous(conf); err != nil {
		return nil, err
	}
	if conf.IPAM.Type == "" && (conf.CNIVersion == "" || conf.CNIVersion == "0.1.0" || conf.CNIVersion == "0.2.0") {
		return nil, faultf(types.ErrInvalidNetworkConfig, "set cniVersion to 0.3.1 or later, or add ipam",
			"network %q: a result without addresses can not be said in cniVersion %q", conf.Name, conf.CNIVersion)
	}
	conf.MAC = wantedMAC(conf, argsMAC)
	if conf.IPAM.Type != "" {
		if err := p.IPAM.Find(conf.IPAM.Type); err != nil {
			return nil, wrapf(err, CodeIPAM, "put its program into the CNI folder (/opt/cni/bin), or correct ipam.type", "network %q: IPAM plugin %s", conf.Name, conf.IPAM.Type)
		}
	}
	pod, err := p.openPod(args)
	if err != nil {
		return nil, err
	}
	defer pod.Close()
	unlock, err := p.store().Lock(ctx, conf.DeviceID)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := p.takeOver(ctx, conf, args); err != nil {
		return nil, err
	}
	t := &attach{p: p, args: args, conf: conf, pod: pod}
	if err := t.look(ctx); err != nil {
		return nil, err
	}
	result, err := t.run(ctx)
	if err != nil {
		// The runtime may have given up on this ADD; the way back must not.
		if back := t.back(context.WithoutCancel(ctx)); back != nil {
			p.log().Error("way back failed, kept for DEL", "vf", conf.DeviceID, "err", back)
			err = fmt.Errorf("%w; and the way back failed, DEL will try again: %w", err, back)
		}
		return nil, err
	}
	return result, nil
}

// takeOver makes sure that nobody has the VF, and gives back to the host what a
// pod that died without DEL has left of it: its name and attributes must not
// become the "original" ones.
func (p *Plugin) takeOver(ctx context.Context, conf *NetConf, args *skel.CmdArgs) error {
	owner, err := p.store().Owner(conf.DeviceID)
	if err != nil {
		return wrapf(err, types.ErrIOFailure, "", "read allocation of VF %s", conf.DeviceID)
	}
	if p.alive(owner) {
		who := "by the network namespace " + owner
		if owner == args.Netns {
			who += " (this very pod)"
		}
		return faultf(CodeInUse, "wait for the other pod's end; if there is none, two device plugins hand the same VF out",
			"VF (pci address) %s is already allocated %s", conf.DeviceID, who)
	}
	all, err := p.store().All(p.Boot)
	if err != nil {
		p.log().Warn("some cache files are unreadable", "err", err)
	}
	for _, a := range all {
		if a.DeviceID != conf.DeviceID || a.stale(p.Boot) {
			continue
		}
		if a.Extra.Netns == "" {
			a.Extra.Netns = owner // sriov-cni's own cache
		}
		if a.Extra.Netns != owner {
			continue // an attachment before the last one; its state is history
		}
		p.log().Info("VF was left by a pod that is gone, given back first", "vf", a.DeviceID, "cache", a.file)
		if err := p.release(ctx, a); err != nil {
			return err
		}
	}
	if err := p.store().Free(conf.DeviceID); err != nil {
		return wrapf(err, types.ErrIOFailure, "", "remove allocation of VF %s", conf.DeviceID)
	}
	return nil
}

// attach is one ADD under way.
type attach struct {
	p    *Plugin
	args *skel.CmdArgs
	conf *NetConf
	pod  NS

	vf      VF
	cur     nl.VFInfo
	known   bool // cur is knowledge
	link    nl.Link
	att     *Attachment
	changed bool // the cache is written, so there is something to take back
	ipam    bool // the IPAM plugin was called
}

// look reads the VF as it is and makes the attachment of it; nothing changes.
func (t *attach) look(ctx context.Context) error {
	var err error
	if t.vf, err = FindVF(t.p.Sysfs, t.conf.DeviceID); err != nil {
		return err
	}
	host := t.p.Kernel.Host()
	if t.vf.Netdev == "" && !t.vf.Userspace() {
		return faultf(CodeNoNetdev, "bind the VF to its network driver or to vfio-pci (driver in the VF group of the spec); with a network driver, look for the interface in another network namespace",
			"VF %s has no network interface on the host and no userspace driver (its driver is %q)", t.vf.Address, t.vf.Driver)
	}
	if t.cur, t.known, err = vfInfo(ctx, host, t.vf); err != nil {
		return wrapf(err, CodeReadVF, "", "VF %s", t.vf.Address)
	}
	a := &Attachment{NetConf: *t.conf, file: cacheName(t.args.ContainerID, t.args.IfName)}
	a.Prev, a.Valid = nil, nil
	if t.known {
		a.OrigVFState, a.Extra.Unreported = original(t.cur)
	}
	a.Master, a.VFID = t.vf.Master, t.vf.Index
	a.Extra.BootID, a.Extra.Netns = t.p.Boot.ID, t.args.Netns
	a.Extra.ContainerID, a.Extra.IfName = t.args.ContainerID, t.args.IfName
	t.att = a
	if !t.vf.Userspace() {
		if err := t.lookLink(ctx); err != nil {
			return err
		}
	}
	return t.lookRDMA(ctx)
}

func (t *attach) lookLink(ctx context.Context) error {
	var err error
	if t.link, err = t.p.Kernel.Host().Link(ctx, nl.LinkRef{Name: t.vf.Netdev}); err != nil {
		return wrapf(err, CodeReadVF, "", "VF %s", t.vf.Address)
	}
	t.att.OrigVFState.HostIFName = t.link.Name
	t.att.OrigVFState.EffectiveMAC = t.link.MAC.String()
	t.att.OrigVFState.MTU = t.link.MTU
	t.att.Extra.AltNames = t.link.AltNames
	if err := infiniBand(t.conf, t.link); err != nil {
		return err
	}
	links, err := t.pod.Links(ctx)
	if err != nil {
		return wrapf(err, CodeBadNetns, "", "list the pod's interfaces")
	}
	for _, l := range links {
		if l.Name == t.args.IfName {
			return faultf(CodeNameTaken, "give the network another interface name in the pod's annotation (network@name)",
				"the pod has an interface %s already", t.args.IfName)
		}
	}
	return nil
}

// lookRDMA decides whether an RDMA device moves. In shared mode every namespace
// sees all of them, and there is nothing to move.
func (t *attach) lookRDMA(ctx context.Context) error {
	if !t.conf.RDMA {
		return nil
	}
	mode, err := t.p.Kernel.Host().RDMANetnsMode(ctx)
	if errors.Is(err, nl.ErrUnsupported) {
		t.p.log().Warn("rdma is asked for and the kernel's RDMA core is not loaded", "vf", t.vf.Address)
		return nil
	}
	if err != nil {
		return wrapf(err, CodeRDMA, "", "network %q", t.conf.Name)
	}
	if mode != nl.RDMAExclusive {
		t.p.log().Info("RDMA devices are shared by all network namespaces, nothing to move", "vf", t.vf.Address)
		return nil
	}
	if len(t.vf.RDMA) != 1 {
		return faultf(CodeRDMA, "load the NIC's RDMA driver (mlx5_ib, irdma, ...) before the VFs are made; only one device can be moved",
			"network %q wants rdma, and VF %s has %d RDMA devices on the host", t.conf.Name, t.vf.Address, len(t.vf.RDMA))
	}
	t.att.Extra.RDMADev = t.vf.RDMA[0]
	return nil
}

// run changes the machine. The way back is on disk before the first change.
func (t *attach) run(ctx context.Context) (types.Result, error) {
	t.changed = true
	// The allocation first: a cache without one may be an attachment that ended
	// and must not be taken for the VF's last.
	if err := t.p.store().Allocate(t.vf.Address, t.args.Netns); err != nil {
		return nil, wrapf(err, types.ErrIOFailure, "is /var/lib/cni writable?", "write allocation of VF %s", t.vf.Address)
	}
	mac, _ := net.ParseMAC(t.conf.MAC)
	if err := t.p.store().Save(t.att); err != nil {
		return nil, wrapf(err, types.ErrIOFailure, "is /var/lib/cni writable?", "write cache")
	}
	for _, s := range settings(t.conf, t.conf.MAC, t.cur) {
		if err := s.apply(ctx, t.p.Kernel.Host(), nl.LinkRef{Name: t.vf.Master}, t.vf.Index); err != nil {
			return nil, wrapf(err, CodeSetVF, "the PF's driver or firmware refuses it; leave the key out, or see the NIC's page in docs",
				"network %q: %s of VF %s", t.conf.Name, s.kind, t.vf.Address)
		}
	}
	result := &cni100.Result{
		CNIVersion: cni100.ImplementedSpecVersion,
		Interfaces: []*cni100.Interface{{Name: t.args.IfName, Sandbox: t.args.Netns, PciID: t.vf.Address}},
		DNS:        dns(t.conf),
	}
	if err := t.verifyMAC(ctx, mac); err != nil {
		return nil, err
	}
	if t.vf.Userspace() {
		if err := t.describe(ctx, result.Interfaces[0]); err != nil {
			return nil, err
		}
	} else if err := t.move(ctx, mac, result.Interfaces[0]); err != nil {
		return nil, err
	}
	if err := t.moveRDMA(ctx); err != nil {
		return nil, err
	}
	if err := t.addresses(ctx, result); err != nil {
		return nil, err
	}
	out, err := result.GetAsVersion(t.conf.CNIVersion)
	if err != nil {
		return nil, wrapf(err, types.ErrInvalidNetworkConfig, "", "result in cniVersion %q", t.conf.CNIVersion)
	}
	return out, nil
}

func dns(c *NetConf) types.DNS {
	if c.DNS == nil {
		return types.DNS{}
	}
	return *c.DNS
}

// back undoes run, in so far as it got.
func (t *attach) back(ctx context.Context) error {
	if !t.changed {
		return nil
	}
	var errs []error
	if t.ipam {
		errs = append(errs, t.p.ipamDel(ctx, t.conf.IPAM.Type, t.args.StdinData))
	}
	if err := errors.Join(append(errs, t.p.release(ctx, t.att))...); err != nil {
		return err
	}
	if err := t.p.freeOwn(t.att); err != nil {
		return err
	}
	return t.p.forget(t.att.file)
}
