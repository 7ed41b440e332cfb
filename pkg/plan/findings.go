package plan

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// findings are what is found about single VFs while steps are planned. They are
// reported once for all VFs that they are true of.
type findings struct {
	problems    []Problem
	refusals    []vfRefusal
	postponed   []postponed
	missing     []missing
	noInterface []int // VFs whose attributes want an interface of the PF
	noLink      []int // VFs with an attribute that wants a link
	unseen      []int // VFs whose attributes are not reported
}

func (f *findings) add(o findings) {
	f.problems = append(f.problems, o.problems...)
	f.refusals = append(f.refusals, o.refusals...)
	f.postponed = append(f.postponed, o.postponed...)
	f.missing = append(f.missing, o.missing...)
	f.noInterface = append(f.noInterface, o.noInterface...)
	f.noLink = append(f.noLink, o.noLink...)
	f.unseen = append(f.unseen, o.unseen...)
}

// report makes problems and notices of the findings.
func (w *work) report(f *findings) {
	for _, pr := range f.problems {
		w.problem(pr)
	}
	w.reportRefusals(f.refusals)
	if vfs := sorted(f.noLink); len(vfs) > 0 {
		w.problem(Problem{
			VFs: vfs, Pending: true,
			Msg:  "the driver " + w.pf.Driver + " refuses attributes of these VFs while the port has no link",
			Hint: "set by itself when it has one; the VFs are not offered until then",
		})
	}
	if vfs := sorted(f.unseen); len(vfs) > 0 {
		w.notice(Problem{
			VFs:  vfs,
			Msg:  "what the PF holds for these VFs cannot be seen, so it is not compared with the config",
			Hint: "attributes are set when the VFs are made; some drivers do not report them, and a look from outside the node does not show them",
		})
	}
	if vfs := sorted(f.noInterface); len(vfs) > 0 {
		w.problem(Problem{
			VFs: vfs, Pending: true,
			Msg:  "the attributes of VFs are set through the PF's interface, and this PF has none",
			Hint: "taken up when it appears; a PF that is bound to vfio-pci has none",
		})
	}
	w.reportPostponed(f.postponed)
	w.reportMissing(f.missing)
}

// sorted are the indexes, each once.
func sorted(vfs []int) []int { return slices.Compact(slices.Sorted(slices.Values(vfs))) }

// vfRefusal is an attribute that a VF cannot have.
type vfRefusal struct {
	vf     int
	group  *spec.VFGroup
	key    string
	why    refusalCause
	want   string // for people
	answer string // the driver's
	// address: each VF has its own value, and all are one refusal.
	address bool
}

type refusalCause int

const (
	underivable refusalCause = iota // the address cannot be derived
	cannot                          // it is known that the driver cannot
	answered                        // the driver refused it
)

// alike reports whether both are reported together.
func (r *vfRefusal) alike(o *vfRefusal) bool {
	return r.group == o.group && r.key == o.key && r.why == o.why && r.answer == o.answer && (r.want == o.want || o.address)
}

// reportRefusals makes problems, or notices where the config allows it.
func (w *work) reportRefusals(refusals []vfRefusal) {
	type together struct {
		vfRefusal
		vfs []int
	}
	var all []*together
next:
	for i := range refusals {
		r := &refusals[i]
		for _, t := range all {
			if t.alike(r) {
				if t.vfs[len(t.vfs)-1] != r.vf {
					t.vfs = append(t.vfs, r.vf)
				}
				continue next
			}
		}
		all = append(all, &together{*r, []int{r.vf}})
	}
	for _, t := range all {
		pr := w.refusalProblem(&t.vfRefusal)
		pr.Pos, pr.VFs, pr.Partial = t.group.Pos, t.vfs, true
		if t.group.Optional.Has(t.key) {
			pr.Hint = "allowed by `optional`"
			w.notice(pr)
			continue
		}
		w.problem(pr)
	}
}

func (w *work) refusalProblem(r *vfRefusal) Problem {
	pr := Problem{Hint: fmt.Sprintf("remove %s from this group, or list it under the group's `optional`; everything else of the group is configured", r.key)}
	switch {
	case r.why == underivable && w.twin != "":
		pr.Msg = fmt.Sprintf("%s: stable addresses derive from the PF's permanent address, and %s and %s have the same one", r.key, w.pf.Address, w.twin)
		pr.Hint = "list the addresses, for each of the two in an entry of its own"
	case r.why == underivable:
		pr.Msg = r.key + ": stable addresses derive from the PF's permanent address, and this PF shows none"
		pr.Hint = "list the addresses, or remove the key"
	case r.why == answered:
		pr.Msg = fmt.Sprintf("%s: the driver %s refuses %q (%s)", r.key, w.pf.Driver, r.want, r.answer)
	default:
		pr.Msg = fmt.Sprintf("%s: the driver %s cannot set it to %q", r.key, w.pf.Driver, r.want)
	}
	return pr
}

// postponed is a difference on a VF that somebody holds. While a pod has a VF,
// what the PF holds for it is the pod's as well: the CNI plugin sets VLAN, MAC
// and the like for the pod and restores them after it. So it is no step that
// waits, but compared again when the VF is free.
type postponed struct {
	what, holders string
	vf            int
}

func (f *findings) later(v *vf, what string) {
	f.postponed = append(f.postponed, postponed{what, use.Names(v.holders), v.index})
}

func (w *work) reportPostponed(all []postponed) {
	type key struct{ what, holders string }
	vfs := map[key][]int{}
	var order []key
	for _, p := range all {
		k := key{p.what, p.holders}
		if _, known := vfs[k]; !known {
			order = append(order, k)
		}
		if !slices.Contains(vfs[k], p.vf) {
			vfs[k] = append(vfs[k], p.vf)
		}
	}
	for _, k := range order {
		w.notice(Problem{
			VFs:  vfs[k],
			Msg:  k.what + " differs from the config, and is left to its holder: " + k.holders,
			Hint: "set when the VF is free",
		})
	}
}

// missing is a driver that a VF should have, and that is not loaded.
type missing struct {
	driver string
	vf     int
}

func (w *work) reportMissing(all []missing) {
	vfs := map[string][]int{}
	for _, m := range all {
		vfs[m.driver] = append(vfs[m.driver], m.vf)
	}
	for _, d := range slices.Sorted(maps.Keys(vfs)) {
		w.problem(Problem{
			VFs: sorted(vfs[d]), Pending: true, Partial: true,
			Msg:  fmt.Sprintf("the driver %s is not loaded", d),
			Hint: "taken up when it is; add its module to the machine config (kernel.modules: - name: " + module(d) + ")",
		})
	}
}

// module is the name of the module that has the driver.
func module(driver string) string { return strings.ReplaceAll(driver, "-", "_") }

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

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}
