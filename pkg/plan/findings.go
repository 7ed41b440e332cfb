package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// What is found about single VFs is gathered, and told once for all VFs that it
// is true of.

// refusal gathers the VFs of one group for which one attribute cannot be had.
type refusal struct {
	group  *spec.VFGroup
	key    string
	answer string
	want   string
	vfs    []int
}

func (w *work) refuse(v *vfWork, a *attribute, want, answer string) {
	for i := range w.refusals {
		r := &w.refusals[i]
		if r.group == v.group && r.key == a.key && r.answer == answer && (r.want == want || a.rebind) {
			if r.vfs[len(r.vfs)-1] != v.index {
				r.vfs = append(r.vfs, v.index)
			}
			return
		}
	}
	w.refusals = append(w.refusals, refusal{group: v.group, key: a.key, answer: answer, want: want, vfs: []int{v.index}})
}

// tellRefusals makes problems, or notices where the document allows it.
func (w *work) tellRefusals() {
	for i := range w.refusals {
		r := &w.refusals[i]
		pr := Problem{
			Pos: r.group.Pos, VFs: r.vfs, Partial: true,
			Msg:  fmt.Sprintf("%s: the driver %s cannot set it to %q", r.key, w.pf.Driver, r.want),
			Hint: fmt.Sprintf("remove %s from this group, or list it under the group's `optional`; everything else of the group is configured", r.key),
		}
		switch {
		case r.want == "" && w.twin != "":
			pr.Msg = fmt.Sprintf("%s: stable addresses derive from the PF's permanent address, and %s and %s have the same one", r.key, w.pf.Address, w.twin)
			pr.Hint = "list the addresses, for each of the two in an entry of its own"
		case r.want == "":
			pr.Msg = r.key + ": stable addresses derive from the PF's permanent address, and this PF shows none"
			pr.Hint = "list the addresses, or remove the key"
		case r.answer != "":
			pr.Msg = fmt.Sprintf("%s: the driver %s refuses %q (%s)", r.key, w.pf.Driver, r.want, r.answer)
		}
		if r.group.Optional.Has(r.key) {
			pr.Hint = "allowed by `optional`"
			w.notice(pr)
			continue
		}
		w.problem(pr)
	}
	if slices.Sort(w.noLink); len(w.noLink) > 0 {
		w.noLink = slices.Compact(w.noLink)
		w.problem(Problem{
			VFs: w.noLink, Pending: true,
			Msg:  "the driver " + w.pf.Driver + " refuses attributes of these VFs while the port has no link",
			Hint: "set by itself when it has one; the VFs are not offered until then",
		})
	}
	if slices.Sort(w.unseen); len(w.unseen) > 0 {
		w.notice(Problem{
			VFs:  w.unseen,
			Msg:  "what the PF holds for these VFs cannot be seen, so it is not compared with the document",
			Hint: "attributes are set when the VFs are made; some drivers do not report them, and a look from outside the node does not show them",
		})
	}
	if len(w.noInterface) > 0 {
		w.problem(Problem{
			VFs: slices.Compact(slices.Sorted(slices.Values(w.noInterface))), Pending: true,
			Msg:  "the attributes of VFs are set through the PF's interface, and this PF has none",
			Hint: "taken up when it appears; a PF that is bound to vfio-pci has none",
		})
	}
}

// postponed is a difference on a VF that somebody holds. While a pod has a VF,
// what the PF holds for it is the pod's as well: the CNI plugin sets VLAN, MAC
// and the like for the pod and restores them after it. So it is no step that
// waits, but looked at again when the VF is free.
type postponed struct {
	what, holders string
	vfs           []int
}

func (w *work) later(v *vfWork, what string) {
	names := use.Names(v.holders)
	for i := range w.postponed {
		if p := &w.postponed[i]; p.what == what && p.holders == names {
			if !slices.Contains(p.vfs, v.index) {
				p.vfs = append(p.vfs, v.index)
			}
			return
		}
	}
	w.postponed = append(w.postponed, postponed{what, names, []int{v.index}})
}

func (w *work) tellPostponed() {
	for _, p := range w.postponed {
		w.notice(Problem{
			VFs:  p.vfs,
			Msg:  p.what + " differs from the document, and is left to its holder: " + p.holders,
			Hint: "set when the VF is free",
		})
	}
}

func (w *work) tellMissing() {
	for _, d := range slices.Sorted(maps.Keys(w.missing)) {
		vfs := w.missing[d]
		slices.Sort(vfs)
		w.problem(Problem{
			VFs: slices.Compact(vfs), Pending: true, Partial: true,
			Msg:  fmt.Sprintf("the driver %s is not loaded", d),
			Hint: "taken up when it is; add its module to the machine config (kernel.modules: - name: " + module(d) + ")",
		})
	}
}

// module is the name of the module that has the driver.
func module(driver string) string { return strings.ReplaceAll(driver, "-", "_") }

// tellSpent says why an order in the document has no effect on steps that wait.
func (w *work) tellSpent() {
	waits := slices.ContainsFunc(w.out.Steps, func(s Step) bool { return len(s.Wait) > 0 })
	if waits && w.entry.Force != "" && (w.in.State.Lost || slices.Contains(w.in.State.Spent, w.entry.Force)) {
		w.notice(Problem{
			Msg:  fmt.Sprintf("force: %q is not followed: the record of earlier orders was lost, so it may be an old one", w.entry.Force),
			Hint: "write another text",
		})
	}
}
