package cni

import (
	"cmp"
	"context"
	"net"
	"slices"
	"strings"

	"github.com/talos-sriov/talos-sriov/pkg/nl"
)

// settling is what makes an interface on the host what it was: its name, MTU, MAC and
// alternative names. It is left down.
type settling struct {
	link     nl.Link
	down     bool
	inTheWay bool             // the name, as an alternative one of the interface itself
	name     string           // "" when it has it
	mtu      int              // 0 when it has it, or when it is not known
	mac      net.HardwareAddr // nil likewise
	altNames []string         // that are missing
}

// decideSettling compares the interface with what the attachment has of it. It is pure.
func decideSettling(r returning, l nl.Link, name string) settling {
	s := settling{link: l, down: l.Up}
	if l.Name != name {
		s.name, s.inTheWay = name, slices.Contains(l.AltNames, name)
	}
	if l.MTU != r.att.Original.MTU {
		s.mtu = r.att.Original.MTU
	}
	// A cache may have no MAC, and a VF had none.
	if mac, err := net.ParseMAC(r.att.Original.EffectiveMAC); err == nil && mac.String() != l.MAC.String() {
		s.mac = mac
	}
	for _, alt := range r.att.Extra.AltNames {
		if alt != name && !slices.Contains(l.AltNames, alt) {
			s.altNames = append(s.altNames, alt)
		}
	}
	return s
}

// settle does that to the interface. A MAC that the driver refuses, and a name that
// another interface took meanwhile, are not worth the VF.
func (p *Plugin) settle(ctx context.Context, r returning, s settling) error {
	ref := refOf(s.link)
	if s.down {
		if err := r.host.SetUp(ctx, ref, false); err != nil {
			return err
		}
	}
	if s.inTheWay {
		if err := r.host.DelAltName(ctx, ref, s.name); err != nil {
			return err
		}
	}
	if s.name != "" {
		if err := r.host.Rename(ctx, ref, s.name); err != nil {
			return err
		}
	}
	if s.mtu != 0 {
		if err := r.host.SetMTU(ctx, ref, s.mtu); err != nil {
			return err
		}
	}
	if s.mac != nil {
		_, err := p.effectiveMAC(ctx, macChange{ns: r.host, index: s.link.Index, mac: s.mac, vf: r.vf, att: r.att})
		if refused(err) {
			p.Log.Warn("the VF keeps its MAC", "vf", r.vf.Address, "err", err)
		} else if err != nil {
			return err
		}
	}
	for _, alt := range s.altNames {
		if err := r.host.AddAltName(ctx, ref, alt); err != nil {
			p.Log.Warn("cannot restore alternative name", "vf", r.vf.Address, "name", alt, "err", err)
		}
	}
	return nil
}

func refOf(l nl.Link) nl.LinkRef { return nl.LinkRef{Index: l.Index, Name: l.Name} }

// hostName is the name that the interface gets on the host: the one it had, or
// one made of the PCI address when another interface took that meanwhile.
func (p *Plugin) hostName(ctx context.Context, r returning) (string, error) {
	links, err := r.host.Links(ctx)
	if err != nil {
		return "", err
	}
	spare := spareName(r.vf.Address)
	want := cmp.Or(r.att.Original.HostIFName, spare)
	if taken(links, want, r.vf.Address) {
		p.Log.Warn("another interface has the VF's name", "vf", r.vf.Address, "name", want, "instead", spare)
		return spare, nil
	}
	return want, nil
}

// taken reports whether an interface of another device has the name.
func taken(links []nl.Link, name, device string) bool {
	return slices.ContainsFunc(links, func(l nl.Link) bool {
		return l.ParentDev != device && (l.Name == name || slices.Contains(l.AltNames, name))
	})
}

// spareName is vf21100 for 0000:21:10.0.
func spareName(addr string) string {
	return "vf" + strings.NewReplacer(":", "", ".", "").Replace(strings.TrimPrefix(addr, "0000:"))
}
