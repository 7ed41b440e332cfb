package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/op"
	"github.com/talos-sriov/talos-sriov/pkg/plan"
	"github.com/talos-sriov/talos-sriov/pkg/record"
)

// run is the work on one PF.
type run struct {
	a      *Applier
	pf     *plan.PFPlan
	out    *Report
	flight *flight
	// For the record.
	unfinished []string
	refused    map[string]record.Refusal
	// linkBefore: the port had a link before the write under way. A link that
	// comes while the driver refuses a value must not make that its final answer.
	linkBefore bool
	// had are the devices that somebody had when the run began; lost are the VFs, by
	// index, that this run made and that somebody has got since. See claim.go.
	had  map[string]bool
	lost map[int]bool
}

func (r *run) run(ctx context.Context) {
	ready := r.ready()
	if len(ready) == 0 {
		return
	}
	if !r.enter() {
		return
	}
	defer r.leave()
	ready = r.claim(ctx, ready)
	if len(ready) == 0 {
		return
	}
	ids := make([]string, len(ready))
	for i, s := range ready {
		ids[i] = s.ID
	}
	r.point("begin")
	if err := r.a.opts.Journal.Begin(ctx, r.pf.Run(), ids); err != nil {
		r.out.Skipped = ids
		r.out.Err = fmt.Errorf("%s (%s): nothing was changed, because the intent could not be recorded: %w", r.pf.Name, r.pf.Address, err)
		return
	}
	r.steps(ctx, ready)
	if r.out.Stuck {
		return // the write may still have its effect: the intent stays open
	}
	r.point("end")
	out := record.Outcome{Unfinished: r.unfinished, Waiting: len(r.out.Waiting) > 0, Refused: r.refused}
	if err := r.a.opts.Journal.End(ctx, r.pf.Run(), out); err != nil {
		r.out.Err = errors.Join(r.out.Err, fmt.Errorf("%s (%s): the end of the run could not be recorded: %w", r.pf.Name, r.pf.Address, err))
	}
}

// enter makes the PF ours, unless another run has it or is stuck in it.
func (r *run) enter() bool {
	claims := r.a.opts.Gate.Begin(r.pf.Address) // claims nothing yet, and is asked without the lock
	r.a.mu.Lock()
	defer r.a.mu.Unlock()
	if f := r.a.busy[r.pf.Address]; f != nil {
		r.out.Stuck = f.stuck
		for _, s := range r.pf.Steps {
			r.out.Skipped = append(r.out.Skipped, s.ID)
		}
		if f.stuck {
			r.fail(&f.step, &StuckError{PF: r.pf.Address, Step: f.step, After: time.Since(f.since)})
		}
		return false
	}
	r.flight = &flight{claims: claims}
	r.a.busy[r.pf.Address] = r.flight
	return true
}

func (r *run) leave() {
	r.a.mu.Lock()
	stuck := r.flight.stuck
	r.a.mu.Unlock()
	if stuck {
		return // the answer ends it
	}
	r.flight.claims.Release()
	r.a.mu.Lock()
	defer r.a.mu.Unlock()
	delete(r.a.busy, r.pf.Address)
}

// ready are the steps that wait for nobody, neither themselves nor by need.
func (r *run) ready() []*plan.Step {
	held := plan.Held(r.pf)
	var ready []*plan.Step
	for i := range r.pf.Steps {
		s := &r.pf.Steps[i]
		if held[s.ID] != "" {
			r.out.Waiting = append(r.out.Waiting, s.ID)
			continue
		}
		ready = append(ready, s)
	}
	return ready
}

func needs(s *plan.Step, out map[string]bool) bool {
	return slices.ContainsFunc(s.Needs, func(id string) bool { return out[id] })
}

