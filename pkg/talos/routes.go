package talos

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"

	"github.com/cosi-project/runtime/api/v1alpha1"
	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/resource/protobuf"
	"github.com/cosi-project/runtime/pkg/state"
	talosnet "github.com/siderolabs/talos/pkg/machinery/resources/network"
	"gopkg.in/yaml.v3"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/nl"
)

// defaultRoute is what a RouteStatus says of a default route, as YAML: from Talos
// 1.14 on a route with several next hops has them in a key of their own, and
// before that it has no link at all.
type defaultRoute struct {
	Family       string `yaml:"family"`
	Destination  string `yaml:"dst"`
	Type         string `yaml:"type"`
	OutLinkIndex int    `yaml:"outLinkIndex"`
	OutLinkName  string `yaml:"outLinkName"`
	NextHops     []struct {
		OutLinkName string `yaml:"outLinkName"`
	} `yaml:"nextHops"`
}

// leads reports whether the route is a default route by which packets leave. A
// type that is not known may be one.
func (r *defaultRoute) leads() bool {
	// Talos shows the default route with no destination at all.
	if p, err := netip.ParsePrefix(r.Destination); err == nil && p.Bits() > 0 {
		return false
	}
	switch r.Type {
	case "local", "broadcast", "anycast", "multicast", "blackhole", "unreachable", "prohibit", "throw":
		return false
	}
	return true
}

// defaultRoutes lists the default routes of the node. The resources are read as
// they are sent and not as the types of this program's Talos, which drop what a
// newer one has.
func (n *Node) defaultRoutes(ctx context.Context) ([]defaultRoute, error) {
	const what = "list " + talosnet.RouteStatusType
	list, err := n.client.COSI.List(n.ctx(ctx),
		resource.NewMetadata(talosnet.NamespaceName, talosnet.RouteStatusType, "", resource.VersionUndefined),
		state.WithListUnmarshalOptions(state.WithSkipProtobufUnmarshal()))
	if err != nil {
		return nil, explain(n.Name, what, err)
	}
	var out []defaultRoute
	for _, item := range list.Items {
		var r defaultRoute
		sent, err := sentSpec(item)
		if err == nil {
			// Keys that are not known are left out.
			err = yaml.Unmarshal([]byte(sent.GetYamlSpec()), &r)
		}
		if err != nil {
			return nil, &Error{Node: n.Name, Msg: what + ": " + item.Metadata().ID(), Err: err}
		}
		if r.leads() {
			out = append(out, r)
		}
	}
	return out, nil
}

// sentSpec is what a resource is sent with, of whichever version of Talos.
func sentSpec(r resource.Resource) (*v1alpha1.Spec, error) {
	wire, ok := r.(*protobuf.Resource)
	if !ok {
		return nil, fmt.Errorf("the answer is a %T", r)
	}
	sent, err := wire.Marshal()
	return sent.GetSpec(), err
}

// place finds the links of the routes. A route of which any link is not known
// leaves open which interface carries it.
func (n *network) place(routes []defaultRoute) {
	byName := make(map[string]int, len(n.links))
	for i := range n.links {
		byName[n.links[i].Name] = n.links[i].Index
	}
	for i := range routes {
		r := &routes[i]
		out := nl.Route{IPv6: r.Family == "inet6"}
		own := cmp.Or(r.OutLinkIndex, byName[r.OutLinkName])
		open := own == 0 && len(r.NextHops) == 0
		if own != 0 {
			out.Indexes = append(out.Indexes, own)
		}
		for _, hop := range r.NextHops {
			if index := byName[hop.OutLinkName]; index != 0 {
				out.Indexes = append(out.Indexes, index)
			} else {
				open = true
			}
		}
		if len(out.Indexes) > 0 {
			n.routes = append(n.routes, out)
		}
		if open {
			n.unplaced = "may carry the " + out.Family() + " default route, whose links the Talos API does not show (it has several next hops; Talos shows their links from 1.14 on)"
		}
	}
}

// mayCarry says why an interface may carry the node's own network although
// nothing shows that it does, "" when that is not so. An interface that is down
// carries no route.
func (n *network) mayCarry(up bool) string {
	if !up {
		return ""
	}
	return n.unplaced
}

// doubt makes uplinks of the PFs of which it is not known whether they are.
func (n *network) doubt(s *inventory.Snapshot) {
	for i := range s.PFs {
		pf := &s.PFs[i]
		for j := range pf.Netdevs {
			pf.Uplink = cmp.Or(pf.Uplink, n.mayCarry(pf.Netdevs[j].AdminUp))
		}
	}
}
