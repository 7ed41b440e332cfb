package inventory

// hostUse is how the host itself uses a function by one of its interfaces, ""
// when netlink shows no use. It uses what carries its own network (see Uplinks),
// and beside it every interface that another one of the host is made of: the
// port of a bond, team, bridge or VRF, the fast path below a synthetic interface
// (accelerated networking), the lower device of a VLAN or macvlan. Whoever takes
// it away takes a part out of a device that the machine's config has, with or
// without an address at the moment.
func (r *reader) hostUse(netdevs []Netdev) string {
	for _, d := range netdevs {
		if r.byName[d.Name] == nil {
			continue
		}
		if why := r.uplinks[d.Index]; why != "" {
			return why
		}
		if upper := r.uppers[d.Index]; upper != "" {
			return "is below " + upper
		}
	}
	return ""
}

// applyHostUnknown records of which functions the answers of netlink do not show
// whether the host uses them. What one list does show counts without the others.
func (r *reader) applyHostUnknown(s *Snapshot) {
	judge := func(id, use string, netdevs []Netdev) {
		if use == "" {
			say(&s.HostUnknown, id, r.hostUnknown(netdevs))
		}
	}
	for i := range s.PFs {
		pf := &s.PFs[i]
		judge(pf.Address, pf.Uplink, pf.Netdevs)
		for j := range pf.VFs {
			judge(pf.VFs[j].Address, pf.VFs[j].HostUse, pf.VFs[j].Netdevs)
		}
	}
	for i := range s.Others {
		judge(s.Others[i].Address, s.OtherUse[s.Others[i].Address], s.Others[i].Netdevs)
	}
	for i := range s.Subfunctions {
		judge(s.Subfunctions[i].Name, s.OtherUse[s.Subfunctions[i].Name], s.Subfunctions[i].Netdevs)
	}
}

// say notes a reason in a map that is made when there is one.
func say(reasons *map[string]string, id, why string) {
	if why == "" {
		return
	}
	if *reasons == nil {
		*reasons = map[string]string{}
	}
	(*reasons)[id] = why
}

// hostUnknown says what was not listed of the interfaces, "" when all was.
func (r *reader) hostUnknown(netdevs []Netdev) string {
	if len(netdevs) == 0 {
		return ""
	}
	if !r.answers.Complete {
		return "the kernel did not list all of the host's network (" + r.answers.Missing + ")"
	}
	for _, d := range netdevs {
		if r.byName[d.Name] == nil {
			return "netlink does not list the interface " + d.Name
		}
	}
	return ""
}
