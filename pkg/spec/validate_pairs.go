package spec

import (
	"fmt"
	"slices"
	"strconv"
)

// samePF compares entries that certainly select the same PF: they share a
// literal name or address, and whatever one of them demands beyond that does
// not exclude the other. Entries that only may meet (globs, ids) are compared
// when the machine is known.
func (v *validator) samePF() {
	byName := make(map[string][]int)
	done := make(map[[2]int]bool)
	budget := maxCompare
	for i := range v.c.PhysicalFunctions {
		m := &v.c.PhysicalFunctions[i].Match
		for _, l := range m.lists()[:2] { // names, pciAddresses
			for _, s := range l.values {
				if s == "" || l.key == "names" && isGlob(s) {
					continue
				}
				for _, j := range byName[s] {
					if budget--; budget < 0 {
						return
					}
					if j != i && !done[[2]int{j, i}] && m.meets(&v.c.PhysicalFunctions[j].Match) {
						done[[2]int{j, i}] = true
						v.compare(j, i, s)
					}
				}
				byName[s] = append(byName[s], i)
			}
		}
	}
}

// meets reports whether every PF that satisfies the stricter of a and b also
// satisfies the other. They are known to share a name or address.
func (m *Match) meets(o *Match) bool {
	onlyM, onlyO := false, false
	la, lb := m.lists(), o.lists()
	for k := range la {
		a, b := la[k].values, lb[k].values
		switch {
		case len(a) == 0 && len(b) == 0:
		case len(b) == 0:
			onlyM = true
		case len(a) == 0:
			onlyO = true
		case !slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) }):
			return false
		}
	}
	return !onlyM || !onlyO
}

// compare reports where entry b disagrees with the earlier entry a.
func (v *validator) compare(a, b int, name string) {
	pa, pb := &v.c.PhysicalFunctions[a], &v.c.PhysicalFunctions[b]
	at := [2]string{index("physicalFunctions", a), index("physicalFunctions", b)}
	differ := func(key, va, vb string) {
		if va == vb || !v.said(at[0]+"."+key) || !v.said(at[1]+"."+key) || !v.ok(at[0]+"."+key) {
			return
		}
		v.complain(at[1]+"."+key, "two entries for one PF must agree; join them or change one",
			fmt.Sprintf("is %s here and %s at %s, for the same PF %s", vb, va, v.line(at[0]+"."+key), quote(name)))
	}
	differ("numVFs", number(pa.NumVFs), number(pb.NumVFs))
	differ("mtu", number(pa.MTU), number(pb.MTU))
	differ("linkType", string(pa.LinkType), string(pb.LinkType))
	differ("eswitchMode", string(pa.EswitchMode), string(pb.EswitchMode))
	differ("externallyManaged", strconv.FormatBool(pa.ExternallyManaged), strconv.FormatBool(pb.ExternallyManaged))
	differ("allowUplink", strconv.FormatBool(pa.AllowUplink), strconv.FormatBool(pb.AllowUplink))
	differ("force", pa.Force, pb.Force)
	differ("resourceName", pa.ResourceName, pb.ResourceName)

	owner := make(map[int]int)
	for g := range pa.VirtualFunctions {
		for _, i := range pa.VirtualFunctions[g].Indexes {
			owner[i] = g
		}
	}
	for g := range pb.VirtualFunctions {
		var shared IndexSet
		other := 0
		for _, i := range pb.VirtualFunctions[g].Indexes {
			if o, taken := owner[i]; taken {
				shared, other = append(shared, i), o
			}
		}
		if len(shared) == 0 {
			continue
		}
		v.complain(index(at[1]+".virtualFunctions", g)+".indexes", "a VF belongs to one group",
			fmt.Sprintf("%s %s in the group at %s already, for the same PF %s", vfs(shared), isAre(len(shared)),
				v.line(index(at[0]+".virtualFunctions", other)+".indexes"), quote(name)))
	}
}

func number(p *int) string {
	if p == nil {
		return "unset"
	}
	return strconv.Itoa(*p)
}
