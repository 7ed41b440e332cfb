package plan

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/talos-sriov/talos-sriov/pkg/op"
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
	return a.Op.Kind() == b.Op.Kind() && a.Action() == b.Action() && op.Equal(a.Op.From(), b.Op.From()) && op.Equal(a.Op.Want(), b.Op.Want()) &&
		a.Reason == b.Reason && a.Disruption == b.Disruption && len(a.Wait) == 0 && len(b.Wait) == 0 &&
		len(a.Forced) == 0 && len(b.Forced) == 0 && len(a.Op.VFs()) == 1 && len(b.Op.VFs()) == 1
}

func writeRun(b *strings.Builder, run []*Step, held map[string]string) {
	s := run[0]
	var vfs []int
	if len(run) > 1 {
		for _, r := range run {
			vfs = append(vfs, r.Op.VFs()...)
		}
	} else {
		vfs = s.Op.VFs()
	}
	fmt.Fprintf(b, "  %s %s", mark(s.Action()), s.Op.Object())
	if len(run) > 1 {
		fmt.Fprintf(b, " and %d more (%s)", len(run)-1, vfNames(vfs))
	} else if len(vfs) == 1 && namesNoVF(s.Op) {
		fmt.Fprintf(b, " (%s)", vfNames(vfs)) // the path names no VF
	}
	if s.Writes() {
		fmt.Fprintf(b, ": %s -> %s", value(op.Text(s.Op.From())), value(op.Text(s.Op.Want())))
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

func namesNoVF(o op.Op) bool {
	switch o.(type) {
	case op.UnbindVF, op.ProbeVF, op.BindVDPA:
		return true
	}
	return false
}

// StepText is a step as JSON and the status file have it.
type StepText struct {
	ID         string       `json:"id" yaml:"id"`
	Kind       op.Kind      `json:"kind" yaml:"kind"`
	Action     Action       `json:"action" yaml:"action"`
	PF         string       `json:"pf" yaml:"pf"`
	VFs        []int        `json:"vfs,omitempty" yaml:"vfs,omitempty,flow"`
	Path       string       `json:"path" yaml:"path"`
	Old        string       `json:"old" yaml:"old"`
	New        string       `json:"new" yaml:"new"`
	Reason     string       `json:"reason" yaml:"reason"`
	Disruption Disruption   `json:"disruption" yaml:"disruption"`
	Wait       []use.Holder `json:"wait,omitempty" yaml:"wait,omitempty"`
	Needs      []string     `json:"needs,omitempty" yaml:"needs,omitempty,flow"`
	Forced     []use.Holder `json:"forced,omitempty" yaml:"forced,omitempty"`
	Optional   bool         `json:"optional,omitempty" yaml:"optional,omitempty"`
	Key        string       `json:"key,omitempty" yaml:"key,omitempty"`
}

// Text is the step in texts.
func (s *Step) Text() StepText {
	return StepText{
		ID: s.ID, Kind: s.Op.Kind(), Action: s.Action(), PF: s.Op.PF(), VFs: s.Op.VFs(), Path: s.Op.Object(),
		Old: op.Text(s.Op.From()), New: op.Text(s.Op.Want()), Reason: s.Reason, Disruption: s.Disruption,
		Wait: s.Wait, Needs: s.Needs, Forced: s.Forced, Optional: s.Optional, Key: s.Key,
	}
}

// Texts are the steps in texts.
func Texts(steps []Step) []StepText {
	var out []StepText
	for i := range steps {
		out = append(out, steps[i].Text())
	}
	return out
}

// MarshalJSON implements json.Marshaler.
func (s Step) MarshalJSON() ([]byte, error) { return json.Marshal(s.Text()) }

// MarshalYAML implements yaml.Marshaler.
func (s Step) MarshalYAML() (any, error) { return s.Text(), nil }

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
