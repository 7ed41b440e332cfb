package plan

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// Text writes the plan for people, like a diff: `+` creates, `~` changes, `-`
// removes, `.` only waits for the kernel, `!` says what is in the way.
func Text(w io.Writer, p *Plan) error {
	var b strings.Builder
	var writes, waits, problems int
	for _, pr := range p.Problems {
		problems++
		writeProblem(&b, "", "!", pr)
	}
	for _, pr := range p.Notices {
		writeProblem(&b, "", "i", pr)
	}
	for i := range p.PFs {
		f := &p.PFs[i]
		fmt.Fprintf(&b, "%s\n", title(f))
		for _, pr := range f.Problems {
			problems++
			writeProblem(&b, "  ", "!", pr)
		}
		for _, pr := range f.Notices {
			writeProblem(&b, "  ", "i", pr)
		}
		held := Held(f)
		for _, run := range runs(f.Steps, held) {
			for _, s := range run {
				switch {
				case held[s.ID] != "":
					waits++
				case s.Writes():
					writes++
				}
			}
			writeRun(&b, run, held)
		}
		if len(f.Steps) == 0 && len(f.Problems) == 0 {
			b.WriteString("  nothing to do\n")
		}
	}
	fmt.Fprintf(&b, "%s\n", summary(len(p.PFs), writes, waits, problems))
	_, err := io.WriteString(w, b.String())
	return err
}

// JSON writes the plan with two spaces of indentation and a final newline.
func JSON(w io.Writer, p *Plan) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(p)
}

// Held says for each step that cannot run yet, by ID, which step's holders it
// waits for: its own, or those of a step that it needs.
func Held(f *PFPlan) map[string]string {
	held := make(map[string]string)
	for i := range f.Steps {
		s := &f.Steps[i]
		if len(s.Wait) > 0 {
			held[s.ID] = s.ID
			continue
		}
		for _, n := range s.Needs {
			if by := held[n]; by != "" {
				held[s.ID] = by
				break
			}
		}
	}
	return held
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

func writeProblem(b *strings.Builder, indent, mark string, pr Problem) {
	at := ""
	if pr.Pos != (spec.Pos{}) {
		at = fmt.Sprintf("%d:%d: ", pr.Pos.Line, pr.Pos.Column)
	}
	what := ""
	if pr.Pending {
		what = "pending: "
	}
	if len(pr.VFs) > 0 {
		what += vfNames(pr.VFs) + ": "
	}
	fmt.Fprintf(b, "%s%s %s%s%s\n", indent, mark, at, what, pr.Msg)
	if pr.Hint != "" {
		fmt.Fprintf(b, "%s  hint: %s\n", indent, pr.Hint)
	}
}

// runs groups neighbouring steps that differ only in the VF they are about, so
// that 64 VFs with one VLAN are one line.
func runs(steps []Step, held map[string]string) [][]*Step {
	var out [][]*Step
	for i := range steps {
		s := &steps[i]
		if n := len(out); n > 0 && alike(out[n-1][0], s) && (held[out[n-1][0].ID] == "") == (held[s.ID] == "") {
			out[n-1] = append(out[n-1], s)
			continue
		}
		out = append(out, []*Step{s})
	}
	return out
}

func alike(a, b *Step) bool {
	return a.Kind == b.Kind && a.Action == b.Action && a.Old == b.Old && a.New == b.New && a.Reason == b.Reason &&
		a.Disruption == b.Disruption && len(a.Wait) == 0 && len(b.Wait) == 0 &&
		len(a.Forced) == 0 && len(b.Forced) == 0 && len(a.VFs) == 1 && len(b.VFs) == 1
}

func writeRun(b *strings.Builder, run []*Step, held map[string]string) {
	s := run[0]
	var vfs []int
	if len(run) > 1 {
		for _, r := range run {
			vfs = append(vfs, r.VFs...)
		}
	} else {
		vfs = s.VFs
	}
	fmt.Fprintf(b, "  %s %s", mark(s.Action), s.Path)
	if len(run) > 1 {
		fmt.Fprintf(b, " and %d more (%s)", len(run)-1, vfNames(vfs))
	} else if len(vfs) == 1 && (s.Kind == KindVFUnbind || s.Kind == KindVFProbe || s.Kind == KindVDPADriver) {
		fmt.Fprintf(b, " (%s)", vfNames(vfs)) // the path names no VF
	}
	if s.Writes() {
		fmt.Fprintf(b, ": %s -> %s", value(s.Old), value(s.New))
	}
	b.WriteString("\n")
	fmt.Fprintf(b, "      %s\n", s.Reason)
	if s.Disruption != DisruptNone {
		fmt.Fprintf(b, "      %s\n", disruption(s.Disruption, vfs))
	}
	if len(s.Forced) > 0 {
		fmt.Fprintf(b, "      ! forced over %s\n", use.Names(s.Forced))
	}
	switch by := held[s.ID]; {
	case len(s.Wait) > 0:
		fmt.Fprintf(b, "      ! waits for %s\n", use.Names(s.Wait))
	case by != "":
		b.WriteString("      ! waits for the step above\n")
	}
}

func mark(a Action) string {
	switch a {
	case ActionCreate:
		return "+"
	case ActionRemove:
		return "-"
	case ActionWait:
		return "."
	default:
		return "~"
	}
}

func value(v string) string {
	if v == "" {
		return `""`
	}
	return v
}

func disruption(d Disruption, vfs []int) string {
	switch d {
	case DisruptDestroyed:
		return "destroys " + vfNames(vfs)
	case DisruptReset:
		return "resets " + vfNames(vfs)
	case DisruptLink:
		return "the link of the PF may go down for a moment"
	default:
		return ""
	}
}

// vfNames renders indexes as people write them: VF 3, VFs 0-3,6.
func vfNames(vfs []int) string {
	if len(vfs) == 1 {
		return "VF " + strconv.Itoa(vfs[0])
	}
	return "VFs " + Ranges(vfs)
}

// Ranges renders sorted indexes in the document's notation: 0-3,6.
func Ranges(vfs []int) string {
	var b strings.Builder
	for i := 0; i < len(vfs); {
		j := i
		for j+1 < len(vfs) && vfs[j+1] == vfs[j]+1 {
			j++
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(vfs[i]))
		if j > i {
			b.WriteByte('-')
			b.WriteString(strconv.Itoa(vfs[j]))
		}
		i = j + 1
	}
	return b.String()
}

func summary(pfs, writes, waits, problems int) string {
	var parts []string
	if writes > 0 {
		parts = append(parts, count(writes, "change"))
	}
	if waits > 0 {
		parts = append(parts, count(waits, "step")+" waiting")
	}
	if problems > 0 {
		parts = append(parts, count(problems, "problem"))
	}
	if len(parts) == 0 {
		parts = append(parts, "nothing to do")
	}
	return "Plan for " + count(pfs, "PF") + ": " + strings.Join(parts, ", ") + "."
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}
