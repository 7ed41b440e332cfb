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

// ErrNoNetlink is what comes of an operation that needs netlink with NoLinks.
var ErrNoNetlink = errors.New("there is no netlink beside this sysfs, which is not the running kernel's")

// NoLinks are the Links of a sysfs that is not the running kernel's: netlink would
// not speak of the same devices. An Applier asks them nothing, and they have nothing to
// ask.
type NoLinks struct{ Links }
