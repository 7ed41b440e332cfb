package apply

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/op"
	"github.com/talos-sriov/talos-sriov/pkg/plan"
	"github.com/talos-sriov/talos-sriov/pkg/record"
	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// Sysfs is the part of the kernel behind /sys. *sysfs.FS implements it.
type Sysfs interface {
	sysfs.Tree
	// Write writes value to the attribute, in one write, never creating it. It
	// may block for as long as the kernel likes.
	Write(name, value string) error
}

// Journal records the intent before effect.
type Journal interface {
	// Begin must have stored that the run's steps with these IDs are about to be
	// done when it returns nil. An error keeps every one of them from running.
	Begin(ctx context.Context, run record.Run, ids []string) error
	// End stores that no step of the run is under way any more, and what it came
	// to.
	End(ctx context.Context, run record.Run, out record.Outcome) error
}

// Gate has the last check before anything is written to a PF or its VFs: the plan's
// view of who holds what is as old as the plan.
type Gate interface {
	// Begin begins the claims of one run on the PF.
	Begin(pf string) Claims
}

// Claims are those of one run.
type Claims interface {
	// Claim makes sure that nobody can get the devices (PCI addresses of the PF or of
	// its VFs, names of its subfunctions) from now on until the plan after Release, and
	// then returns who has them already. With an error that is not known. A run asks
	// once, and once more where it made VFs.
	Claim(ctx context.Context, devices []string) ([]use.Holder, error)
	// Release says that nothing is written for the run any more: it has ended, and the
	// kernel has answered each of its writes.
	Release()
}

// Write is one write that was made, for whoever counts, logs or asserts.
type Write struct {
	PF    string
	Step  plan.Step
	Took  time.Duration
	Error error // nil, the kernel's answer, or a *StuckError
}

// Options are the surroundings of an Applier. Journal, Gate, Links, OnWrite and
// OnAnswer are required.
type Options struct {
	Journal Journal
	Gate    Gate
	// VFLocks is held while an attribute of a VF is written.
	VFLocks VFLocks
	// Links does what netlink, devlink and ethtool do.
	Links Links
	// Events wakes the wait for VFs' netdevs. Without it they are searched for
	// once.
	Events *Hub
	// WriteTimeout bounds one write; default 30 s for sriov_numvfs, 60 s for
	// the eswitch mode, 10 s else. Making VFs has 2 s more for each.
	WriteTimeout func(op.Kind) time.Duration
	// AwaitTimeout bounds the wait for netdevs; default 10 s.
	AwaitTimeout time.Duration
	// OnWrite is called after each write, from several goroutines.
	OnWrite func(Write)
	// OnAnswer is called when the kernel answers a write that was reported
	// stuck: time for a new plan.
	OnAnswer func(pf string)
	// Point is called at each named point where a crash is worth trying:
	// "begin", "write/<step>", "wrote/<step>", "end", each after "<pf>/".
	Point func(name string)
}

// Applier runs plans on one machine. It remembers writes that the kernel has
// not answered, so one Applier must serve for the life of the process. Its
// methods are safe for concurrent use; a PF that another run is busy with is left
// alone.
type Applier struct {
	sys  Sysfs
	opts Options

	mu   sync.Mutex
	busy map[string]*flight // by PF address
}

// flight is a run on a PF, and the write that it is stuck in, if any.
type flight struct {
	step   plan.Step
	since  time.Time
	stuck  bool
	claims Claims
}

// ErrIncomplete says that an Applier was to be made without something that it needs:
// one without a gate would take VFs away from whoever has them.
var ErrIncomplete = errors.New("an applier needs Journal, Gate, Links, OnWrite and OnAnswer")

// New returns an Applier that writes through sys and opts.Links.
func New(sys Sysfs, opts Options) (*Applier, error) {
	if opts.Journal == nil || opts.Gate == nil || opts.Links == nil || opts.OnWrite == nil || opts.OnAnswer == nil {
		return nil, ErrIncomplete
	}
	if opts.WriteTimeout == nil {
		opts.WriteTimeout = defaultWriteTimeout
	}
	opts.AwaitTimeout = cmp.Or(opts.AwaitTimeout, 10*time.Second)
	if opts.Point == nil {
		opts.Point = func(string) {}
	}
	return &Applier{sys: sys, opts: opts, busy: make(map[string]*flight)}, nil
}

func defaultWriteTimeout(k op.Kind) time.Duration {
	switch k {
	case op.KindNumVFs:
		return 30 * time.Second
	case op.KindEswitch:
		return time.Minute // mlx5 rebuilds all its tables
	}
	return 10 * time.Second
}

// perVF is what making one VF may take: drivers bind within the write, one
// after the other.
const perVF = 2 * time.Second

// Report is what a run came to.
type Report struct {
	Address, Name string
	// Done are the IDs of the steps that ran to their end, Waiting those that
	// wait for holders (their own or a needed step's), Skipped those whose need
	// failed.
	Done, Waiting, Skipped []string
	// Refused are the IDs of the steps whose value the driver does not take.
	Refused []string
	// Held are holders that the Gate found and the plan did not know.
	Held []use.Holder
	// Problems are no errors of a write: VFs without a driver or netdev yet.
	Problems []plan.Problem
	// Stuck is true while the kernel has not answered a write.
	Stuck bool
	// Failed are the failures of steps. Err joins them and what else went wrong.
	Failed []*StepError
	Err    error
}

// Stuck are the PFs, by address, on which the kernel has not answered a write.
func (a *Applier) Stuck() map[string]bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := map[string]bool{}
	for pf, f := range a.busy {
		if f.stuck {
			out[pf] = true
		}
	}
	return out
}

// Run runs what can run now of a PF's plan, and returns when it is through or stuck.
// Ending ctx ends it between two writes. Runs on several PFs do not wait for each
// other.
func (a *Applier) Run(ctx context.Context, f *plan.PFPlan) *Report {
	r := &run{a: a, pf: f, out: &Report{Address: f.Address, Name: f.Name}}
	r.run(ctx)
	return r.out
}
