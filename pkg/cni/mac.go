package cni

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/talos-sriov/talos-sriov/pkg/cni/attachment"
	"github.com/talos-sriov/talos-sriov/pkg/cni/fault"
	"github.com/talos-sriov/talos-sriov/pkg/cni/vf"
	"github.com/talos-sriov/talos-sriov/pkg/nl"
)

// macTries and macPause bound the wait for a MAC: some drivers answer first, and have
// the firmware or the PF set it afterwards.
const (
	macTries = 20
	macPause = 100 * time.Millisecond
)

// verifyMAC waits until the PF reports the MAC that it was given.
func (p *Plugin) verifyMAC(ctx context.Context, c change) error {
	if c.mac == nil || !c.known {
		return nil
	}
	for range macTries {
		info, ok, err := vf.Info(ctx, p.Kernel.Host(), c.vf)
		if err != nil {
			return fault.Wrapf(err, fault.CodeReadVF, "", "VF %s", c.vf.Address)
		}
		if ok && info.MAC.String() == c.mac.String() {
			return nil
		}
		if err := p.pause(ctx, macPause); err != nil {
			return err
		}
	}
	return fault.Newf(fault.CodeSetVF, "the PF's driver accepts a MAC and does not keep it; leave mac out", "VF %s did not take MAC %s on within %s",
		c.vf.Address, c.mac, macTries*macPause)
}

// macChange is the MAC that a VF's interface is to have.
type macChange struct {
	ns    NS // where the interface is
	index int
	mac   net.HardwareAddr
	vf    vf.VF
	att   *attachment.Attachment
}

// effectiveMAC sets the interface's own MAC. A PF that fixed the MAC may refuse
// every request of an untrusted VF about it, even for the same (igb): then it is
// trusted for that moment. That this has to be undone is on disk before; the
// attachment that is returned has it, with an error too.
func (p *Plugin) effectiveMAC(ctx context.Context, m macChange) (*attachment.Attachment, error) {
	err := p.setMAC(ctx, m)
	if err == nil || !refused(err) {
		return m.att, err
	}
	cur, known, readErr := vf.Info(ctx, p.Kernel.Host(), m.vf)
	if readErr != nil {
		return m.att, readErr
	}
	if !known || cur.Trust == nil || *cur.Trust {
		return m.att, err
	}
	att := m.att
	if !att.Extra.TrustRaised {
		att = att.Trusted()
		if err := p.store().Save(att); err != nil {
			return att, fault.Wrapf(err, types.ErrIOFailure, "is /var/lib/cni writable?", "write cache")
		}
	}
	return att, p.whileTrusted(ctx, m.vf, func() error { return p.setMAC(ctx, m) })
}

// errTrust and errDistrust are failures to trust the VF for a moment, and to end that. They
// are never a driver's refusal of a MAC, which the way back puts up with: the VF may be
// trusted.
var (
	errTrust    = errors.New("trust the VF for a moment")
	errDistrust = errors.New("trust the VF no more")
)

// whileTrusted runs f while the VF is trusted.
func (p *Plugin) whileTrusted(ctx context.Context, v vf.VF, f func() error) error {
	host := p.Kernel.Host()
	if err := host.SetVFTrust(ctx, v.PFRef(), v.Index, true); err != nil {
		return fmt.Errorf("%w: %w", errTrust, err)
	}
	err := f()
	if lower := host.SetVFTrust(ctx, v.PFRef(), v.Index, false); lower != nil {
		return fmt.Errorf("%w: %w", errDistrust, lower)
	}
	return err
}

// setMAC gives the interface an address and waits until it has it.
func (p *Plugin) setMAC(ctx context.Context, m macChange) error {
	ref := nl.LinkRef{Index: m.index}
	has := func() (bool, error) {
		l, err := m.ns.Link(ctx, ref)
		return l.MAC.String() == m.mac.String(), err
	}
	for range macTries {
		if ok, err := has(); err != nil || ok {
			return err
		}
		if err := m.ns.SetMAC(ctx, ref, m.mac); err != nil {
			return err
		}
		if ok, err := has(); err != nil || ok {
			return err
		}
		if err := p.pause(ctx, macPause); err != nil {
			return err
		}
	}
	return fmt.Errorf("the driver accepted MAC %s and did not take it on within %s", m.mac, macTries*macPause)
}
