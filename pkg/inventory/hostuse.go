package inventory

import "maps"

// hostUses says how the host itself uses interfaces, by ifindex. It is what
// carries carries the node's own network (see Uplinks), and beside it every
// interface that is a part of another one of the host: the port of a bond,
// team, bridge or VRF, the synthetic interface's lower one (accelerated
// networking), the lower device of a VLAN or macvlan. Whoever takes it away
// takes a part out of a device that the machine's config has, with or without
// an address at the moment.
func hostUses(uppers, carries map[int]string) map[int]string {
	out := maps.Clone(carries)
	if out == nil {
		out = map[int]string{}
	}
	for index, upper := range uppers {
		if out[index] == "" {
			out[index] = "is below " + upper
		}
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
