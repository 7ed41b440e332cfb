package spec

import (
	"cmp"
	"fmt"
	"slices"
)

// The work of comparing entries, in steps of some nanoseconds. Whoever names
// one PF in a thousand entries gets an error: what cannot be compared cannot be
// accepted, and joining the entries is what is wanted anyway.
const (
	maxSteps  = 1 << 24
	stepsPair = 24 // to compare the plain keys of two entries
	smallList = 8  // from here on a list is searched by a set
)

// samePF compares entries that certainly select the same PF: they share a
// literal name or address, and whatever one of them demands beyond that does
// not exclude the other. Entries that only may meet (globs, ids) are compared
// when the machine is known.
func (v *validator) samePF() {
	p := &pairs{validator: v, steps: maxSteps, entries: make([]entry, len(v.c.PhysicalFunctions))}
	byName := make(map[string][]int)
	for i := range v.c.PhysicalFunctions {
		p.entries[i] = entry{lists: v.c.PhysicalFunctions[i].Match.lists(), met: -1}
		for _, l := range p.entries[i].lists[:2] { // names, pciAddresses
			for _, s := range l.values {
				if s == "" || l.key == "names" && IsGlob(s) {
					continue
				}
				for _, j := range byName[s] {
					if p.pair(j, i, s); p.steps < 0 {
						at := index("physicalFunctions", i)
						v.complain(at, "join the entries that are for one PF", "too many entries have names or addresses in common: they cannot be compared with each other")
						return
					}
				}
				byName[s] = append(byName[s], i)
			}
		}
	}
}

// pairs compares entries of physicalFunctions.
type pairs struct {
	*validator
	entries []entry
	steps   int // what may still be spent
}

// entry is what comparing needs of one entry, found out once.
type entry struct {
	lists  []matchList
	sets   [6]map[string]struct{} // of the lists, made when they are needed
	groups []owned                // nil: not known yet
	met    int                    // the last entry that it was compared with
}

// owned is a range of VFs and the group that has them.
type owned struct {
	Range
	group int
}

// pair compares entry b with the earlier entry a, once. They share name.
func (p *pairs) pair(a, b int, name string) {
	p.steps--
	if a == b || p.entries[a].met == b {
		return
	}
	p.entries[a].met = b
	p.steps -= stepsPair
	if p.meet(&p.entries[a], &p.entries[b]) && !p.full() {
		p.compare(a, b, name)
	}
}

// meet reports whether every PF that satisfies the stricter of a and b also
// satisfies the other. They are known to share a name or address.
func (p *pairs) meet(a, b *entry) bool {
	onlyA, onlyB := false, false
	for k := range a.lists {
		onlyA = onlyA || len(a.lists[k].values) > 0 && len(b.lists[k].values) == 0
		onlyB = onlyB || len(b.lists[k].values) > 0 && len(a.lists[k].values) == 0
	}
	if onlyA && onlyB {
		return false
	}
	for k := range a.lists {
		if len(a.lists[k].values) > 0 && len(b.lists[k].values) > 0 && !p.shareValue(a, b, k) {
			return false
		}
	}
	return true
}

// shareValue reports whether the lists of one key have a value in common.
func (p *pairs) shareValue(a, b *entry, key int) bool {
	if len(a.lists[key].values) > len(b.lists[key].values) {
		a, b = b, a
	}
	short, long := a.lists[key].values, b.lists[key].values
	p.steps -= len(short)
	if len(long) <= smallList {
		return slices.ContainsFunc(short, func(s string) bool { return slices.Contains(long, s) })
	}
	if b.sets[key] == nil {
		p.steps -= len(long)
		b.sets[key] = make(map[string]struct{}, len(long))
		for _, s := range long {
			b.sets[key][s] = struct{}{}
		}
	}
	return slices.ContainsFunc(short, func(s string) bool { _, found := b.sets[key][s]; return found })
}

// compare reports where entry b disagrees with the earlier entry a.
func (p *pairs) compare(a, b int, name string) {
	pa, pb := &p.c.PhysicalFunctions[a], &p.c.PhysicalFunctions[b]
	at := [2]string{index("physicalFunctions", a), index("physicalFunctions", b)}
	for _, d := range disagreements(pa, pb) {
		first, second := at[0]+"."+d.key, at[1]+"."+d.key
		if p.has(first) && p.has(second) && p.ok(first) {
			p.complain(second, "two entries for one PF must agree; join them or change one",
				fmt.Sprintf("is %v here and %v at %s, for the same PF %s", d.b, d.a, p.line(first), quote(name)))
		}
	}
	p.compareGroups(a, b, at, name)
}

// compareGroups reports the groups of entry b that have VFs of groups of entry
// a. Both are walked in the order of the indexes, range by range.
func (p *pairs) compareGroups(a, b int, at [2]string, name string) {
	ra, rb := p.groups(a), p.groups(b)
	p.steps -= len(ra) + len(rb)
	type conflict struct {
		shared []Range
		other  int
	}
	found := make(map[int]*conflict) // by group of b
	for i, j := 0, 0; i < len(ra) && j < len(rb); {
		both := Range{First: max(ra[i].First, rb[j].First), Last: min(ra[i].Last, rb[j].Last)}
		if both.First <= both.Last {
			c := found[rb[j].group]
			if c == nil {
				c = new(conflict)
				found[rb[j].group] = c
			}
			c.other = ra[i].group
			if n := len(c.shared); n > 0 && c.shared[n-1].Last+1 == both.First {
				c.shared[n-1].Last = both.Last
			} else {
				c.shared = append(c.shared, both)
			}
		}
		if ra[i].Last < rb[j].Last {
			i++
		} else {
			j++
		}
	}
	for _, g := range sortedKeys(found) {
		c := found[g]
		p.complain(index(at[1]+".virtualFunctions", g)+".indexes", "a VF belongs to one group",
			fmt.Sprintf("%s in the group at %s already, for the same PF %s", vfsAre(c.shared),
				p.line(index(at[0]+".virtualFunctions", c.other)+".indexes"), quote(name)))
	}
}

// groups returns the VFs of all groups of an entry, in ascending order.
func (p *pairs) groups(i int) []owned {
	e := &p.entries[i]
	if e.groups != nil {
		return e.groups
	}
	e.groups = []owned{}
	for g := range p.c.PhysicalFunctions[i].VirtualFunctions {
		for _, r := range p.c.PhysicalFunctions[i].VirtualFunctions[g].Indexes.ranges() {
			e.groups = append(e.groups, owned{Range: r, group: g})
		}
	}
	slices.SortFunc(e.groups, func(a, b owned) int { return cmp.Or(cmp.Compare(a.First, b.First), cmp.Compare(a.group, b.group)) })
	return e.groups
}
