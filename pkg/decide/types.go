package decide

import (
	"maps"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/apply"
	"github.com/talos-sriov/talos-sriov/pkg/cni"
	"github.com/talos-sriov/talos-sriov/pkg/health"
	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/op"
	"github.com/talos-sriov/talos-sriov/pkg/plan"
	"github.com/talos-sriov/talos-sriov/pkg/pool"
	"github.com/talos-sriov/talos-sriov/pkg/record"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/status"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// Settings are what does not change while the daemon runs.
type Settings struct {
	BootID string
	// Resync is the longest time between two decisions.
	Resync time.Duration
	// NetworkWait is how long a PF must be seen quiet before it counts as no uplink.
	NetworkWait time.Duration
	// OrphanGrace is how long the container runtime has to give a dead pod's VF back.
	OrphanGrace time.Duration
}

// Observation is what was found at one moment. Nobody changes it.
type Observation struct {
	At time.Time
	// Snapshot is the machine, and Err why it could not be read. Both are nil when
	// nothing was read, because it is not known yet whether there is a config.
	Snapshot *inventory.Snapshot
	Err      error
	// Use is who has which device, Held the devices that pods have as far as the
	// kubelet and the notes say, and Open the VFs that a process has open though no
	// pod is known to have them.
	Use  use.Set
	Held map[string]bool
	Open map[string]use.Answer
	// Answered is true when the kubelet answered who has what. Unconfirmed: it has
	// not listed all of what it was given.
	Answered, Unconfirmed bool
	// Record is what earlier runs wrote down. Recorded is true once the state
	// directory was read.
	Record   record.Record
	Recorded bool
	// Forced are the PFs on which the operator of the machine said not to wait.
	Forced map[string]bool
	// Leftovers are what the CNI plugin attached to pods that are gone; nil also when
	// they are not ours to reclaim.
	Leftovers []cni.Orphan
	// Ended are the runs that have ended since the last observation, and Stuck the PFs
	// on which the kernel has still not answered a write of one.
	Ended []Ended
	Stuck map[string]bool
	// Relieved is true when the state directory can be written again: what failed
	// because no intent could be recorded need not wait.
	Relieved bool
}

// Ended is what a run came to.
type Ended struct {
	// PF is the address, "" for the run of what belongs to no PF.
	PF string
	// Plan and Report are nil when the plan had no part in it.
	Plan      *plan.PFPlan
	Report    *apply.Report
	Reclaimed []Reclaimed
}

// Reclaimed is the outcome for one leftover: who has the VF, or what went wrong, or
// neither.
type Reclaimed struct {
	Orphan cni.Orphan
	Busy   string
	Err    error
}

// Memory is what one decision leaves for the next. The zero value is that of a daemon
// that has just started.
type Memory struct {
	// Configured is set once there was a config.
	Configured bool
	PFs        map[string]PF
	Quiet      plan.Watch
	Health     health.Judge
	Leftovers  map[cni.Orphan]Leftover
	// Reclaimed counts the leftovers that were reclaimed.
	Reclaimed int
}

// Phase is where a PF is between two decisions.
type Phase int

const (
	// Idle: nothing is under way, and nothing has failed.
	Idle Phase = iota
	// Running: a run is under way.
	Running
	// Failed: the last run did not do all of its work, which is due again later.
	Failed
)

// PF is what is known of one PF over time.
type PF struct {
	Phase Phase
	// Work is what failed, Pause the time that it rests and Due when that is over.
	Work  []plan.Step
	Pause time.Duration
	Due   time.Time
	// Settled is the hash of the config under which the PF was last as it should be,
	// and Drift counts how often it was changed after that by somebody else.
	Settled string
	Drift   int
	// Report is what the last run came to, nil when there was none.
	Report *apply.Report
}

// Leftover is what is known of something that a pod left behind.
type Leftover struct {
	Since time.Time
	After time.Time // when it may be reclaimed
	// Reason is why it was not, when that is past.
	Reason string
}

// Running reports of each PF whether a run is under way on it.
func (m *Memory) Running() map[string]bool {
	out := map[string]bool{}
	for addr := range m.PFs {
		if m.PFs[addr].Phase == Running {
			out[addr] = true
		}
	}
	return out
}

// clone is a copy of m that shares nothing which a decision changes.
func (m Memory) clone() Memory {
	m.PFs, m.Leftovers = maps.Clone(m.PFs), maps.Clone(m.Leftovers)
	if m.PFs == nil {
		m.PFs = map[string]PF{}
	}
	if m.Leftovers == nil {
		m.Leftovers = map[cni.Orphan]Leftover{}
	}
	return m
}

// Decision is what is to be done, offered and reported.
type Decision struct {
	// Known is false as long as nothing may be concluded: it is not known whether
	// there is a config, or the machine could not be read. What was offered stays
	// offered then, and nothing starts.
	Known bool
	// Spec is what is reported of the newest config. Config is the one in force, nil
	// when nothing is configured, and Hash identifies it.
	Spec   status.Spec
	Config *spec.Config
	Hash   string
	// Plan is all that is left to do, and which entry governs which PF.
	Plan *plan.Plan
	// Pools are the devices behind each resource, and Withdrawn those that are not
	// given out, with the reason.
	Pools     *pool.Assignment
	Withdrawn map[string]pool.Reason
	// Start is what starts now: each element by itself, and what is in one element
	// one after the other.
	Start []Work
	// Accept is set when the newest config is one that a bad one must not displace.
	Accept *Accepted
	// Tokens are the force tokens of the config and how far they are; nil while they
	// must not be recorded.
	Tokens *record.Tokens
	// Acknowledged are the PFs whose force request on the machine is carried out.
	Acknowledged []string
	// Drifted are the PFs that somebody else has changed.
	Drifted []Drifted
	// Next is when to decide again although nothing happened.
	Next time.Time
}

// Accepted is a config to be kept as the last good one, empty when that is that there
// is none.
type Accepted struct{ Data []byte }

// Work is what one worker does, in order.
type Work []Run

// Run is the work on one PF: what is to be reclaimed, and then the plan, which is nil
// when none of it is due. PF is "" for what belongs to no PF.
type Run struct {
	PF      string
	Reclaim []cni.Orphan
	Plan    *plan.PFPlan
}

// Drifted is a PF that was changed by somebody else: the first thing that is not as
// the config says.
type Drifted struct {
	PF          string
	Times       int
	Object      string
	Found, Want op.Value
}
