package selection

import (
	"cmp"
	"path"
	"slices"
	"strings"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

// Result is what the entries of a config mean on one machine.
type Result struct {
	// Entries has one element for each of cfg.PhysicalFunctions, in that order.
	Entries []Entry
	// Bindings has one element for each PF that any entry selects, sorted by
	// PCI address.
	Bindings []Binding
}

// Kept reports whether an entry of the last good config governs any PF.
func (r *Result) Kept() bool {
	return slices.ContainsFunc(r.Bindings, func(b Binding) bool { return b.Kept() })
}

// Entry is what one entry of the config found.
type Entry struct {
	// PFs are the addresses of all PFs that the entry matches, sorted. Empty
	// means that the entry matches nothing here.
	PFs []string
	// Unusable are the functions that the entry means by an exact name, PCI
	// address or MAC address, that satisfy the entry's other keys too, and that
	// are no PF. In the order of the inventory.
	Unusable []Unusable
}

// Unusable is a function that exists but cannot have VFs.
type Unusable struct {
	Named   string // the value in the config that means it
	Address string // PCI address of the function
	// PF is the address of the parent when the function is itself a VF, and ""
	// when it is a function without the SR-IOV capability.
	PF string
}

// Binding says which entry governs a PF.
type Binding struct {
	PF string // PCI address
	// Entry governs the PF: the first entry of the newest config that selects it, or
	// where that cannot be, the one of the last good config.
	Entry *spec.PhysicalFunction
	// Newest is the first entry of the newest config that selects the PF. It is Entry,
	// save where the last good config is kept.
	Newest *spec.PhysicalFunction
	// Conflict is not nil when entries that select the PF disagree. Nothing may
	// be changed on the PF then.
	Conflict *Conflict
}

// Kept reports whether the last good config governs the PF, because the newest cannot.
func (b *Binding) Kept() bool { return b.Entry != b.Newest }

// Conflict is two entries that want different things of one PF.
type Conflict struct {
	FirstPos, SecondPos spec.Pos // where they stand in the config
	Keys                []string // the keys in which they differ, in the config's order
}

// Binding returns the binding of the PF with the address, or nil.
func (r *Result) Binding(pf string) *Binding {
	i, ok := slices.BinarySearchFunc(r.Bindings, pf, func(b Binding, pf string) int { return strings.Compare(b.PF, pf) })
	if !ok {
		return nil
	}
	return &r.Bindings[i]
}

// PFs matches every entry of cfg against every function of snap. Neither is
// changed. A nil cfg selects nothing.
func PFs(cfg *spec.Config, snap *inventory.Snapshot) Result {
	var res Result
	if cfg == nil || snap == nil {
		return res
	}
	byPF := map[string]int{} // address -> index in res.Bindings
	for i := range cfg.PhysicalFunctions {
		e := entry(&cfg.PhysicalFunctions[i].Match, snap)
		res.Entries = append(res.Entries, e)
		for _, pf := range e.PFs {
			j, taken := byPF[pf]
			if !taken {
				byPF[pf] = len(res.Bindings)
				e := &cfg.PhysicalFunctions[i]
				res.Bindings = append(res.Bindings, Binding{PF: pf, Entry: e, Newest: e})
				continue
			}
			res.Bindings[j].add(&cfg.PhysicalFunctions[i])
		}
	}
	slices.SortFunc(res.Bindings, func(a, b Binding) int { return strings.Compare(a.PF, b.PF) })
	return res
}

// Govern decides for each PF which of two configs governs it: the newest, unless refuses
// says of its binding that it cannot, and the last good one has an entry of which it
// does not say so. good is nil when there is none, or it is the newest itself. A PF that
// the newest config does not select is governed by neither.
func Govern(newest, good *spec.Config, snap *inventory.Snapshot, refuses func(*Binding) bool) Result {
	res := PFs(newest, snap)
	if good == nil {
		return res
	}
	older := PFs(good, snap)
	for i := range res.Bindings {
		b := &res.Bindings[i]
		was := older.Binding(b.PF)
		if was == nil || !refuses(b) {
			continue
		}
		if kept := (Binding{PF: b.PF, Entry: was.Entry, Newest: b.Newest, Conflict: was.Conflict}); !refuses(&kept) {
			*b = kept
		}
	}
	return res
}

// add takes in that another entry selects the PF as well. The first conflict is kept.
func (b *Binding) add(second *spec.PhysicalFunction) {
	first := b.Entry
	if keys := spec.Differences(first, second); len(keys) > 0 && b.Conflict == nil {
		b.Conflict = &Conflict{FirstPos: first.Pos, SecondPos: second.Pos, Keys: keys}
	}
}

func entry(m *spec.Match, snap *inventory.Snapshot) Entry {
	var e Entry
	for i := range snap.PFs {
		if Matches(m, &snap.PFs[i].Function) {
			e.PFs = append(e.PFs, snap.PFs[i].Address)
		}
	}
	slices.Sort(e.PFs)
	unusable := func(f *inventory.Function, pf string) {
		if named := exactly(m, f); named != "" && Matches(m, f) {
			e.Unusable = append(e.Unusable, Unusable{Named: named, Address: f.Address, PF: pf})
		}
	}
	for i := range snap.PFs {
		pf := &snap.PFs[i]
		for j := range pf.VFs {
			unusable(&pf.VFs[j].Function, pf.Address)
		}
	}
	for i := range snap.Others {
		unusable(&snap.Others[i], "")
	}
	return e
}

// Matches reports whether the function satisfies every key of m: AND across the
// keys, OR within one, a key that is not given does not restrict. A Match
// without any key matches nothing, because "everything" must be written.
func Matches(m *spec.Match, f *inventory.Function) bool {
	if len(m.Names)+len(m.PCIAddresses)+len(m.Vendors)+len(m.Devices)+len(m.Drivers)+len(m.MACAddresses) == 0 {
		return false
	}
	return has(m.PCIAddresses, f.Address) &&
		has(m.Vendors, f.Vendor) &&
		has(m.Devices, f.Device) &&
		has(m.Drivers, f.Driver) &&
		(len(m.Names) == 0 || slices.ContainsFunc(m.Names, func(n string) bool { return hasName(f, n) })) &&
		(len(m.MACAddresses) == 0 || slices.ContainsFunc(m.MACAddresses, func(a string) bool { return hasMAC(f, a) }))
}

func has(list []string, v string) bool { return len(list) == 0 || slices.Contains(list, v) }

// hasName compares the pattern with the interface names and altnames.
func hasName(f *inventory.Function, pattern string) bool {
	match := func(name string) bool {
		if name == pattern {
			return true
		}
		// A malformed pattern is refused by pkg/spec; here it matches nothing.
		ok, err := path.Match(pattern, name)
		return err == nil && ok
	}
	return slices.ContainsFunc(f.Netdevs, func(n inventory.Netdev) bool {
		return match(n.Name) || slices.ContainsFunc(n.AltNames, match)
	})
}

// hasMAC compares the permanent MAC. The current one counts only for drivers
// that report no permanent one: a bond rewrites the current MAC of its ports.
func hasMAC(f *inventory.Function, mac string) bool {
	return slices.ContainsFunc(f.Netdevs, func(n inventory.Netdev) bool {
		return strings.EqualFold(cmp.Or(n.PermMAC, n.MAC), mac)
	})
}

// exactly is the first value of m that means exactly this function, "" when none does.
func exactly(m *spec.Match, f *inventory.Function) string {
	for _, n := range m.Names {
		if !spec.IsGlob(n) && hasName(f, n) {
			return n
		}
	}
	if slices.Contains(m.PCIAddresses, f.Address) {
		return f.Address
	}
	for _, a := range m.MACAddresses {
		if hasMAC(f, a) {
			return a
		}
	}
	return ""
}
