package agent

import (
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/apply"
	"github.com/talos-sriov/talos-sriov/pkg/cni"
	"github.com/talos-sriov/talos-sriov/pkg/health"
	"github.com/talos-sriov/talos-sriov/pkg/plan"
	"github.com/talos-sriov/talos-sriov/pkg/pool"
	"github.com/talos-sriov/talos-sriov/pkg/source"
	"github.com/talos-sriov/talos-sriov/pkg/status"
)

// memory is what the loop carries from one pass to the next.
type memory struct {
	newest *source.Document
	// present is set once there was a config.
	present bool
	parsed  parsedConfigs
	// reports are the outcomes of the last runs, by PF.
	reports map[string]*apply.Report
	// runs are the PFs on which a run is under way: one whose driver takes its time
	// keeps no other from being worked on. Each ends with a message on done.
	runs    map[string]bool
	done    chan ended
	orphans orphans
	retries retries
	drift   drift
	quiet   plan.Watch // which has no clock
	health  health.Judge
	// unhealthy is as last logged.
	unhealthy map[string]pool.Reason
	// last identifies the last status, and saved is true when it reached the file.
	last        status.Sum
	saved       bool
	logOnChange logOnChange
	// unwritable is why the state directory, which is there, cannot be written.
	unwritable error
	// finished is when the last pass was over, and took how long it was.
	finished time.Time
	took     time.Duration

	// quietAt goes off when the next PF may have been quiet for long enough: no event of
	// the kernel announces it.
	quietAt alarm
	retry   alarm // when a failed step may be tried again
	recheck alarm // when the health is to be judged again
	rest    alarm // when the memory that passes need is given back
	kubelet alarm // when the machine is read after news from the device plugin
}

func newMemory() *memory {
	return &memory{
		reports: map[string]*apply.Report{}, runs: map[string]bool{}, done: make(chan ended),
		orphans: orphans{known: map[cni.Orphan]*leftover{}, alarm: newAlarm()},
		retries: retries{}, drift: drift{},
		quietAt: newAlarm(), retry: newAlarm(), recheck: newAlarm(), rest: newAlarm(), kubelet: newAlarm(),
	}
}

// end waits for the runs under way, which end with the loop's context: their
// goroutines must not outlive the loop.
func (m *memory) end() {
	for range m.runs {
		<-m.done
	}
	for _, x := range []alarm{m.orphans.alarm, m.quietAt, m.retry, m.recheck, m.rest, m.kubelet} {
		x.Stop()
	}
}

// alarm is a timer that is off until it is set.
type alarm struct{ *time.Timer }

func newAlarm() alarm {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return alarm{t}
}

// in sets the alarm again; 0 turns it off.
func (a alarm) in(d time.Duration) {
	a.Stop()
	if d > 0 {
		a.Reset(d)
	}
}
