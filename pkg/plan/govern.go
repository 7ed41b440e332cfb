package plan

import (
	"slices"

	"github.com/talos-sriov/talos-sriov/pkg/selection"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

// Governed says which config governs a PF.
type Governed struct {
	// Refused: the newest config asks of the PF what this machine cannot give. The
	// PF's first problems say what.
	Refused bool
	// Kept: the last good config governs it for that reason.
	Kept bool
}

// Refused are the PFs, by address, that are not as the newest config says, whatever is
// waited for.
func (p *Plan) Refused() []string {
	var out []string
	for i := range p.PFs {
		if p.PFs[i].Governed.Refused {
			out = append(out, p.PFs[i].Address)
		}
	}
	return out
}

// Displaces reports whether the newest config may take the place of the last good one:
// nothing of that is in force any more.
func (p *Plan) Displaces() bool { return !p.Bound.Kept() }

// govern decides, before anything is planned, which of the two configs governs each PF.
// It returns what the newest one asks and cannot get, by PF.
//
// What a PF cannot be is known from the PF and its entry alone, with one exception: an
// uplink without allowUplink may be anything that it is already, so it counts what
// would be done.
func govern(in *Input) (selection.Result, map[string][]Problem) {
	newest := selection.PFs(in.Config, in.Snapshot)
	if in.Good == nil {
		return newest, nil
	}
	twin := twins(in, &newest)
	refused := map[string][]Problem{}
	return selection.Govern(in.Config, in.Good, in.Snapshot, func(b *selection.Binding) bool {
		w := workOn(in, b, twin[b.PF])
		if b.Kept() && w.pf.Silent != "" {
			return false // what cannot be known does not displace what was in force
		}
		problems := w.impossible(b)
		if !b.Kept() {
			refused[b.PF] = problems
		}
		return len(problems) > 0
	}), refused
}

// impossible are the reasons for which the PF cannot be as its entry says, whatever is
// waited for.
func (w *work) impossible(b *selection.Binding) []Problem {
	switch {
	case b.Conflict != nil:
		w.conflict(b.Conflict)
	case w.possible() && w.barred():
		w.out.Steps = w.configure().steps
		w.out.Problems, w.out.Uplink = nil, true // no reasons so far
		w.guard()
	}
	return slices.DeleteFunc(w.out.Problems, func(pr Problem) bool { return !final(&pr) })
}

// barred reports whether steps on the PF are refused.
func (w *work) barred() bool { return w.pf.Uplink != "" && !w.allowUplink && w.pf.Silent == "" }

// final reports whether the problem keeps the whole PF from being as its entry says, and
// nothing is waited for.
func final(pr *Problem) bool { return !pr.Pending && !pr.Partial }

// governed plans for the PF under the entry that governs it. refused is why the newest
// config does not.
func governed(in *Input, b *selection.Binding, twin string, refused []Problem) PFPlan {
	w := workOn(in, b, twin)
	if b.Conflict != nil {
		w.conflict(b.Conflict)
	} else {
		w.plan()
	}
	out := &w.out
	if b.Kept() && w.pf.Silent == "" {
		out.Problems = slices.Concat(refused, out.Problems)
	}
	out.Governed = Governed{
		Kept:    b.Kept(),
		Refused: b.Kept() || slices.ContainsFunc(out.Problems, func(pr Problem) bool { return final(&pr) }),
	}
	return *out
}

// workOn is the work on a PF under the entry that governs it. What an older config allows
// is not used against the newest one: an uplink is changed only where both allow it.
func workOn(in *Input, b *selection.Binding, twin string) *work {
	w := newWork(in, in.Snapshot.PF(b.PF), b.Entry, twin)
	w.allowUplink = w.allowUplink && b.Newest.AllowUplink
	w.out.Entry = b.Newest.Pos
	return w
}

// entriesInForce are the entries of the config, and those of the last good one that
// govern a PF.
func entriesInForce(c *spec.Config, sel *selection.Result) []*spec.PhysicalFunction {
	out := make([]*spec.PhysicalFunction, 0, len(c.PhysicalFunctions))
	for i := range c.PhysicalFunctions {
		out = append(out, &c.PhysicalFunctions[i])
	}
	for i := range sel.Bindings {
		if b := &sel.Bindings[i]; b.Kept() && !slices.Contains(out, b.Entry) {
			out = append(out, b.Entry)
		}
	}
	return out
}
