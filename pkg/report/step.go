package report

import (
	"fmt"

	"github.com/talos-sriov/talos-sriov/pkg/op"
	"github.com/talos-sriov/talos-sriov/pkg/plan"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/status"
)

// Step is a step of a plan.
func Step(s *plan.Step) status.Step {
	return status.Step{
		ID: s.ID, Kind: string(s.Op.Kind()), Action: s.Action(), PF: s.Op.PF(), VFs: s.Op.VFs(),
		Object: s.Op.Object(), Shared: shared(s.Op), From: op.Text(s.Op.From()), To: op.Text(s.Op.Want()), Reason: s.Reason,
		Disruption: s.Disruption, Wait: s.Wait, Needs: s.Needs,
		Forced: s.Forced, Optional: s.Optional, Key: s.Key,
	}
}

// shared reports whether steps with the operation about different VFs have one object.
func shared(o op.Op) bool {
	switch o.(type) {
	case op.UnbindVF, op.ProbeVF, op.BindVDPA:
		return true
	}
	return false
}

// Failure is a step that was tried and did not succeed.
type Failure struct {
	Step *plan.Step
	// Answer is the kernel's error as text, Remedy what to do.
	Answer, Remedy string
}

func (f *Failure) problem(entry spec.Pos) status.Problem {
	return status.Problem{
		Pos: entry, PF: f.Step.Op.PF(), VFs: f.Step.Op.VFs(),
		Msg: fmt.Sprintf("writing %q to %s failed: %s", op.Text(f.Step.Op.Want()), f.Step.Op.Object(), f.Answer), Hint: f.Remedy,
	}
}
