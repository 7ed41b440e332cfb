package inventory

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/talos-sriov/talos-sriov/pkg/nl"
	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
)

// NetworkAnswers is how much of the host's own network one reading has seen. The
// zero value has seen nothing.
type NetworkAnswers struct {
	// Complete is true when the interfaces, the addresses and the default routes
	// were each listed to the end. Without it an empty PF.Uplink says nothing.
	Complete bool
	// Missing is what was not listed and why ("addresses: no buffer space
	// available"), "" when Complete.
	Missing string
	// Hidden is an interface that carries the host's network over one that the
	// kernel does not name: a PPP session over Ethernet shows its port in no list
	// of rtnetlink. "" when there is none.
	Hidden string
}

// notAsked is the answer of a reading without netlink.
const notAsked = "the kernel was not asked, because this program has no netlink here"

// readNetwork asks netlink for what concerns no single PF. What one list lacks
// does not keep the others from being used: an address that was listed shows an
// uplink, whether or not the routes were listed too.
func (r *reader) readNetwork(ctx context.Context) {
	if r.net == nil {
		r.answers.Missing = notAsked
		return
	}
	var missing []string
	note := func(what string, err error) {
		if err != nil {
			r.note(wholeNetwork, what, err)
			missing = append(missing, what+": "+err.Error())
		}
	}
	links, err := r.net.Links(ctx)
	if note("interfaces", err); err != nil {
		// Half a list would describe some interfaces by netlink and others by sysfs.
		r.answers.Missing = missing[0]
		return
	}
	r.links = links
	r.byName = make(map[string]*nl.Link, len(r.links))
	for i := range r.links {
		r.byName[r.links[i].Name] = &r.links[i]
	}
	addrs, err := r.net.Addrs(ctx)
	note("addresses", err)
	routes, err := r.net.DefaultRoutes(ctx)
	note("routes", err)
	r.route = len(routes) > 0
	r.uplinks = Uplinks(r.links, addrs, routes)
	r.uppers = uppers(r.links)
	r.answers.Hidden = hidden(r.links, r.uplinks)
	r.answers.Complete = len(missing) == 0
	r.answers.Missing = strings.Join(missing, "; ")
}

// uppers names an interface that lies on each interface that has one: the bond,
// team, bridge or VRF that it is a port of, or a VLAN, macvlan or the like above
// it. What is above it in another network namespace the kernel does not show.
func uppers(links []nl.Link) map[int]string {
	masters := byIndex(links)
	out := map[int]string{}
	for i := range links {
		l := &links[i]
		if l.Lower != 0 && out[l.Lower] == "" {
			out[l.Lower] = describeLink(l)
		}
		if l.Master == 0 {
			continue
		}
		if m := masters[l.Master]; m != nil {
			out[l.Index] = describeLink(m)
		} else {
			out[l.Index] = fmt.Sprintf("interface %d", l.Master)
		}
	}
	return out
}

func describeLink(l *nl.Link) string {
	if l.Kind == "" {
		return l.Name
	}
	return l.Name + " (" + l.Kind + ")"
}

// hidden finds a PPP interface that carries the host's network.
func hidden(links []nl.Link, uplinks map[int]string) string {
	for i := range links {
		if l := &links[i]; l.Type == nl.TypePPP && l.Lower == 0 && uplinks[l.Index] != "" {
			return l.Name
		}
	}
	return ""
}

// hostNetwork sets what the host's network has to do with the PF.
func (r *reader) hostNetwork(pf *PF) {
	for _, d := range pf.Netdevs {
		if r.unlisted[d.Name] {
			pf.Unlisted = d.Name
		}
		if r.byName[d.Name] == nil {
			continue
		}
		if why := r.uplinks[d.Index]; why != "" && pf.Uplink == "" {
			pf.Uplink = why
		}
		if upper := cmp.Or(r.uppers[d.Index], r.linkedUpper(d.Name)); pf.Upper == "" {
			pf.Upper = upper
		}
	}
}

// linkedUpper names an interface on top of the one with the name that sysfs links to
// it. That is so for every kind of interface, also for those that rtnetlink shows
// nothing of (HSR); source: netdev_adjacent_sysfs_add in net/core/dev.c.
func (r *reader) linkedUpper(name string) string {
	for _, entry := range r.list(sysfs.Net(name)) {
		if upper, ok := strings.CutPrefix(entry, sysfs.PrefixUpper); ok {
			return upper
		}
	}
	return ""
}
