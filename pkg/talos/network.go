package talos

import (
	"context"
	"net"
	"sync"

	"github.com/siderolabs/talos/pkg/machinery/nethelpers"
	talosnet "github.com/siderolabs/talos/pkg/machinery/resources/network"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/nl"
)

// network is what Talos' resources show of a node's network. It needs os:reader.
type network struct {
	links  []nl.Link
	addrs  []nl.Addr
	routes []nl.Route
	status []*talosnet.LinkStatus
	// unplaced says of a default route that its links are not known, "" when all
	// are: then any interface that is up may carry it.
	unplaced string
}

var _ inventory.Network = (*network)(nil)

func (n *Node) network(ctx context.Context) (*network, error) {
	out := &network{}
	var routes []defaultRoute
	err := InOrder(
		func() error {
			list, err := listAll[*talosnet.LinkStatus](ctx, n)
			out.status = list
			for _, l := range list {
				out.links = append(out.links, toLink(l))
			}
			return err
		},
		func() error {
			list, err := listAll[*talosnet.AddressStatus](ctx, n)
			for _, a := range list {
				s := a.TypedSpec()
				out.addrs = append(out.addrs, nl.Addr{Index: int(s.LinkIndex), Prefix: s.Address})
			}
			return err
		},
		func() (err error) {
			routes, err = n.defaultRoutes(ctx)
			return err
		},
	)
	if err != nil {
		return nil, err
	}
	out.place(routes)
	return out, nil
}

func toLink(l *talosnet.LinkStatus) nl.Link {
	s := l.TypedSpec()
	up := uint32(s.Flags)&1 != 0 // IFF_UP
	out := nl.Link{
		Index: int(s.Index), Name: l.Metadata().ID(), AltNames: s.AltNames,
		MAC: net.HardwareAddr(s.HardwareAddr), PermMAC: net.HardwareAddr(s.PermanentAddr),
		MTU: int(s.MTU), Up: up, Carrier: up && s.LinkState,
		Loopback: s.Type == nethelpers.LinkLoopbck, Type: uint16(s.Type), Kind: s.Kind,
		Master: int(s.MasterIndex),
	}
	if s.Kind != "" && s.LinkIndex != s.Index {
		out.Lower = int(s.LinkIndex)
	}
	if s.BusPath != "" {
		out.ParentDev, out.ParentBus = s.BusPath, "pci"
	}
	return out
}

func (n *network) Links(context.Context) ([]nl.Link, error)          { return n.links, nil }
func (n *network) Addrs(context.Context) ([]nl.Addr, error)          { return n.addrs, nil }
func (n *network) DefaultRoutes(context.Context) ([]nl.Route, error) { return n.routes, nil }

// unanswerable is what Talos has no resource for.
var unanswerable = &inventory.Unanswerable{Source: "the Talos API"}

// VFs implements [inventory.Network].
func (n *network) VFs(context.Context, nl.LinkRef) ([]nl.VFInfo, error) { return nil, unanswerable }

// EswitchMode implements [inventory.Network].
func (n *network) EswitchMode(context.Context, string, string) (string, error) {
	return "", unanswerable
}

// DevlinkInfo implements [inventory.Network].
func (n *network) DevlinkInfo(context.Context, string, string) (map[string]string, error) {
	return nil, unanswerable
}

// TCOffload implements [inventory.Network].
func (n *network) TCOffload(context.Context, string) (bool, error) { return false, unanswerable }

// RDMANetnsMode implements [inventory.Network].
func (n *network) RDMANetnsMode(context.Context) (nl.RDMANetnsMode, error) { return "", unanswerable }

// InOrder runs all functions at the same time, and returns the error of the
// first one in the order given: what is reported does not depend on who was faster.
func InOrder(functions ...func() error) error {
	errs := make([]error, len(functions))
	var wg sync.WaitGroup
	for i, f := range functions {
		wg.Go(func() { errs[i] = f() })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
