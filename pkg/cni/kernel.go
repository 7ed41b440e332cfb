package cni

import (
	"context"
	"net"

	"github.com/talos-sriov/talos-sriov/pkg/cni/vf"
	"github.com/talos-sriov/talos-sriov/pkg/nl"
)

// ErrNoNamespace is what opening a path gives that is no network namespace, or
// not any more.
var ErrNoNamespace = nl.ErrNoNamespace

// Kernel opens network namespaces.
type Kernel interface {
	// Host is the namespace of the plugin itself, in which the PFs are. It is
	// not closed.
	Host() NS
	// Open gives the namespace at path; [ErrNoNamespace] when there is none.
	Open(path string) (NS, error)
}

// NS is what the plugin asks of one network namespace. Links are selected by
// index (or by name where the index is 0). Errors are those of pkg/nl.
type NS interface {
	ID() (string, error) // equal for the same namespace
	Close() error

	Links(ctx context.Context) ([]nl.Link, error)
	Link(ctx context.Context, ref nl.LinkRef) (nl.Link, error)
	Addrs(ctx context.Context) ([]nl.Addr, error)
	vf.Reader
	vf.Setter

	SetUp(ctx context.Context, ref nl.LinkRef, up bool) error
	SetMTU(ctx context.Context, ref nl.LinkRef, mtu int) error
	SetMAC(ctx context.Context, ref nl.LinkRef, mac net.HardwareAddr) error
	Rename(ctx context.Context, ref nl.LinkRef, name string) error
	AddAltName(ctx context.Context, ref nl.LinkRef, name string) error
	DelAltName(ctx context.Context, ref nl.LinkRef, name string) error
	// MoveLink moves and renames; after an error the link may be on either side.
	MoveLink(ctx context.Context, ref nl.LinkRef, to NS, name string) error
	AddAddr(ctx context.Context, a nl.Addr) error
	AddRoute(ctx context.Context, r nl.NewRoute) error

	RDMANetnsMode(ctx context.Context) (nl.RDMANetnsMode, error)
	RDMADevs(ctx context.Context) ([]nl.RDMADev, error)
	MoveRDMA(ctx context.Context, dev nl.RDMADev, to NS) error

	// SetSysctl sets a value below /proc/sys/net ("ipv4/conf/net1/arp_notify").
	SetSysctl(ctx context.Context, name, value string) error
	// Send sends an Ethernet frame out of the interface.
	Send(ctx context.Context, index int, frame []byte) error
}
