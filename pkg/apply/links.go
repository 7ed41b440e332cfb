package apply

import (
	"context"
	"errors"
	"net"

	"github.com/talos-sriov/talos-sriov/pkg/nl"
)

// Links is the part of the kernel behind netlink, devlink and ethtool.
// *nl.Handle implements it; each method is one request, bounded by its context.
type Links interface {
	SetMTU(ctx context.Context, ref nl.LinkRef, mtu int) error
	SetUp(ctx context.Context, ref nl.LinkRef, up bool) error

	SetVFMAC(ctx context.Context, pf nl.LinkRef, vf int, mac net.HardwareAddr) error
	SetVFVLAN(ctx context.Context, pf nl.LinkRef, vf int, vlan nl.VLAN) error
	SetVFTrust(ctx context.Context, pf nl.LinkRef, vf int, on bool) error
	SetVFSpoofCheck(ctx context.Context, pf nl.LinkRef, vf int, on bool) error
	SetVFQueryRSS(ctx context.Context, pf nl.LinkRef, vf int, on bool) error
	SetVFLinkState(ctx context.Context, pf nl.LinkRef, vf int, state nl.LinkState) error
	SetVFRate(ctx context.Context, pf nl.LinkRef, vf, minRate, maxRate int) error
	SetVFNodeGUID(ctx context.Context, pf nl.LinkRef, vf int, guid net.HardwareAddr) error
	SetVFPortGUID(ctx context.Context, pf nl.LinkRef, vf int, guid net.HardwareAddr) error

	SetEswitchMode(ctx context.Context, bus, dev, mode string) error
	DevlinkParam(ctx context.Context, bus, dev, name string) (nl.Param, error)
	SetDevlinkParam(ctx context.Context, bus, dev, name string, value any) error
	SetTCOffload(ctx context.Context, ifname string, on bool) error

	VDPAAdd(ctx context.Context, name, bus, dev string) error
	VDPADel(ctx context.Context, name string) error
}

// ErrNoNetlink is the answer of NoLinks.
var ErrNoNetlink = errors.New("there is no netlink beside this sysfs, which is not the running kernel's")

// NoLinks are the Links of a sysfs that is not the running kernel's: netlink would
// not speak of the same devices.
type NoLinks struct{}

func (NoLinks) SetMTU(context.Context, nl.LinkRef, int) error { return ErrNoNetlink }
func (NoLinks) SetUp(context.Context, nl.LinkRef, bool) error { return ErrNoNetlink }

func (NoLinks) SetVFMAC(context.Context, nl.LinkRef, int, net.HardwareAddr) error {
	return ErrNoNetlink
}
func (NoLinks) SetVFVLAN(context.Context, nl.LinkRef, int, nl.VLAN) error    { return ErrNoNetlink }
func (NoLinks) SetVFTrust(context.Context, nl.LinkRef, int, bool) error      { return ErrNoNetlink }
func (NoLinks) SetVFSpoofCheck(context.Context, nl.LinkRef, int, bool) error { return ErrNoNetlink }
func (NoLinks) SetVFQueryRSS(context.Context, nl.LinkRef, int, bool) error   { return ErrNoNetlink }
func (NoLinks) SetVFRate(context.Context, nl.LinkRef, int, int, int) error   { return ErrNoNetlink }
func (NoLinks) SetEswitchMode(context.Context, string, string, string) error { return ErrNoNetlink }
func (NoLinks) SetTCOffload(context.Context, string, bool) error             { return ErrNoNetlink }
func (NoLinks) VDPAAdd(context.Context, string, string, string) error        { return ErrNoNetlink }
func (NoLinks) VDPADel(context.Context, string) error                        { return ErrNoNetlink }
func (NoLinks) SetVFLinkState(context.Context, nl.LinkRef, int, nl.LinkState) error {
	return ErrNoNetlink
}
func (NoLinks) SetVFNodeGUID(context.Context, nl.LinkRef, int, net.HardwareAddr) error {
	return ErrNoNetlink
}
func (NoLinks) SetVFPortGUID(context.Context, nl.LinkRef, int, net.HardwareAddr) error {
	return ErrNoNetlink
}
func (NoLinks) DevlinkParam(context.Context, string, string, string) (nl.Param, error) {
	return nl.Param{}, ErrNoNetlink
}
func (NoLinks) SetDevlinkParam(context.Context, string, string, string, any) error {
	return ErrNoNetlink
}
