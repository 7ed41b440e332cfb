package agent

import (
	"context"
	"runtime/debug"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/decide"
	"github.com/talos-sriov/talos-sriov/pkg/pool"
	"github.com/talos-sriov/talos-sriov/pkg/status"
)

// restAfter is how long after its last pass the loop gives back the memory that
// the passes needed: on a node with thousands of VFs that is several times what it
// needs to wait for the next, which may be minutes away.
const restAfter = time.Second

// afterKubelet is how long after news from the device plugin the machine is
// read. A kubelet that starts gives it some ten milliseconds to register before it
// looks at its pods; a pass would take from them.
const afterKubelet = time.Second

// loop is what one pass leaves for the next.
type loop struct {
	agent   *Agent
	workers *workers
	configs configs
	state   stateDir
	// relieved: the state directory can be written again.
	relieved bool

	memory   decide.Memory
	decision decide.Decision
	// offered is what the last decision that could be made offers.
	offered *pool.Assignment
	// news is what the log has of the status, sum is of what was reported last, and
	// written whether that reached its file.
	news    *news
	sum     status.Sum
	written bool

	finished time.Time     // when the last pass was over
	took     time.Duration // how long it was
}

// loop waits for something to happen, and then observes, decides, starts what is
// missing and reports.
func (a *Agent) loop(ctx context.Context) error {
	l := &loop{agent: a, workers: &workers{agent: a}, news: newNews(a.opts.LogGrace)}
	defer l.workers.wg.Wait() // they end with ctx
	for {
		start := time.Now()
		a.watchdog.begin(start)
		a.drain() // what happened until now this pass sees
		l.open()
		o := l.observe(ctx)
		if ctx.Err() == nil {
			l.logRuns(o.Ended)
			l.decision, l.memory = decide.Decide(l.configs.now(), a.settings(), o.Observation, l.memory)
			l.dispatch(ctx, &o)
			l.publish(&o)
		}
		l.finished = time.Now()
		l.took = l.finished.Sub(start)
		a.watchdog.end(l.finished)
		if !l.wait(ctx, &o) {
			return nil
		}
	}
}

// wait returns true when the next pass is due, and false when ctx has ended. o is what
// the last one observed.
func (l *loop) wait(ctx context.Context, o *observed) bool {
	a, due := l.agent, sooner(l.decision.Next, l.news.due)
	rest := l.finished.Add(restAfter) // zero once the memory was given back
	alarm := time.NewTimer(0)
	defer alarm.Stop()
	for {
		alarm.Reset(time.Until(sooner(due, rest)))
		select {
		case <-ctx.Done():
			return false
		case <-alarm.C:
			if !time.Now().Before(due) {
				return true
			}
			debug.FreeOSMemory()
			rest = time.Time{}
		case <-a.plugin.Changed():
			l.publish(o)
			due = sooner(due, sooner(l.news.due, time.Now().Add(afterKubelet)))
		case doc := <-a.source.Documents():
			a.log.Info("config received", "present", doc.Present, "path", doc.Path, "bytes", len(doc.Data))
			l.configs.accept(&doc)
			return true
		case <-a.wake: // a burst of events is one pass
			now := time.Now()
			due = sooner(due, now.Add(l.pause(now)))
		}
	}
}
