package pool

import (
	"cmp"
	"fmt"
	"slices"
)

// Prefer chooses n of the available devices of the pool, must among them. It is
// the best choice by these rules, in this order:
//
//  1. from as few NUMA nodes as possible;
//  2. from as few PFs as possible (Packed), or as many (Spread);
//  3. the earliest devices in the pool's order.
//
// The answer is in the pool's order. A device whose NUMA node or PF is not known
// counts as one of a node or PF of its own kind. IDs that the pool does not have
// come last, in their own order.
func (p *Pool) Prefer(available, must []string, n int) ([]string, error) {
	switch {
	case n < 1:
		return nil, fmt.Errorf("%d devices are asked for", n)
	case n > len(available):
		return nil, fmt.Errorf("%d devices are asked for, %d are available", n, len(available))
	case len(must) > n:
		return nil, fmt.Errorf("%d devices are asked for, %d must be among them", n, len(must))
	}
	c, err := p.chooser(available, must, n)
	if err != nil {
		return nil, err
	}
	best := c.cost()
	// Taking the earliest device that still allows the best cost, again and
	// again, gives the first of all best choices.
	for i := range c.list {
		d := &c.list[i]
		if d.taken || c.left == 0 {
			continue
		}
		c.take(d)
		if c.cost() != best {
			c.drop(d)
		}
	}
	out := make([]string, 0, n)
	for i := range c.list {
		if c.list[i].taken {
			out = append(out, c.list[i].id)
		}
	}
	return out, nil
}

// choice is a device that may be taken.
type choice struct {
	id    string
	rank  int // in the pool
	group int
	taken bool
}

// group is the devices of one PF on one NUMA node.
type group struct {
	node, pf    int // indexes of the distinct ones
	taken, free int
}

type chooser struct {
	list       []choice
	groups     []group
	nodes, pfs int
	left       int // still to be taken
	spread     bool
}

func (p *Pool) chooser(available, must []string, n int) (*chooser, error) {
	rank := make(map[string]int, len(p.Devices))
	for i := range p.Devices {
		rank[p.Devices[i].ID] = i
	}
	c := &chooser{left: n, spread: p.Policy == Spread}
	seen := make(map[string]bool, len(available))
	for _, id := range available {
		if seen[id] {
			return nil, fmt.Errorf("device %s is available twice", id)
		}
		seen[id] = true
		r, ok := rank[id]
		if !ok {
			r = len(p.Devices)
		}
		c.list = append(c.list, choice{id: id, rank: r})
	}
	slices.SortFunc(c.list, func(a, b choice) int { return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.id, b.id)) })
	node, pf, at := map[int]int{}, map[string]int{}, map[[2]int]int{}
	for i := range c.list {
		numa, of := -1, ""
		if r := c.list[i].rank; r < len(p.Devices) {
			numa, of = p.Devices[r].NUMANode, p.Devices[r].PF
		}
		key := [2]int{number(node, numa), number(pf, of)}
		g, ok := at[key]
		if !ok {
			g = len(c.groups)
			at[key] = g
			c.groups = append(c.groups, group{node: key[0], pf: key[1]})
		}
		c.list[i].group = g
		c.groups[g].free++
	}
	c.nodes, c.pfs = len(node), len(pf)
	for _, id := range must {
		i := slices.IndexFunc(c.list, func(d choice) bool { return d.id == id })
		if i < 0 {
			return nil, fmt.Errorf("device %s must be chosen and is not available", id)
		}
		if c.list[i].taken {
			return nil, fmt.Errorf("device %s must be chosen twice", id)
		}
		c.take(&c.list[i])
	}
	return c, nil
}

// number gives each distinct key the next number.
func number[K comparable](m map[K]int, k K) int {
	n, ok := m[k]
	if !ok {
		n = len(m)
		m[k] = n
	}
	return n
}

func (c *chooser) take(d *choice) {
	d.taken = true
	c.groups[d.group].taken++
	c.groups[d.group].free--
	c.left--
}

// drop undoes take, and makes the device unavailable: the choices that have it
// are worse.
func (c *chooser) drop(d *choice) {
	d.taken = false
	c.groups[d.group].taken--
	c.left++
}

// cost is what the best completion comes to: NUMA nodes, then PFs.
type cost struct{ nodes, pfs int }

func (c *chooser) cost() cost {
	in := make([]bool, c.nodes)
	count := 0
	for _, g := range c.groups {
		if g.taken > 0 && !in[g.node] {
			in[g.node] = true
			count++
		}
	}
	// The first number of nodes that has enough devices is the least.
	for more := 0; count+more <= c.nodes; more++ {
		if pfs, ok := c.best(in, 0, more); ok {
			return cost{count + more, pfs}
		}
	}
	return cost{nodes: c.nodes + 1}
}

// best is pfsWithin of the best set of nodes that has all of in, and so many more,
// which come at from or later.
func (c *chooser) best(in []bool, from, more int) (best int, ok bool) {
	if more == 0 {
		return c.pfsWithin(in)
	}
	for i := from; i < c.nodes; i++ {
		if in[i] {
			continue
		}
		in[i] = true
		if pfs, enough := c.best(in, i+1, more-1); enough && (!ok || pfs < best) {
			best, ok = pfs, true
		}
		in[i] = false
	}
	return best, ok
}

// pfsWithin is the number of PFs of the best completion from the nodes,
// negative for Spread, so that less is better. It is not ok when the nodes have
// too few devices.
func (c *chooser) pfsWithin(in []bool) (int, bool) {
	taken, free := make([]int, c.pfs), make([]int, c.pfs)
	total := 0
	for _, g := range c.groups {
		if in[g.node] {
			taken[g.pf] += g.taken
			free[g.pf] += g.free
			total += g.free
		}
	}
	if total < c.left {
		return 0, false
	}
	used := 0
	var others []int // what the PFs that are not used yet have, the most first
	left := c.left
	for i := range taken {
		if taken[i] > 0 {
			used++
			if !c.spread {
				left -= free[i] // they cost nothing more
			}
		} else if free[i] > 0 {
			others = append(others, free[i])
		}
	}
	if c.spread {
		return -(used + min(left, len(others))), true
	}
	slices.SortFunc(others, func(a, b int) int { return cmp.Compare(b, a) })
	for _, n := range others {
		if left <= 0 {
			break
		}
		left -= n
		used++
	}
	return used, true
}
