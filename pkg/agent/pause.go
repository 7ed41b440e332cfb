package agent

import "time"

// sooner is the earlier of two times; a zero one is none.
func sooner(x, y time.Time) time.Time {
	if y.IsZero() || !x.IsZero() && x.Before(y) {
		return x
	}
	return y
}

// longestPause bounds what a pass that took long (a kubelet that does not answer)
// may cost the next one.
const longestPause = 250 * time.Millisecond

// pause is how long events are collected before the next pass. A write that makes
// VFs causes events all the time that it takes, and each read slows it down: the
// kernel has one lock for all network interfaces. Whatever the events are, passes
// take no more than half of a processor.
func (l *loop) pause(now time.Time) time.Duration {
	d := l.agent.opts.Settle
	if l.configs.newest == nil {
		return 0 // nothing is read yet
	}
	if len(l.memory.Running()) > 0 {
		d *= 5
	}
	return max(d, min(l.took, longestPause)-now.Sub(l.finished))
}

// drain forgets that something happened.
func (a *Agent) drain() {
	select {
	case <-a.wake:
	default:
	}
}
