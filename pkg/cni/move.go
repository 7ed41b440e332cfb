package cni

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	cni100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/talos-sriov/talos-sriov/pkg/nl"
)

// verifyMAC waits until the PF says what it was told: some do it in firmware.
func (t *attach) verifyMAC(ctx context.Context, mac net.HardwareAddr) error {
	if mac == nil || !t.known {
		return nil
	}
	const tries, between = 20, 100 * time.Millisecond
	for range tries {
		info, ok, err := vfInfo(ctx, t.p.Kernel.Host(), t.vf)
		if err != nil {
			return wrapf(err, CodeReadVF, "", "VF %s", t.vf.Address)
		}
		if ok && info.MAC.String() == mac.String() {
			return nil
		}
		if err := t.p.pause(ctx, between); err != nil {
			return err
		}
	}
	return faultf(CodeSetVF, "the PF's driver accepts a MAC and does not keep it; leave mac out", "VF %s did not take MAC %s on within %s",
		t.vf.Address, mac, tries*between)
}

// describe is what can be said of a VF that a program drives.
func (t *attach) describe(ctx context.Context, i *cni100.Interface) error {
	i.Mac = t.conf.MAC
	if i.Mac == "" && t.known && !isZero(t.cur.MAC) {
		i.Mac = t.cur.MAC.String()
	}
	pf, err := t.p.Kernel.Host().Link(ctx, nl.LinkRef{Name: t.vf.Master})
	if err != nil {
		return wrapf(err, CodeReadVF, "", "PF of VF %s", t.vf.Address)
	}
	i.Mtu = pf.MTU
	if t.conf.MTU != nil && *t.conf.MTU != pf.MTU {
		t.p.log().Warn("mtu has no effect on a VF without network driver", "vf", t.vf.Address)
	}
	return nil
}

// move brings the interface into the pod and up.
func (t *attach) move(ctx context.Context, mac net.HardwareAddr, i *cni100.Interface) error {
	fail := func(err error, what string) error {
		return wrapf(err, CodeMove, "", "%s: VF %s as %s", what, t.vf.Address, t.args.IfName)
	}
	host := t.p.Kernel.Host()
	ref := nl.LinkRef{Index: t.link.Index, Name: t.link.Name}
	// An alternative name that is the name to be, in the pod or on the way back,
	// makes the kernel refuse the rename.
	for _, alt := range t.link.AltNames {
		if alt == t.args.IfName || alt == t.link.Name {
			if err := host.DelAltName(ctx, ref, alt); err != nil {
				return fail(err, "rename")
			}
		}
	}
	if err := host.MoveLink(ctx, ref, t.pod, t.args.IfName); err != nil {
		return fail(err, "move into the pod")
	}
	l, err := t.pod.Link(ctx, nl.LinkRef{Name: t.args.IfName})
	if err != nil {
		return fail(err, "look for it in the pod")
	}
	ref = nl.LinkRef{Index: l.Index, Name: l.Name}
	if mac != nil {
		if err := t.p.effectiveMAC(ctx, t.pod, l.Index, mac, t.vf, t.att); err != nil {
			return fail(err, "set MAC")
		}
	}
	if t.conf.MTU != nil && l.MTU != *t.conf.MTU {
		if err := t.pod.SetMTU(ctx, ref, *t.conf.MTU); err != nil {
			return wrapf(err, CodeMove, "the MTU can not be above what the PF has and the NIC can", "network %q: mtu", t.conf.Name)
		}
	}
	for _, s := range [][2]string{
		{"ipv4/conf/" + t.args.IfName + "/arp_notify", "1"},
		{"ipv6/conf/" + t.args.IfName + "/ndisc_notify", "1"},
		{"ipv6/conf/" + t.args.IfName + "/optimistic_dad", "1"},
	} {
		if err := t.pod.SetSysctl(ctx, s[0], s[1]); err != nil {
			t.p.log().Debug("sysctl not set", "name", s[0], "err", err) // no IPv6, mostly
		}
	}
	if err := t.pod.SetUp(ctx, ref, true); err != nil {
		return fail(err, "set up")
	}
	if l, err = t.pod.Link(ctx, ref); err != nil {
		return fail(err, "read back")
	}
	t.link, i.Mac, i.Mtu = l, l.MAC.String(), l.MTU
	return nil
}

// effectiveMAC sets the interface's own MAC. A PF that fixed the MAC may refuse
// any word of an untrusted VF about it, even the same (igb): trust it for that
// moment. That it has to be undone is in the cache before.
func (p *Plugin) effectiveMAC(ctx context.Context, ns NS, index int, mac net.HardwareAddr, vf VF, a *Attachment) error {
	err := p.setMAC(ctx, ns, index, mac)
	if err == nil || !refused(err) {
		return err
	}
	host, pf := p.Kernel.Host(), nl.LinkRef{Name: vf.Master}
	cur, known, lookErr := vfInfo(ctx, host, vf)
	if lookErr != nil {
		return lookErr
	}
	if !known || !is(cur.Trust, false) {
		return err
	}
	if !a.Extra.TrustRaised {
		a.Extra.TrustRaised = true
		if err := p.store().Save(a); err != nil {
			return wrapf(err, types.ErrIOFailure, "is /var/lib/cni writable?", "write cache")
		}
	}
	// A failure to trust or to end it must not pass for the driver's refusal of
	// the MAC, which the way back puts up with.
	if err := host.SetVFTrust(ctx, pf, vf.Index, true); err != nil {
		return fmt.Errorf("trust the VF for a moment: %w", err)
	}
	err = p.setMAC(ctx, ns, index, mac)
	if lower := host.SetVFTrust(ctx, pf, vf.Index, false); lower != nil {
		return fmt.Errorf("trust the VF no more: %w", lower)
	}
	return err
}

