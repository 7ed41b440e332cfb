package plan

import (
	"slices"

	"github.com/talos-sriov/talos-sriov/pkg/op"
	"github.com/talos-sriov/talos-sriov/pkg/record"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

// What the record of runs has to know of a plan.

// Run is the run of the PF's plan.
func (f *PFPlan) Run() record.Run {
	r := record.Run{Card: f.Card, Found: f.Found, Reset: f.Left, Intents: make([]record.Intent, 0, len(f.Steps))}
	for i := range f.Steps {
		r.Intents = append(r.Intents, intent(&f.Steps[i]))
	}
	return r
}

// intent is what a step is about to do.
func intent(s *Step) record.Intent {
	in := record.Intent{ID: s.ID, Attribute: s.Key != "", Value: op.Text(s.Op.Want())}
	switch o := s.Op.(type) {
	case op.SetNumVFs:
		if o.N > 0 { // the way through 0 VFs makes nothing
			in.Setting = record.NumVFs
		}
	case op.SetAutoProbe:
		in.Setting = record.AutoProbe
	case op.SetMTU:
		in.Setting = record.MTU
	case op.SetEswitchMode:
		in.Setting = record.EswitchMode
	case op.SetDriverOverride:
		in.Overrides = o.VFs()
	}
	return in
}

// Evidence is what the plan knows of each PF and the machine's own network.
func (p *Plan) Evidence() []record.Evidence {
	out := make([]record.Evidence, 0, len(p.PFs))
	for i := range p.PFs {
		f := &p.PFs[i]
		out = append(out, record.Evidence{Card: f.Card, Safe: f.Safe, Uplink: f.Uplink})
	}
	return out
}

// Tokens are the force tokens of the config, and how far the PFs with one are.
func (p *Plan) Tokens() record.Tokens {
	t := record.Tokens{Config: p.Configured, All: p.ForceTokens}
	for i := range p.PFs {
		f := &p.PFs[i]
		if f.ForceToken == "" {
			continue
		}
		open := len(f.Steps) > 0 || slices.ContainsFunc(f.Problems, func(pr Problem) bool { return !pr.Partial })
		t.PFs = append(t.PFs, record.Token{Card: f.Card, Text: f.ForceToken, Done: !open})
	}
	return t
}

// forceTokens are the force tokens that the entries have, each once.
func forceTokens(entries []*spec.PhysicalFunction) []string {
	var out []string
	for _, e := range entries {
		if o := e.Force; o != "" && !slices.Contains(out, o) {
			out = append(out, o)
		}
	}
	return out
}
