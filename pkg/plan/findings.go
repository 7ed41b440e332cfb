package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// finding is something about one VF that is found while steps are planned. It is
// reported once for all VFs that it is true of.
type finding struct {
	about
	vf   int
	want string // value that was refused, for people
}

// about is what findings that are reported together have in common.
type about struct {
	kind  findingKind
	group *spec.VFGroup // of a refusal
	key   string        // of the config, or what else differs
	want  string        // "" for addresses: each VF has its own, and all are one refusal
	// answer is the driver's, holders are who has the VF, driver is what is not loaded.
	answer, holders, driver string
	// loads: that driver is the kernel's own for the VF, which udev loads.
	loads bool
}

type findingKind int

// The kinds, in the order in which they are reported.
const (
	underivable findingKind = iota // the address cannot be derived
	cannot                         // it is known that the driver cannot
	answered                       // the driver refused it
	noLink                         // an attribute wants a link
	unseen                         // the attributes are not reported
	noInterface                    // attributes want an interface of the PF
	// postponed is a difference on a VF that somebody holds. While a pod has a VF,
	// what the PF holds for it is the pod's as well: the CNI plugin sets VLAN, MAC
	// and the like for the pod and restores them after it. So it is no step that
	// waits, but compared again when the VF is free.
	postponed
	missing // the driver that the VF should have is not loaded
)

// find notes a finding about the VF.
func (y *yield) find(v *vf, what about) {
	y.found = append(y.found, finding{about: what, vf: v.index})
}

func (y *yield) later(v *vf, what string) {
	y.find(v, about{kind: postponed, key: what, holders: use.Names(v.holders)})
}

// missing notes that the driver, which the VF should have, is not loaded.
func (y *yield) missing(v *vf, driver string) {
	y.find(v, about{kind: missing, driver: driver, loads: v.driver() == spec.DriverDefault})
}

// report makes problems and notices of what was found.
func (w *work) report(y *yield) {
	for _, pr := range y.problems {
		w.problem(pr)
	}
	vfs := map[about][]int{}
	var first []finding // of those that are alike
	for _, f := range y.found {
		if vfs[f.about] == nil {
			first = append(first, f)
		}
		vfs[f.about] = append(vfs[f.about], f.vf)
	}
	slices.SortStableFunc(first, func(a, b finding) int {
		// Refusals of all kinds are reported as they were found.
		return cmp.Or(cmp.Compare(max(a.kind, answered), max(b.kind, answered)), cmp.Compare(a.driver, b.driver))
	})
	for i := range first {
		f := &first[i]
		pr, notice := w.says(f)
		pr.VFs = slices.Compact(slices.Sorted(slices.Values(vfs[f.about])))
		if notice {
			w.notice(pr)
		} else {
			w.problem(pr)
		}
	}
}

// says is the finding for people, and whether nothing is wrong by it.
func (w *work) says(f *finding) (pr Problem, notice bool) {
	switch f.kind {
	case noLink:
		return Problem{
			Pending: true,
			Msg:     "the driver " + w.pf.Driver + " refuses attributes of these VFs while the port has no link",
			Hint:    "set by itself when it has one; the VFs are not offered until then",
		}, false
	case unseen:
		return Problem{
			Msg:  "what the PF holds for these VFs cannot be seen, so it is not compared with the config",
			Hint: "attributes are set when the VFs are made; some drivers do not report them, and a look from outside the node does not show them",
		}, true
	case noInterface:
		return Problem{
			Pending: true, Settling: true,
			Msg:  "the attributes of VFs are set through the PF's interface, and this PF has none",
			Hint: "taken up when it appears; a PF that is bound to vfio-pci has none",
		}, false
	case postponed:
		return Problem{
			Msg:  f.key + " differs from the config, and is left to its holder: " + f.holders,
			Hint: "set when the VF is free",
		}, true
	case missing:
		return Problem{
			Pending: true, Partial: true, Settling: true,
			Msg:  fmt.Sprintf("the driver %s is not loaded", f.driver),
			Hint: f.load(),
		}, false
	}
	pr = w.refusal(f)
	if f.group.Optional.Has(f.key) {
		pr.Hint = "allowed by `optional`"
		return pr, true
	}
	return pr, false
}

// refusal is why a VF cannot have an attribute.
func (w *work) refusal(f *finding) Problem {
	pr := Problem{
		Pos: f.group.Pos, Partial: true,
		Hint: fmt.Sprintf("remove %s from this group, or list it under the group's `optional`; everything else of the group is configured", f.key),
	}
	switch {
	case f.kind == underivable && w.twin != "":
		pr.Msg = fmt.Sprintf("%s: stable addresses derive from the PF's permanent address, and %s and %s have the same one", f.key, w.pf.Address, w.twin)
		pr.Hint = "list the addresses, for each of the two in an entry of its own"
	case f.kind == underivable:
		pr.Msg = f.key + ": stable addresses derive from the PF's permanent address, and this PF shows none"
		pr.Hint = "list the addresses, or remove the key"
	case f.kind == answered:
		pr.Msg = fmt.Sprintf("%s: the driver %s refuses %q (%s)", f.key, w.pf.Driver, f.want, f.answer)
	default:
		pr.Msg = fmt.Sprintf("%s: the driver %s cannot set it to %q", f.key, w.pf.Driver, f.want)
	}
	return pr
}

// load is what to do about a driver that is not loaded. The kernel announces a VF with
// its modalias, by which udev loads the VF's own driver if the node has it: where that is
// still missing, a line of the machine config helps only if the image has the module. No
// modalias brings vfio-pci or uio_pci_generic.
func (f *finding) load() string {
	module := strings.ReplaceAll(f.driver, "-", "_")
	line := "add its module to the machine config (kernel.modules: - name: " + module + ")"
	if !f.loads {
		return "taken up when it is; " + line
	}
	return "taken up when it is, and udev loads it within seconds where the node has it; if it does not, the node's image may lack the module " + module +
		" (its kernel or an extension has to bring it), else " + line
}

// reportSpent says why a force token in the config has no effect on steps that wait.
func (w *work) reportSpent() {
	waits := slices.ContainsFunc(w.out.Steps, func(s Step) bool { return len(s.Wait) > 0 })
	if waits && w.entry.Force != "" && (w.in.Record.Lost || slices.Contains(w.in.Record.Spent, w.entry.Force)) {
		w.notice(Problem{
			Msg:  fmt.Sprintf("force: %q is not followed: the record of earlier orders was lost, so it may be an old one", w.entry.Force),
			Hint: "write another text",
		})
	}
}
