package agent

import (
	"context"
	"time"
)

// A task that failed is started again after a pause that doubles, from one to the
// other.
const (
	firstRestart = time.Second
	lastRestart  = time.Minute
)

// keep runs a task until ctx ends. What it misses while it is down, a reconcile
// sees: each end and each start of it wakes the loop.
func (a *Agent) keep(ctx context.Context, t task) error {
	pause := firstRestart
	for {
		started := time.Now()
		err := t.run(ctx)
		if err == nil || ctx.Err() != nil {
			return nil //nolint:nilerr // a task that ends with ctx has not failed
		}
		if time.Since(started) > lastRestart {
			pause = firstRestart
		}
		a.log.Error("task failed and will be started again", "task", t.name, "err", err, "pause", pause)
		a.Wake()
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
		pause = min(2*pause, lastRestart)
		a.Wake()
	}
}
