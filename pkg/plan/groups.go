package plan

import (
	"slices"
	"strings"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

// Groups are the PFs of the machine, by address, in groups that share hardware: work on
// the PFs of one must not run at the same time. Each PF is in exactly one group; most
// groups have one PF. Groups and what is in them are sorted.
//
// PFs are in one group when
//
//   - their interfaces are ports of one switch (phys_switch_id): an eswitch that spans
//     ports has one mode and one set of tables;
//   - they are below one interface and any of them is in switchdev mode: their eswitches
//     are, or become, one (LAG);
//   - one IOMMU group has functions of both: it is taken from, and given to, a driver as
//     a whole.
//
// Else ports are independent, also those of one card: their vectors and VFs are their
// own with every driver of which we know. Ports on one function are one PF already.
//
// Not seen: that a bond is about to be made, and eswitches of one card that are joined
// without a bond and in legacy mode, because the kernel shows no switch then.
func Groups(s *inventory.Snapshot) [][]string {
	if s == nil {
		return nil
	}
	u := union{}
	first := map[shared]string{} // who has a thing first
	for i := range s.PFs {
		pf := &s.PFs[i]
		u.add(pf.Address)
		for _, what := range sharedBy(s, pf) {
			if other, ok := first[what]; ok {
				u.join(other, pf.Address)
			} else {
				first[what] = pf.Address
			}
		}
	}
	return u.groups()
}

// shared is something that several PFs may share; one of its fields is set.
type shared struct {
	switchID, upper string
	group           int // IOMMU group and one, so that none is 0
}

// sharedBy are the things of the PF that another may share.
func sharedBy(s *inventory.Snapshot, pf *inventory.PF) []shared {
	var out []shared
	for i := range pf.Netdevs {
		if id := pf.Netdevs[i].PhysSwitchID; id != "" {
			out = append(out, shared{switchID: id})
		}
	}
	if pf.Upper != "" && slices.ContainsFunc(s.PFs, func(o inventory.PF) bool {
		return o.Upper == pf.Upper && o.EswitchMode == string(spec.EswitchSwitchdev)
	}) {
		out = append(out, shared{upper: pf.Upper})
	}
	grouped := func(f *inventory.Function) {
		if f.IOMMUGroup >= 0 && !f.NoIOMMU {
			out = append(out, shared{group: f.IOMMUGroup + 1})
		}
	}
	grouped(&pf.Function)
	for i := range pf.VFs {
		grouped(&pf.VFs[i].Function)
	}
	return out
}

// union is a partition: each element has the one that it was joined to, itself when
// none.
type union map[string]string

func (u union) add(x string) { u[x] = x }

func (u union) root(x string) string {
	for u[x] != x {
		x = u[x]
	}
	return x
}

// join makes one set of those of both.
func (u union) join(x, y string) { u[u.root(y)] = u.root(x) }

func (u union) groups() [][]string {
	by := map[string][]string{}
	for x := range u {
		by[u.root(x)] = append(by[u.root(x)], x)
	}
	out := make([][]string, 0, len(by))
	for _, g := range by {
		slices.Sort(g)
		out = append(out, g)
	}
	slices.SortFunc(out, func(a, b []string) int { return strings.Compare(a[0], b[0]) })
	return out
}