func (t *attach) moveRDMA(ctx context.Context) error {
	name := t.att.Extra.RDMADev
	if name == "" {
		return nil
	}
	host := t.p.Kernel.Host()
	devs, err := host.RDMADevs(ctx)
	if err == nil {
		i := slices.IndexFunc(devs, func(d nl.RDMADev) bool { return d.Name == name })
		if i < 0 {
			err = fmt.Errorf("it is not on the host any more: %w", syscall.ENODEV)
		} else {
			err = host.MoveRDMA(ctx, devs[i], t.pod)
		}
	}
	if err != nil {
		return wrapf(err, CodeRDMA, "", "RDMA device %s of VF %s", name, t.vf.Address)
	}
	return nil
}

// addresses has the IPAM plugin allot them and puts them on the interface.
func (t *attach) addresses(ctx context.Context, result *cni100.Result) error {
	plugin := t.conf.IPAM.Type
	if plugin == "" {
		return nil
	}
	hint := "the IPAM plugin's own error says more; its program must be in the CNI folder (/opt/cni/bin)"
	t.ipam = true
	r, err := t.p.IPAM.Add(ctx, plugin, t.args.StdinData)
	if err != nil {
		return wrapf(err, CodeIPAM, hint, "IPAM plugin %s", plugin)
	}
	got, err := cni100.NewResultFromResult(r)
	if err != nil {
		return wrapf(err, CodeIPAM, hint, "result of IPAM plugin %s", plugin)
	}
	if len(got.IPs) == 0 {
		return faultf(CodeIPAM, hint, "IPAM plugin %s returned missing IP config", plugin)
	}
	if slices.Contains(got.IPs, nil) || slices.Contains(got.Routes, nil) {
		return wrapf(errNull, CodeIPAM, hint, "result of IPAM plugin %s", plugin)
	}
	for _, ip := range got.IPs {
		ip.Interface = cni100.Int(0)
	}
	result.IPs, result.Routes = got.IPs, got.Routes
	if !got.DNS.IsEmpty() {
		result.DNS = got.DNS
	}
	if t.vf.Userspace() {
		return nil
	}
	if err := t.configure(ctx, result); err != nil {
		return wrapf(err, CodeMove, "", "addresses of %s", t.args.IfName)
	}
	t.announce(ctx, result)
	return nil
}

func (t *attach) configure(ctx context.Context, r *cni100.Result) error {
	var gateway4, gateway6 netip.Addr
	for _, ip := range r.IPs {
		prefix, err := toPrefix(ip.Address)
		if err != nil {
			return err
		}
		gw, _ := netip.AddrFromSlice(ip.Gateway)
		if gw = gw.Unmap(); prefix.Addr().Is4() && !gateway4.IsValid() {
			gateway4 = gw
		} else if prefix.Addr().Is6() {
			if !gateway6.IsValid() {
				gateway6 = gw
			}
			if err := t.pod.SetSysctl(ctx, "ipv6/conf/"+t.args.IfName+"/disable_ipv6", "0"); err != nil {
				t.p.log().Debug("IPv6 not enabled", "err", err)
			}
		}
		err = t.pod.AddAddr(ctx, nl.Addr{Index: t.link.Index, Prefix: prefix})
		if err != nil && !errors.Is(err, syscall.EEXIST) {
			return err
		}
	}
	for _, route := range r.Routes {
		n, err := toRoute(route, t.link.Index, gateway4, gateway6)
		if err != nil {
			return err
		}
		if err := t.pod.AddRoute(ctx, n); err != nil && !errors.Is(err, syscall.EEXIST) {
			return err
		}
	}
	return nil
}

// toRoute makes the kernel's route of a result's: without a gateway of its own
// it goes by that of the first address of its family, if there is one.
func toRoute(r *types.Route, index int, gateway4, gateway6 netip.Addr) (nl.NewRoute, error) {
	dst, err := toPrefix(r.Dst)
	if err != nil {
		return nl.NewRoute{}, err
	}
	gw, _ := netip.AddrFromSlice(r.GW)
	gw = gw.Unmap()
	if r.GW == nil {
		if gw = gateway6; dst.Addr().Is4() {
			gw = gateway4
		}
	}
	n := nl.NewRoute{
		Dst: dst, Gateway: gw, Index: index,
		Table: number(r.Table), Priority: r.Priority, MTU: r.MTU, AdvMSS: r.AdvMSS,
	}
	if r.Scope != nil {
		n.Scope = uint8(*r.Scope)
		if n.Scope == syscall.RT_SCOPE_LINK {
			n.Gateway = netip.Addr{}
		}
	} else if !gw.IsValid() && dst.Addr().Is4() {
		n.Scope = syscall.RT_SCOPE_LINK
	}
	return n, nil
}

func toPrefix(n net.IPNet) (netip.Prefix, error) {
	addr, ok := netip.AddrFromSlice(n.IP)
	ones, bits := n.Mask.Size()
	if !ok || bits == 0 {
		return netip.Prefix{}, fmt.Errorf("IPAM gave %q, which is no address with a prefix length", n.String())
	}
	addr = addr.Unmap()
	if addr.Is4() && bits == 128 {
		ones -= 96
	}
	return netip.PrefixFrom(addr, ones), nil
}