func (r *run) steps(ctx context.Context, ready []*plan.Step) {
	var changed <-chan struct{}
	if r.a.opts.Events != nil {
		// Before the first write, so that no event is missed.
		c, cancel := r.a.opts.Events.Subscribe()
		defer cancel()
		changed = c
	}
	failed := make(map[string]bool)
	for i, s := range ready {
		if ctx.Err() != nil || r.out.Stuck {
			for _, s := range ready[i:] {
				r.skip(s)
			}
			if err := ctx.Err(); err != nil && !r.out.Stuck {
				r.out.Err = errors.Join(r.out.Err, fmt.Errorf("%s (%s): stopped: %w", r.pf.Name, r.pf.Address, context.Cause(ctx)))
			}
			return
		}
		if needs(s, failed) {
			failed[s.ID] = true
			r.skip(s)
			continue
		}
		if r.isLost(s) {
			failed[s.ID] = true
			r.out.Waiting = append(r.out.Waiting, s.ID)
			r.unfinished = append(r.unfinished, s.ID)
			continue
		}
		switch err := r.step(ctx, s, changed); {
		case err == nil:
			r.out.Done = append(r.out.Done, s.ID)
			r.claimMade(ctx, s, ready[i+1:])
			continue
		case errors.Is(err, errNotYet):
			r.skip(s) // an earlier step reported that what it is about is not there yet
		default:
			r.ended(s, err)
		}
		failed[s.ID] = true
	}
}

// skip leaves a step out that should have run.
func (r *run) skip(s *plan.Step) {
	r.out.Skipped = append(r.out.Skipped, s.ID)
	r.unfinished = append(r.unfinished, s.ID)
}

func (r *run) step(ctx context.Context, s *plan.Step, changed <-chan struct{}) error {
	if !s.Op.Writes() {
		return r.await(ctx, s, changed)
	}
	unlock, err := r.lock(ctx, s)
	if err != nil {
		return err
	}
	defer unlock()
	_, rate := s.Op.(op.SetVFRate)
	r.linkBefore = !rate || r.carrier()
	t, err := r.find(s.Op)
	if err != nil {
		return err
	}
	return r.write(ctx, s, t)
}

func (r *run) notReady(unbound, bare []int) {
	pending := func(vfs []int, msg, hint string) {
		if len(vfs) > 0 {
			r.out.Problems = append(r.out.Problems, plan.Problem{
				PF: r.pf.Address, VFs: vfs, Pos: r.pf.Entry, Pending: true, Settling: true, Msg: msg, Hint: hint,
			})
		}
	}
	pending(unbound, "no driver has bound these VFs",
		"taken up when one does; the node's image may lack the VF driver's module (its kernel or an extension has to bring it), else add it to the machine config (kernel.modules)")
	pending(bare, fmt.Sprintf("the driver is bound, but no netdev came within %s", r.a.opts.AwaitTimeout),
		"see the kernel log of the VF driver; taken up when the netdev appears")
}

// ended takes in the failure of a step. A driver that refuses an attribute of
// VFs is no failure of the run: the plan reports it from the record on, and the
// rest of the group is configured.
func (r *run) ended(s *plan.Step, err error) {
	answer, volatile, refused := refusal(s, err)
	if !refused {
		r.unfinished = append(r.unfinished, s.ID)
		r.fail(s, err)
		return
	}
	if r.refused == nil {
		r.refused = make(map[string]record.Refusal)
	}
	value := op.Text(s.Op.Want())
	r.refused[s.ID] = record.Refusal{Value: value, Answer: answer, Volatile: volatile, Carrier: r.linkBefore && r.carrier()}
	r.out.Refused = append(r.out.Refused, s.ID)
	if s.Optional || errors.Is(err, errNotTaken) {
		return // the next plan reports it
	}
	r.out.Problems = append(r.out.Problems, plan.Problem{
		Pos: s.Pos, PF: r.pf.Address, VFs: s.Op.VFs(), Partial: true,
		Msg:  fmt.Sprintf("%s: the driver %s refuses %q (%s)", s.Key, r.pf.Driver, value, answer),
		Hint: fmt.Sprintf("remove %s from this group, or list it under the group's `optional`; everything else of the group is configured", s.Key),
	})
}

func (r *run) fail(s *plan.Step, err error) {
	meaning, remedy := explain(s, err)
	failed := &StepError{PF: r.pf.Address, Name: r.pf.Name, Step: *s, Meaning: meaning, Remedy: remedy, Err: err}
	r.out.Failed = append(r.out.Failed, failed)
	r.out.Err = errors.Join(r.out.Err, failed)
}

func (r *run) point(name string) { r.a.opts.Point(r.pf.Address + "/" + name) }
