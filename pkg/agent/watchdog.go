package agent

import (
	"fmt"
	"runtime"
	"sync"
	"time"
)

// StalledError says that a pass of the loop did not end. The service is started again
// then: what it knows is on the disk, and pods keep what they have.
type StalledError struct {
	After time.Duration
	// Stacks are the goroutines at that time, for the log.
	Stacks string
}

func (e *StalledError) Error() string {
	return fmt.Sprintf("a pass of the loop has not ended for %s", e.After)
}

// watchdog knows whether the loop goes round. It costs one timer while a pass is under
// way, and nothing between two.
type watchdog struct {
	stall  time.Duration // longest pass
	rest   time.Duration // longest time between two
	barked chan error    // cap 1

	mu      sync.Mutex
	timer   *time.Timer // of the pass that is under way, nil between two
	changed time.Time   // when the last pass began or ended
}

func newWatchdog(stall, rest time.Duration) *watchdog {
	return &watchdog{stall: stall, rest: rest, barked: make(chan error, 1)}
}

// begin says that a pass begins.
func (w *watchdog) begin(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.changed = now
	w.timer = time.AfterFunc(w.stall, func() {
		buf := make([]byte, 1<<20)
		select {
		case w.barked <- &StalledError{After: w.stall, Stacks: string(buf[:runtime.Stack(buf, true)])}:
		default:
		}
	})
}

// end says that it has ended.
func (w *watchdog) end(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.changed = now
	w.timer.Stop()
	w.timer = nil
}

// slow is how long a pass may take before it is a fault in the eyes of a monitor: a
// kubelet that does not answer costs one some seconds.
const slow = 30 * time.Second

// healthy is nil while the loop goes round.
func (w *watchdog) healthy(now time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	age := now.Sub(w.changed)
	switch {
	case w.timer != nil && age > min(slow, w.stall):
		return fmt.Errorf("a pass of the loop has not ended for %s", age.Round(time.Second))
	case w.timer == nil && !w.changed.IsZero() && age > w.rest:
		return fmt.Errorf("the last pass of the loop was %s ago", age.Round(time.Second))
	}
	return nil
}
