package agent

import (
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/plan"
)

// quiet keeps the time for the uplink guard: plan.Watch has no clock.
type quiet struct {
	watch plan.Watch
	// alarm goes off when the next PF may have been quiet for long enough: no event of
	// the kernel announces it.
	alarm alarm
}

// observe takes in a read of the machine; one that failed has seen no PF.
func (q *quiet) observe(s *inventory.Snapshot, wait time.Duration) plan.Quiet {
	now, next := q.watch.See(s, time.Now(), wait)
	q.alarm.in(next)
	return now
}
