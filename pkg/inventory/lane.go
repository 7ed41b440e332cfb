package inventory

import (
	"context"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
)

// lane is where the questions about one device go. One reading at a time uses it, so
// that a device that does not answer costs one goroutine, however often it is read.
type lane struct {
	slot chan struct{} // cap 1: full while a reading uses the lane
	base time.Time     // what heard counts from: the machine's clock may be set
	// heard is when the kernel answered a question of the reading last, as the time
	// since base; idle while it waits for no answer.
	heard atomic.Int64

	mu    sync.Mutex
	asked time.Time // when the reading began that uses the lane; zero for none
	late  bool      // and it did not come back in time
	// last is what was read last, full what was read last with all that a plan
	// compares ([Needs].VFSettings); nil for nothing.
	last, full *part
	epoch      int // how often they were forgotten
}

// idle is the time of an answer that is not waited for.
const idle = math.MaxInt64

// patience is how many bounds a reading may take whose questions are each answered in
// time: a device that takes long over each holds up the others no longer.
const patience = 5

func newLane() *lane {
	return &lane{slot: make(chan struct{}, 1), base: time.Now()}
}

// answered notes that the kernel answers.
func (l *lane) answered() {
	if l != nil {
		l.heard.Store(int64(time.Since(l.base)))
	}
}

// pause notes that no answer of the kernel is waited for.
func (l *lane) pause() {
	if l != nil {
		l.heard.Store(idle)
	}
}

// left is how much of the bound is left until the next answer must be there.
func (l *lane) left(bound time.Duration) time.Duration {
	heard := l.heard.Load()
	if heard == idle {
		return bound
	}
	return bound - (time.Since(l.base) - time.Duration(heard))
}

// do runs f on the lane and waits for it, until ctx ends or the kernel has left a
// question unanswered for the bound (0: for ever). It reports whether f came back, and
// if not, since when the lane is silent; zero when ctx has ended. f goes on until the
// kernel answers, and then calls back.
func (l *lane) do(ctx context.Context, bound time.Duration, back func(), f func()) (bool, time.Time) {
	if since := l.silentSince(); !since.IsZero() {
		return false, since
	}
	done, gone := make(chan struct{}), make(chan struct{})
	defer close(gone)
	go func() {
		defer close(done)
		select {
		case l.slot <- struct{}{}:
		case <-gone:
			return
		}
		l.begin()
		f()
		if l.end() && back != nil {
			back()
		}
	}()
	return l.wait(ctx, bound, done)
}

func (l *lane) wait(ctx context.Context, bound time.Duration, done <-chan struct{}) (bool, time.Time) {
	var alarm <-chan time.Time
	start := time.Now()
	timer := time.NewTimer(bound)
	defer timer.Stop()
	if bound > 0 {
		alarm = timer.C
	}
	for {
		select {
		case <-done:
			return true, time.Time{}
		case <-ctx.Done():
			return false, time.Time{}
		case <-alarm:
			left := l.left(bound)
			if left > 0 && time.Since(start) < patience*bound {
				timer.Reset(left)
				continue
			}
			if since := l.markLate(); !since.IsZero() {
				return false, since
			}
			timer.Reset(bound) // it has just come back
		}
	}
}

func (l *lane) begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked = time.Now()
	l.answered()
}

// end frees the lane and reports whether it was late.
func (l *lane) end() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	late := l.late
	l.asked, l.late = time.Time{}, false
	<-l.slot
	return late
}

// markLate returns since when the lane is silent, zero when nothing uses it.
func (l *lane) markLate() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.late = !l.asked.IsZero()
	return l.asked
}

// silentSince is zero for a lane that is free, or in use and in time.
func (l *lane) silentSince() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.late {
		return l.asked
	}
	return time.Time{}
}

// keep remembers what was read, unless the device went away meanwhile.
func (l *lane) keep(epoch int, settings bool, p *part) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.epoch != epoch {
		return
	}
	l.last = p
	if settings {
		l.full = p
	}
}

// remembered is what was read last, with the settings if they are wanted and were
// ever read; nil for nothing.
func (l *lane) remembered(settings bool) *part {
	l.mu.Lock()
	defer l.mu.Unlock()
	if settings && l.full != nil {
		return l.full
	}
	return l.last
}

func (l *lane) now() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.epoch
}

// forget is for a device that is not there any more. It reports whether the lane is
// free.
func (l *lane) forget() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last, l.full = nil, nil
	l.epoch++
	return l.asked.IsZero()
}

// laneTree notes each answer.
type laneTree struct {
	sysfs.Tree
	lane *lane
}

func (t laneTree) ReadFile(name string) ([]byte, error) {
	defer t.lane.answered()
	return t.Tree.ReadFile(name)
}

func (t laneTree) ReadDir(name string) ([]string, error) {
	defer t.lane.answered()
	return t.Tree.ReadDir(name)
}

func (t laneTree) ReadLink(name string) (string, error) {
	defer t.lane.answered()
	return t.Tree.ReadLink(name)
}
