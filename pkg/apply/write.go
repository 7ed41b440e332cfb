package apply

import (
	"context"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/op"
	"github.com/talos-sriov/talos-sriov/pkg/plan"
)

// write runs one write to the target with its bound. Over time, and when ctx ends, the
// write is left to the kernel and the PF is marked stuck.
func (r *run) write(ctx context.Context, s *plan.Step, t target) error {
	r.point("write/" + s.ID)
	start := time.Now()
	answer := make(chan error, 1)
	// The kernel is left to finish what it was asked, whatever ends meanwhile;
	// the context bounds the waiting of those who can stop waiting.
	wctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lateAnswer)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer cancel()
		answer <- r.do(wctx, s.Op, t)
	}()
	limit := r.a.opts.WriteTimeout(s.Op.Kind())
	if o, ok := s.Op.(op.SetNumVFs); ok {
		limit += time.Duration(o.N) * perVF
	}
	answered, err := awaitAnswer(ctx, answer, limit)
	if !answered {
		err = r.abandon(s, start, done)
	}
	r.a.opts.OnWrite(Write{PF: r.pf.Address, Step: *s, Took: time.Since(start), Error: err})
	r.point("wrote/" + s.ID)
	return err
}

// lastWait is how long a write may take that is under way when the process ends.
const lastWait = 2 * time.Second

// awaitAnswer returns the kernel's answer, and whether it came in time. When ctx ends
// the time is short: Talos gives a service ten seconds to stop.
func awaitAnswer(ctx context.Context, answer <-chan error, limit time.Duration) (answered bool, err error) {
	bound := time.NewTimer(limit)
	defer bound.Stop()
	stop := context.AfterFunc(ctx, func() { bound.Reset(min(limit, lastWait)) })
	defer stop()
	select {
	case err = <-answer:
		return true, err
	case <-bound.C:
		return false, nil
	}
}

// abandon leaves a write to the kernel, whose answer frees the PF whenever it comes.
func (r *run) abandon(s *plan.Step, start time.Time, done <-chan struct{}) error {
	r.a.mu.Lock()
	r.flight.step, r.flight.since, r.flight.stuck = *s, start, true
	r.a.mu.Unlock()
	r.out.Stuck = true
	go r.a.answered(r.pf.Address, r.flight, done)
	return &StuckError{PF: r.pf.Address, Step: *s, After: time.Since(start)}
}

// lateAnswer is how long a request that was reported stuck may still wait for
// its answer.
const lateAnswer = time.Hour

func (a *Applier) answered(pf string, f *flight, done <-chan struct{}) {
	<-done // whatever the answer is: the next plan reads the machine
	f.claims.Release()
	a.mu.Lock()
	delete(a.busy, pf)
	a.mu.Unlock()
	a.opts.OnAnswer(pf)
}
