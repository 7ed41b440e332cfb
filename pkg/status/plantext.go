package status

import (
	"cmp"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/talos-sriov/talos-sriov/pkg/plan/terms"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/use/holder"
)

// PlanText writes the plan for people, like a diff: `+` creates, `~` changes, `-`
// removes, `.` only waits for the kernel, `!` says what is in the way.
func PlanText(w io.Writer, p *Plan) error {
	var b strings.Builder
	var writes, waits int
	problems := len(p.Problems)
	writeProblems(&b, "", "!", p.Problems)
	writeProblems(&b, "", "i", p.Notices)
	for i := range p.PFs {
		f := &p.PFs[i]
		writePF(&b, f)
		problems += len(f.Problems)
		for j := range f.Steps {
			switch s := &f.Steps[j]; {
			case s.Held():
				waits++
			case s.Writes():
				writes++
			}
		}
	}
	fmt.Fprintf(&b, "%s\n", summary(len(p.PFs), writes, waits, problems))
	_, err := io.WriteString(w, b.String())
	return err
}

func writePF(b *strings.Builder, f *PFPlan) {
	fmt.Fprintf(b, "%s\n", title(f))
	writeProblems(b, "  ", "!", f.Problems)
	writeProblems(b, "  ", "i", f.Notices)
	for _, run := range runs(f.Steps) {
		writeRun(b, run)
	}
	if len(f.Steps) == 0 && len(f.Problems) == 0 {
		b.WriteString("  nothing to do\n")
	}
}

func title(f *PFPlan) string {
	t := f.Address
	if f.Name != "" && f.Name != f.Address {
		t = f.Name + " (" + f.Address + ")"
	}
	if f.Entry.Line > 0 {
		t += " by the entry at line " + strconv.Itoa(f.Entry.Line)
	}
	return t
}

func writeProblems(b *strings.Builder, indent, mark string, list []Problem) {
	for i := range list {
		p := &list[i]
		at := ""
		if p.Pos != (spec.Pos{}) {
			at = fmt.Sprintf("%d:%d: ", p.Pos.Line, p.Pos.Column)
		}
		what := word(p.Pending, "pending: ", "")
		if len(p.VFs) > 0 {
			what += vfNames(p.VFs) + ": "
		}
		fmt.Fprintf(b, "%s%s %s%s%s\n", indent, mark, at, what, p.Msg)
		if p.Hint != "" {
			fmt.Fprintf(b, "%s  hint: %s\n", indent, p.Hint)
		}
	}
}

// runs groups neighbouring steps that differ only in the VF they are about, so
// that 64 VFs with one VLAN are one line.
func runs(steps []Step) [][]*Step {
	var out [][]*Step
	for i := range steps {
		s := &steps[i]
		if n := len(out); n > 0 && alike(out[n-1][0], s) {
			out[n-1] = append(out[n-1], s)
			continue
		}
		out = append(out, []*Step{s})
	}
	return out
}

func alike(a, b *Step) bool {
	return a.Kind == b.Kind && a.Action == b.Action && a.From == b.From && a.To == b.To && a.Reason == b.Reason &&
		a.Disruption == b.Disruption && len(a.Wait) == 0 && len(b.Wait) == 0 && a.Held() == b.Held() &&
		len(a.Forced) == 0 && len(b.Forced) == 0 && len(a.VFs) == 1 && len(b.VFs) == 1
}

func writeRun(b *strings.Builder, run []*Step) {
	s := run[0]
	var vfs []int
	for _, r := range run {
		vfs = append(vfs, r.VFs...)
	}
	fmt.Fprintf(b, "  %s %s", cmp.Or(marks[s.Action], "~"), s.Object)
	if len(run) > 1 {
		fmt.Fprintf(b, " and %d more (%s)", len(run)-1, vfNames(vfs))
	} else if len(vfs) == 1 && s.Shared {
		fmt.Fprintf(b, " (%s)", vfNames(vfs))
	}
	if s.Writes() {
		fmt.Fprintf(b, ": %s -> %s", cmp.Or(s.From, `""`), cmp.Or(s.To, `""`))
	}
	b.WriteString("\n")
	fmt.Fprintf(b, "      %s\n", s.Reason)
	if d := disruption(s.Disruption, vfs); d != "" {
		fmt.Fprintf(b, "      %s\n", d)
	}
	if len(s.Forced) > 0 {
		fmt.Fprintf(b, "      ! forced over %s\n", holder.Names(s.Forced))
	}
	switch {
	case len(s.Wait) > 0:
		fmt.Fprintf(b, "      ! waits for %s\n", holder.Names(s.Wait))
	case s.Held():
		b.WriteString("      ! waits for the step above\n")
	}
}

// marks are the signs of actions that are no changes.
var marks = map[Action]string{
	terms.ActionCreate: "+",
	terms.ActionRemove: "-",
	terms.ActionWait:   ".",
}

func disruption(d Disruption, vfs []int) string {
	switch d {
	case terms.DisruptNone, "":
		return ""
	case terms.DisruptDestroyed:
		return "destroys " + vfNames(vfs)
	case terms.DisruptReset:
		return "resets " + vfNames(vfs)
	case terms.DisruptLink:
		return "the link of the PF may go down for a moment"
	}
	// Of a newer daemon: that it disrupts must not be lost.
	if len(vfs) == 0 {
		return "disrupts: " + string(d)
	}
	return "disrupts " + vfNames(vfs) + ": " + string(d)
}

// vfNames renders indexes as people write them: VF 3, VFs 0-3,6.
func vfNames(vfs []int) string {
	if len(vfs) == 1 {
		return "VF " + strconv.Itoa(vfs[0])
	}
	return "VFs " + spec.IndexSet(vfs).String()
}

func summary(pfs, writes, waits, problems int) string {
	var parts []string
	if writes > 0 {
		parts = append(parts, terms.Count(writes, "change"))
	}
	if waits > 0 {
		parts = append(parts, terms.Count(waits, "step")+" waiting")
	}
	if problems > 0 {
		parts = append(parts, terms.Count(problems, "problem"))
	}
	if len(parts) == 0 {
		parts = append(parts, "nothing to do")
	}
	return "Plan for " + terms.Count(pfs, "PF") + ": " + strings.Join(parts, ", ") + "."
}
