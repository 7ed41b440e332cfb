package cni

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"

	"github.com/containernetworking/cni/pkg/types"
	cni100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/talos-sriov/talos-sriov/pkg/cni/fault"
	"github.com/talos-sriov/talos-sriov/pkg/cni/netconf"
	"github.com/talos-sriov/talos-sriov/pkg/nl"
)

// addresses has the IPAM plugin allot them and puts them on the interface. nil
// without an IPAM plugin.
func (p *Plugin) addresses(ctx context.Context, c change, link nl.Link) (*cni100.Result, error) {
	if c.conf.IPAM.Type == "" {
		return nil, nil
	}
	allotted, err := p.allot(ctx, c)
	if err != nil || c.vf.Userspace() {
		return allotted, err
	}
	if err := p.configure(ctx, c, link, allotted); err != nil {
		return nil, fault.Wrapf(err, fault.CodeMove, "", "addresses of %s", c.args.IfName)
	}
	p.announce(ctx, c.pod, link, allotted)
	return allotted, nil
}

// allot gives the addresses and routes of the IPAM plugin, for the interface.
func (p *Plugin) allot(ctx context.Context, c change) (*cni100.Result, error) {
	const hint = "the IPAM plugin's own error says more; its program must be in the CNI directory (/opt/cni/bin)"
	plugin := c.conf.IPAM.Type
	r, err := p.IPAM.Add(ctx, plugin, c.args.StdinData)
	if err != nil {
		return nil, fault.Wrapf(err, fault.CodeIPAM, hint, "IPAM plugin %s", plugin)
	}
	got, err := cni100.NewResultFromResult(r)
	if err != nil {
		return nil, fault.Wrapf(err, fault.CodeIPAM, hint, "result of IPAM plugin %s", plugin)
	}
	if len(got.IPs) == 0 {
		return nil, fault.Newf(fault.CodeIPAM, hint, "IPAM plugin %s returned missing IP config", plugin)
	}
	if slices.Contains(got.IPs, nil) || slices.Contains(got.Routes, nil) {
		return nil, fault.Wrapf(netconf.ErrNull, fault.CodeIPAM, hint, "result of IPAM plugin %s", plugin)
	}
	out := &cni100.Result{Routes: got.Routes, DNS: got.DNS}
	for _, ip := range got.IPs {
		ours := *ip
		ours.Interface = cni100.Int(0)
		out.IPs = append(out.IPs, &ours)
	}
	return out, nil
}

func (p *Plugin) configure(ctx context.Context, c change, link nl.Link, r *cni100.Result) error {
	gateways := map[bool]netip.Addr{} // of IPv4 and not
	for _, ip := range r.IPs {
		prefix, err := toPrefix(ip.Address)
		if err != nil {
			return err
		}
		is4 := prefix.Addr().Is4()
		if !gateways[is4].IsValid() {
			gw, _ := netip.AddrFromSlice(ip.Gateway)
			gateways[is4] = gw.Unmap()
		}
		if !is4 {
			if err := c.pod.SetSysctl(ctx, "ipv6/conf/"+c.args.IfName+"/disable_ipv6", "0"); err != nil {
				p.Log.Debug("IPv6 not enabled", "err", err)
			}
		}
		err = c.pod.AddAddr(ctx, nl.Addr{Index: link.Index, Prefix: prefix})
		if err != nil && !errors.Is(err, syscall.EEXIST) {
			return err
		}
	}
	for _, route := range r.Routes {
		n, err := toRoute(route, link.Index, gateways)
		if err != nil {
			return err
		}
		if err := c.pod.AddRoute(ctx, n); err != nil && !errors.Is(err, syscall.EEXIST) {
			return err
		}
	}
	return nil
}

// toRoute makes the kernel's route of a result's: without a gateway of its own
// it goes by that of the first address of its family, if there is one.
func toRoute(r *types.Route, index int, gateways map[bool]netip.Addr) (nl.NewRoute, error) {
	dst, err := toPrefix(r.Dst)
	if err != nil {
		return nl.NewRoute{}, err
	}
	gw, _ := netip.AddrFromSlice(r.GW)
	gw = gw.Unmap()
	if r.GW == nil {
		gw = gateways[dst.Addr().Is4()]
	}
	n := nl.NewRoute{
		Dst: dst, Gateway: gw, Index: index,
		Table: netconf.Number(r.Table), Priority: r.Priority, MTU: r.MTU, AdvMSS: r.AdvMSS,
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
