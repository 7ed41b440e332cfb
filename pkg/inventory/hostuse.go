package inventory

import (
	"fmt"

	"github.com/talos-sriov/talos-sriov/pkg/nl"
)

// hostUses says how the host itself uses interfaces, by ifindex. It is what
// carries carries the node's own network (see Uplinks), and beside it every
// interface that is a part of another one of the host: the port of a bond,
// team, bridge or VRF, the synthetic interface's lower one (accelerated
// networking), the lower device of a VLAN or macvlan. Whoever takes it away
// takes a part out of a device that the machine's config has, with or without
// an address at the moment.
func hostUses(links []nl.Link, carries map[int]string) map[int]string {
	byIndex := make(map[int]*nl.Link, len(links))
	for i := range links {
		byIndex[links[i].Index] = &links[i]
	}
	out := make(map[int]string, len(carries))
	below := func(index int, upper *nl.Link) {
		if index == 0 || upper == nil || byIndex[index] == nil || out[index] != "" {
			return
		}
		kind := ""
		if upper.Kind != "" {
			kind = " (" + upper.Kind + ")"
		}
		out[index] = fmt.Sprintf("is below %s%s", upper.Name, kind)
	}
	for index, why := range carries {
		out[index] = why
	}
	for i := range links {
		l := &links[i]
		below(l.Index, byIndex[l.Master])
		below(l.Lower, l)
	}
	return out
}

// hostUse is how the host uses a function by one of its interfaces, "" when
// netlink shows no use.
func (r *reader) hostUse(netdevs []Netdev) string {
	for _, d := range netdevs {
		if why := r.inUse[d.Index]; why != "" && r.byName[d.Name] != nil {
			return why
		}
	}
	return ""
}
