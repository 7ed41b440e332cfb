package apply

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/talos-sriov/talos-sriov/pkg/op"
	"github.com/talos-sriov/talos-sriov/pkg/plan"
	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// Every device that a step writes to is claimed first (rule 12 of the reconcile
// contract, docs/architecture.md): the PF itself and each VF that the step names,
// whatever the step does to it, and subfunctions that it deletes. Until the run is over
// nobody can get them.
//
// VFs that the run makes have no address before they are there, so they cannot be
// claimed with the others. Whoever offers devices keeps them back as long as a plan
// has steps for them. That is not enough while the run goes on: a VF whose attributes
// read as the config says before the run has come to set them is in no plan. Hence
// a second question, right after they were made and before anything is written to
// them.

// claim asks the gate once about all that ready steps write to, and leaves out the
// steps whose devices have been taken meanwhile, with all that need them. A forced
// step is claimed too, so that its VFs are not given out once more, but runs whoever
// has them.
func (r *run) claim(ctx context.Context, ready []*plan.Step) []*plan.Step {
	there, devices, err := r.claimable(ready)
	if err == nil && len(devices) == 0 {
		return ready
	}
	var holders []use.Holder
	if err == nil {
		holders, err = r.flight.claims.Claim(ctx, devices)
	}
	r.out.Held = append(r.out.Held, holders...)
	r.had = make(map[string]bool, len(holders))
	for _, h := range holders {
		r.had[h.Device] = true
	}
	out := make(map[string]bool)
	var keep []*plan.Step
	for _, s := range ready {
		wait := needs(s, out)
		if !wait && s.Op.Writes() {
			wait = err != nil || s.Forced == nil && r.taken(there[s.ID])
			if err != nil && len(r.out.Failed) == 0 {
				r.unanswered(s, err) // once: it is the same for all
			}
		}
		if wait {
			out[s.ID] = true
			r.out.Waiting = append(r.out.Waiting, s.ID)
			continue
		}
		keep = append(keep, s)
	}
	return keep
}

// claimable are the devices that are there now and that steps write to: of each step,
// by its ID, and all of them, each once. A VF that is not there is left to the step,
// which finds that out too.
func (r *run) claimable(steps []*plan.Step) (of map[string][]string, all []string, err error) {
	of = make(map[string][]string)
	made := map[int]bool{} // by an earlier step: another VF than the one that is there now
	addresses := map[int]string{}
	for _, s := range steps {
		if !s.Op.Writes() {
			continue
		}
		devices := append([]string{r.pf.Address}, s.Subfunctions...)
		makes := makesVFs(s)
		for _, i := range s.Op.VFs() {
			if made[i] = made[i] || makes; made[i] {
				continue
			}
			a, known := addresses[i]
			if !known {
				if a, err = r.vfAddress(i); err != nil && !sysfs.IsAbsent(err) {
					return nil, nil, err
				}
				addresses[i] = a
			}
			if a != "" {
				devices = append(devices, a)
			}
		}
		of[s.ID], all = devices, append(all, devices...)
	}
	slices.Sort(all)
	return of, slices.Compact(all), nil
}

func makesVFs(s *plan.Step) bool {
	o, ok := s.Op.(op.SetNumVFs)
	return ok && o.N > 0
}

// taken reports whether somebody had one of the devices when the run began.
func (r *run) taken(devices []string) bool {
	return slices.ContainsFunc(devices, func(d string) bool { return r.had[d] })
}

// claimMade claims the VFs that the step has made, as far as later steps write to
// them. Steps for a VF that a pod was given since are left to the next plan.
func (r *run) claimMade(ctx context.Context, s *plan.Step, later []*plan.Step) {
	if !makesVFs(s) {
		return
	}
	of := map[int]bool{}
	for _, s := range later {
		for _, i := range s.Op.VFs() {
			of[i] = of[i] || s.Op.Writes()
		}
	}
	index := map[string]int{}
	r.lost = map[int]bool{}
	for i, written := range of {
		if !written {
			continue
		}
		switch a, err := r.vfAddress(i); {
		case err == nil:
			index[a] = i
		case !sysfs.IsAbsent(err):
			r.lost[i] = true
		}
	}
	if len(index) == 0 {
		return
	}
	holders, err := r.flight.claims.Claim(ctx, slices.Sorted(maps.Keys(index)))
	for _, h := range holders {
		if i, ours := index[h.Device]; ours && r.given(h) {
			r.lost[i] = true
			r.out.Held = append(r.out.Held, h)
		}
	}
	if err != nil {
		for _, i := range index {
			r.lost[i] = true
		}
		r.unanswered(s, err)
	}
}

// given reports whether the holder of a VF that this run made was given it since. What
// the machine shows does not count, because a VF has no interface for a moment while
// its driver binds; nor that a kubelet does not answer, because our own notes have all
// that was given of a VF as young as this; nor who had the VF that was there before and
// that the operator forced us to take away.
func (r *run) given(h use.Holder) bool {
	return !r.had[h.Device] && h.Evidence != use.EvidenceNone && !use.OfMachine(h.Evidence)
}

// isLost reports whether the step writes to a VF that was lost.
func (r *run) isLost(s *plan.Step) bool {
	return s.Op.Writes() && slices.ContainsFunc(s.Op.VFs(), func(i int) bool { return r.lost[i] })
}

func (r *run) unanswered(s *plan.Step, err error) {
	r.fail(s, fmt.Errorf("it is not known whether the devices are in use: %w", err))
}
