package report

import (
	"github.com/talos-sriov/talos-sriov/pkg/plan"
	"github.com/talos-sriov/talos-sriov/pkg/status"
)

// Plan is a whole plan.
func Plan(p *plan.Plan) *status.Plan {
	out := &status.Plan{Notices: p.Notices, Problems: p.Problems}
	for i := range p.PFs {
		f := &p.PFs[i]
		out.PFs = append(out.PFs, status.PFPlan{
			Address: f.Address, Name: f.Name, Steps: Steps(f), Problems: f.Problems, Notices: f.Notices,
			Withdraw: f.Withdraw, Force: f.ForceToken, Left: f.Left, Entry: f.Entry,
		})
	}
	return out
}

// Steps are the steps of a PF, and which of them are blocked by which.
func Steps(f *plan.PFPlan) []status.Step {
	if len(f.Steps) == 0 {
		return nil
	}
	held := plan.Held(f)
	out := make([]status.Step, 0, len(f.Steps))
	for i := range f.Steps {
		s := Step(&f.Steps[i])
		if by := held[s.ID]; by != s.ID {
			s.BlockedBy = by
		}
		out = append(out, s)
	}
	return out
}
