package agent

import (
	"context"
	"runtime/debug"
	"time"
)

// restAfter is how long after its last pass the loop gives back the memory that
// the passes needed: on a node with thousands of VFs that is several times what it
// needs to wait for the next, which may be minutes away.
const restAfter = time.Second

// afterKubelet is how long after news from the device plugin the machine is
// read. A kubelet that starts gives it some ten milliseconds to register before it
// looks at its pods; a pass would take from them.
const afterKubelet = time.Second

// loop waits for something to happen, and then does everything again.
func (a *Agent) loop(ctx context.Context) error {
	m := newMemory()
	defer m.end()
	resync := time.NewTicker(a.opts.Resync)
	defer resync.Stop()
	for {
		a.open(m)
		start := time.Now()
		cur := a.observe(ctx, m)
		if ctx.Err() != nil {
			return nil
		}
		a.act(ctx, m, cur)
		a.publish(m, cur)
		m.finished = time.Now()
		m.took = m.finished.Sub(start)
		m.rest.in(restAfter)
		if !a.wait(ctx, m, cur, resync.C) {
			return nil
		}
	}
}

// wait returns true when the next pass is due, and false when ctx has ended. cur is
// the last one.
func (a *Agent) wait(ctx context.Context, m *memory, cur *pass, resync <-chan time.Time) bool {
	for {
		select {
		case <-ctx.Done():
			return false
		case <-m.rest.C:
			debug.FreeOSMemory()
			continue
		case <-a.plugin.Changed():
			a.publish(m, cur)
			m.kubelet.in(afterKubelet)
			continue
		case doc := <-a.source.Documents():
			a.log.Info("config received", "present", doc.Present, "path", doc.Path, "bytes", len(doc.Data))
			m.newest = &doc
			m.present = m.present || doc.Present
		case <-a.wake:
			// A burst of events is one pass.
			return m.newest == nil || a.settle(ctx, a.pause(m, time.Now()))
		case e := <-m.done:
			a.ended(m, e)
		case <-m.kubelet.C:
		case <-m.quietAt.C:
		case <-m.retry.C:
		case <-m.recheck.C:
		case <-m.orphans.alarm.C:
		case <-resync:
		}
		return true
	}
}

// longestPause bounds what a pass that took long (a kubelet that does not answer)
// may cost the next one.
const longestPause = 250 * time.Millisecond

// pause is how long events are collected before the next pass. A write that makes
// VFs causes events all the time that it takes, and each read slows it down: the
// kernel has one lock for all network interfaces. Whatever the events are, passes
// take no more than half of a processor.
func (a *Agent) pause(m *memory, now time.Time) time.Duration {
	d := a.opts.Settle
	if len(m.runs) > 0 {
		d *= 5
	}
	return max(d, min(m.took, longestPause)-now.Sub(m.finished))
}

// settle lets a burst of events pass.
func (a *Agent) settle(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
	}
	select {
	case <-a.wake:
	default:
	}
	return true
}
