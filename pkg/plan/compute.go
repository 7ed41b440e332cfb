package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/record"
	"github.com/talos-sriov/talos-sriov/pkg/selection"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// Input is everything that a plan depends on. Compute changes none of it.
type Input struct {
	// Config is the newest config; nil selects nothing.
	Config *spec.Config
	// Good is the last good config when it is another than Config, else nil. It stays in
	// force on the PFs of which Config asks what this machine cannot give.
	Good *spec.Config
	// SpecHash identifies the config (spec.Hash).
	SpecHash string
	Snapshot *inventory.Snapshot
	Use      use.Set
	// Quiet are the PFs that have been seen quiet for some seconds; see Watch. What
	// Snapshot says against it counts.
	Quiet Quiet
	// Record is what earlier runs wrote down, and BootID the boot of now.
	Record record.Record
	BootID string
	// Force holds the addresses of the PFs on which the operator of the machine
	// said not to wait for holders.
	Force map[string]bool
}

// Compute says what has to be done. It is a pure function: same input, same
// plan, and a machine that is as the config says gives no steps.
func Compute(in Input) *Plan {
	p := &Plan{Configured: in.Config != nil}
	if in.Config == nil {
		in.Config = &spec.Config{}
	}
	if in.Snapshot == nil {
		in.Snapshot = &inventory.Snapshot{}
	}
	sel, refused := govern(&in)
	p.Bound = sel
	p.ForceTokens = forceTokens(entriesInForce(in.Config, &sel))
	for i := range sel.Entries {
		entryFindings(p, &in.Config.PhysicalFunctions[i], &sel.Entries[i])
	}
	rdmaFindings(p, in.Config, in.Snapshot)
	sameListed(p, &sel)
	twin := twins(&in, &sel)
	for i := range sel.Bindings {
		b := &sel.Bindings[i]
		p.PFs = append(p.PFs, governed(&in, b, twin[b.PF], refused[b.PF]))
	}
	for i := range in.Snapshot.PFs {
		pf := &in.Snapshot.PFs[i]
		if sel.Binding(pf.Address) != nil {
			continue
		}
		if w := newWork(&in, pf, &spec.PhysicalFunction{}, ""); w.record.Made != nil && w.reset() {
			p.PFs = append(p.PFs, w.out)
		}
	}
	slices.SortFunc(p.PFs, func(a, b PFPlan) int { return strings.Compare(a.Address, b.Address) })
	return p
}

// rdmaFindings reports, once, what the kernel's mode means for a config that asks
// for RDMA. Either mode works: the choice is the operator's.
func rdmaFindings(p *Plan, cfg *spec.Config, snap *inventory.Snapshot) {
	if snap.RDMANetns != "shared" {
		return
	}
	for i := range cfg.PhysicalFunctions {
		for j := range cfg.PhysicalFunctions[i].VirtualFunctions {
			g := &cfg.PhysicalFunctions[i].VirtualFunctions[j]
			if !g.RDMA {
				continue
			}
			p.Notices = append(p.Notices, Problem{
				Pos:  g.Pos,
				Msg:  "rdma: RDMA devices are shared by all network namespaces here, so a pod sees those of other pods",
				Hint: inventory.RDMAExclusive,
			})
			return
		}
	}
}

// entryFindings reports what an entry of the config does not find.
func entryFindings(p *Plan, e *spec.PhysicalFunction, found *selection.Entry) {
	to := &p.Notices
	if e.Required {
		to = &p.Problems
	}
	for _, u := range found.Unusable {
		pr := Problem{Pos: e.Pos, PF: u.Address}
		if u.PF != "" {
			pr.Msg = fmt.Sprintf("%s is itself a virtual function, of %s; VFs cannot be made on it", u.Named, u.PF)
			pr.Hint = "name the physical function " + u.PF
		} else {
			pr.Msg = fmt.Sprintf("%s (%s) has no SR-IOV capability that the kernel shows; VFs cannot be made on it", u.Named, u.Address)
			pr.Hint = "enable SR-IOV for it in the firmware (BIOS, or the card's own configuration tool), or take it out of the entry"
		}
		*to = append(*to, pr)
	}
	if len(found.PFs) > 0 || len(found.Unusable) > 0 {
		return
	}
	pr := Problem{
		// At an early start its driver may be about to be loaded.
		Pos: e.Pos, Pending: true, Settling: true,
		Msg:  fmt.Sprintf("no physical function matches %s", describe(&e.Match)),
		Hint: "`sriovctl discover` lists what this node has; an entry for other machines is fine as it is",
	}
	if e.Required {
		pr.Hint = "`sriovctl discover` lists what this node has; `required: false` makes this a notice"
	}
	*to = append(*to, pr)
}

// describe renders a match for a message: names [enp1s0f0np0], drivers [ice].
func describe(m *spec.Match) string {
	var parts []string
	add := func(key string, vals []string) {
		if len(vals) > 0 {
			parts = append(parts, key+" ["+strings.Join(vals, " ")+"]")
		}
	}
	add("names", m.Names)
	add("pciAddresses", m.PCIAddresses)
	add("vendors", m.Vendors)
	add("devices", m.Devices)
	add("drivers", m.Drivers)
	add("macAddresses", m.MACAddresses)
	return strings.Join(parts, ", ")
}
