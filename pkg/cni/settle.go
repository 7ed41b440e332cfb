package cni

import (
	"cmp"
	"context"
	"net"
	"slices"
	"strings"

	"github.com/talos-sriov/talos-sriov/pkg/nl"
)

// settle gives the interface, which is on the host, its name, MTU, MAC and
// alternative names back, in this order. It is left down.
func (p *Plugin) settle(ctx context.Context, r returning, l nl.Link) error {
	for _, step := range []func(context.Context, returning, nl.Link) error{
		takeDown, p.rename, restoreMTU, p.restoreMAC, p.restoreAltNames,
	} {
		if err := step(ctx, r, l); err != nil {
			return err
		}
	}
	return nil
}

func refOf(l nl.Link) nl.LinkRef { return nl.LinkRef{Index: l.Index, Name: l.Name} }

// freeName takes the name from the interface's alternative ones, which would be in the way
// of it as the interface's own.
func freeName(ctx context.Context, ns NS, l nl.Link, name string) error {
	if !slices.Contains(l.AltNames, name) {
		return nil
	}
	return ns.DelAltName(ctx, refOf(l), name)
}

func takeDown(ctx context.Context, r returning, l nl.Link) error {
	if !l.Up {
		return nil
	}
	return r.host.SetUp(ctx, refOf(l), false)
}

// rename gives the interface its name on the host, out of the way of which an
// alternative name of its own goes.
func (p *Plugin) rename(ctx context.Context, r returning, l nl.Link) error {
	name, err := p.hostName(ctx, r)
	if err != nil || l.Name == name {
		return err
	}
	if err := freeName(ctx, r.host, l, name); err != nil {
		return err
	}
	return r.host.Rename(ctx, refOf(l), name)
}

func restoreMTU(ctx context.Context, r returning, l nl.Link) error {
	if mtu := r.att.Original.MTU; mtu != 0 && l.MTU != mtu {
		return r.host.SetMTU(ctx, refOf(l), mtu)
	}
	return nil
}

// restoreMAC sets the interface's own MAC. One that the driver refuses is not worth
// the VF.
func (p *Plugin) restoreMAC(ctx context.Context, r returning, l nl.Link) error {
	mac, err := net.ParseMAC(r.att.Original.EffectiveMAC)
	if err != nil || l.MAC.String() == mac.String() {
		return nil //nolint:nilerr // a cache without a MAC, or a VF that had none
	}
	_, err = p.effectiveMAC(ctx, macChange{ns: r.host, index: l.Index, mac: mac, vf: r.vf, att: r.att})
	if refused(err) {
		p.Log.Warn("the VF keeps its MAC", "vf", r.vf.Address, "err", err)
		return nil
	}
	return err
}

// restoreAltNames adds what is missing. A name that another interface took meanwhile
// is not worth the VF.
func (p *Plugin) restoreAltNames(ctx context.Context, r returning, l nl.Link) error {
	now, err := r.host.Link(ctx, refOf(l))
	if err != nil {
		return err
	}
	for _, alt := range r.att.Extra.AltNames {
		if slices.Contains(now.AltNames, alt) || alt == now.Name {
			continue
		}
		if err := r.host.AddAltName(ctx, refOf(l), alt); err != nil {
			p.Log.Warn("cannot restore alternative name", "vf", r.vf.Address, "name", alt, "err", err)
		}
	}
	return nil
}

// hostName is the name that the interface gets on the host: the one it had, or
// one made of the PCI address when another interface took that meanwhile.
func (p *Plugin) hostName(ctx context.Context, r returning) (string, error) {
	links, err := r.host.Links(ctx)
	if err != nil {
		return "", err
	}
	spare := spareName(r.vf.Address)
	want := cmp.Or(r.att.Original.HostIFName, spare)
	for _, other := range links {
		if other.ParentDev == r.vf.Address {
			continue // itself
		}
		if other.Name == want || slices.Contains(other.AltNames, want) {
			p.Log.Warn("another interface has the VF's name", "vf", r.vf.Address, "name", want, "instead", spare)
			return spare, nil
		}
	}
	return want, nil
}

// spareName is vf21100 for 0000:21:10.0.
func spareName(addr string) string {
	return "vf" + strings.NewReplacer(":", "", ".", "").Replace(strings.TrimPrefix(addr, "0000:"))
}
