package agent

import (
	"cmp"
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/talos-sriov/talos-sriov/pkg/apply"
	"github.com/talos-sriov/talos-sriov/pkg/deviceplugin"
	"github.com/talos-sriov/talos-sriov/pkg/install"
	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/ledger"
	"github.com/talos-sriov/talos-sriov/pkg/metrics"
	"github.com/talos-sriov/talos-sriov/pkg/op"
	"github.com/talos-sriov/talos-sriov/pkg/source"
	"github.com/talos-sriov/talos-sriov/pkg/state"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// RunDir is our own directory in the host's /run: the sockets, and the lock that
// keeps a second daemon off.
func RunDir(run string) string { return filepath.Join(run, "sriov") }

// Options say where everything is. All paths are required.
type Options struct {
	// Config is the file of the config, or a directory that holds it.
	Config string
	// StateDir is state.Dir on the host; KubeletDir is /var/lib/kubelet.
	StateDir, KubeletDir string
	// RunDir is the host's /run. Our sockets are in a directory of ours in it.
	RunDir string
	// HostRoot is where the host's root directory is mounted: what is below it the
	// kubelet sees without it. May be "".
	HostRoot string
	// DeviceInfoDir is where device-info files go, CDIDir CDI files; "" for
	// none. See deviceplugin.Options.
	DeviceInfoDir, CDIDir string
	// PluginWatcher: see deviceplugin.Options.
	PluginWatcher bool
	// CNI says where the CNI plugin is and belongs; without CNI.Source none is
	// installed. Its Record and Version are set by New.
	CNI install.Options
	// Attachments is asked for what dead pods left; may be nil.
	Attachments Attachments
	// Proc is /proc, Dev is /dev.
	Proc, Dev string
	// Version of the program, for the status file.
	Version string
	Log     *slog.Logger

	// Sysfs is where everything is read and written, Network what netlink
	// knows (may be nil), and Links what it sets.
	Sysfs   apply.Sysfs
	Network inventory.Network
	Links   apply.Links
	// Kubelet is asked who holds which device.
	Kubelet KubeletAsker
	// Events opens the stream of kernel events.
	Events EventSource

	// Resync is the slow timer behind the events; default 5 minutes.
	Resync time.Duration
	// NetworkWait is how long a PF must be seen quiet (plan.Watch) before it counts
	// as no uplink; default 10 seconds.
	NetworkWait time.Duration
	// VFLocks are the CNI plugin's, nil when there is none.
	VFLocks apply.VFLocks
	// OrphanGrace is how long the container runtime has to give a dead pod's VF
	// back before the daemon does; default 30 seconds.
	OrphanGrace time.Duration
	// LogGrace is how long a problem that normally settles within seconds must last
	// before it is logged; default 15 seconds.
	LogGrace time.Duration
	// Stall is how long one pass of the loop may take before the process ends, to
	// be started again; default 5 minutes.
	Stall time.Duration
	// Absent is how long a config must be missing before that counts; see
	// source.Options.
	Absent time.Duration
	// Settle is how long a burst of kernel events is collected; default 10 ms.
	Settle time.Duration
	// Point and WriteTimeout are passed to apply, for tests: places to crash, and how
	// soon a write counts as stuck.
	Point        func(string)
	WriteTimeout func(op.Kind) time.Duration
}

// hostPath is a path of ours as the host has it.
func (o *Options) hostPath(path string) string {
	if rest, ok := strings.CutPrefix(path, strings.TrimSuffix(o.HostRoot, "/")+"/"); ok && o.HostRoot != "" {
		return "/" + rest
	}
	return path
}

// KubeletAsker asks the kubelet which device belongs to which pod.
type KubeletAsker interface {
	Ask(ctx context.Context) use.Kubelet
}

// EventSource yields a value each time something in the kernel changed that
// could concern us; several changes may be one value. A source that lost events
// yields one too. Run returns when ctx ends.
type EventSource interface {
	Run(ctx context.Context, changed func()) error
}

// task is one thing that runs for the life of the agent.
type task struct {
	name string
	run  func(context.Context) error
}

// Agent is the daemon without its command line.
type Agent struct {
	opts    Options
	log     *slog.Logger
	started time.Time
	bootID  string

	reader  *inventory.Reader
	store   *state.Store
	ledger  *ledger.Ledger
	source  *source.Watcher
	plugin  *deviceplugin.Manager
	applier *apply.Applier
	hub     apply.Hub
	cni     *cniTask

	wake     chan struct{} // cap 1
	watchdog *watchdog

	opened opened
	// lastSnapshot is what the loop observed last, for an Allocate.
	lastSnapshot atomic.Pointer[inventory.Snapshot]

	collector *collector
	metrics   *metrics.Server
	writes    atomic.Int64 // asked of the kernel, for the status

	// What was logged last of what cannot be written, read and removed.
	unsaved, unread, unreported, uncertain, unremoved lastError
}

// New returns an agent that has not touched anything yet. bootID identifies the
// boot (/proc/sys/kernel/random/boot_id).
func New(opts Options, bootID string) (*Agent, error) {
	opts.Resync = cmp.Or(opts.Resync, 5*time.Minute)
	opts.NetworkWait = cmp.Or(opts.NetworkWait, 10*time.Second)
	opts.OrphanGrace = cmp.Or(opts.OrphanGrace, 30*time.Second)
	opts.LogGrace = cmp.Or(opts.LogGrace, 15*time.Second)
	opts.Settle = cmp.Or(opts.Settle, 10*time.Millisecond)
	opts.Stall = cmp.Or(opts.Stall, 5*time.Minute)
	a := &Agent{
		opts:    opts,
		log:     opts.Log,
		started: time.Now(),
		bootID:  bootID,
		store:   state.New(opts.StateDir, bootID),
		ledger:  ledger.New(bootID),
		source:  source.New(opts.Config, source.Options{Absent: opts.Absent, Log: opts.Log.With("component", "config")}),
		wake:    make(chan struct{}, 1),

		watchdog: newWatchdog(opts.Stall, 2*opts.Resync),
	}
	a.plugin = deviceplugin.NewManager(deviceplugin.Options{
		KubeletDir: opts.KubeletDir,
		SocketDir:  RunDir(opts.RunDir),
		Log:        opts.Log.With("component", "device-plugin"),

		Ledger:        books{a},
		DeviceInfoDir: opts.DeviceInfoDir,
		CDIDir:        opts.CDIDir,
		PluginWatcher: opts.PluginWatcher,
		HostPath:      opts.hostPath,
	})
	if opts.CNI.Source != "" {
		opts.CNI.Record, opts.CNI.Version = a.store.CNIPath(), opts.Version
		a.cni = newCNITask(opts.CNI, a.store.Writable, a.Wake, opts.Log.With("component", "cni-install"))
	}
	a.reader = inventory.NewReader(opts.Sysfs, opts.Network, inventory.ReaderOptions{OnAnswer: a.Wake})
	a.opened.vfio = use.VFIO{Dev: opts.Dev, Sys: opts.Sysfs}
	a.collector = newCollector(a.watchdog.healthy)
	a.metrics = metrics.NewServer(a.collector.pages(), opts.Log.With("component", "metrics"), a.Wake)
	var err error
	a.applier, err = apply.New(opts.Sysfs, apply.Options{
		Links:    opts.Links,
		Journal:  journal{a.store},
		Gate:     gate{a},
		VFLocks:  opts.VFLocks,
		Events:   &a.hub,
		OnWrite:  a.logWrite,
		OnAnswer: func(string) { a.Wake() },
		Point:    opts.Point,

		WriteTimeout: opts.WriteTimeout,
	})
	return a, err
}

// Wake makes the loop reconcile again. It never blocks.
func (a *Agent) Wake() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// tasks are what Run runs, in no order.
func (a *Agent) tasks() []task {
	mounts := newMountWatcher(filepath.Join(a.opts.Proc, "self/mountinfo"), a.places(), func() {
		a.plugin.Poke()
		a.Wake()
	})
	tasks := []task{
		{"config watcher for " + a.opts.Config, a.source.Run},
		{"mount watcher", mounts.Run},
		{"kernel events", func(ctx context.Context) error {
			return a.opts.Events.Run(ctx, func() {
				a.hub.Notify()
				a.Wake()
			})
		}},
		{"device plugin", a.plugin.Run},
		{"metrics", a.metrics.Run},
		{"loop", a.loop},
	}
	if a.cni != nil {
		tasks = append(tasks, task{"CNI plugin", a.cni.run})
	}
	return tasks
}

// places are where a mount may bring or hide something that we read or write. A
// mount above one of them is seen at it.
func (a *Agent) places() []string {
	places := []string{a.opts.Config, a.opts.StateDir, a.plugin.Dir()}
	for _, p := range []string{a.opts.DeviceInfoDir, a.opts.CDIDir, a.opts.CNI.Attachments} {
		if p != "" {
			places = append(places, p)
		}
	}
	if a.opts.CNI.OptDir != "" {
		places = append(places, filepath.Join(a.opts.CNI.OptDir, "cni/bin"))
	}
	return places
}

// Run works until ctx ends, which is no error, or until the loop stands still, which
// is a [*StalledError]. A task that fails is started again: the node is better off with
// a daemon that sees less than with none.
func (a *Agent) Run(ctx context.Context) error {
	a.log.Info("started", "version", a.opts.Version, "config", a.opts.Config, "boot", a.bootID)
	ended := make(chan error, 1)
	go func() {
		g, ctx := errgroup.WithContext(ctx)
		for _, t := range a.tasks() {
			g.Go(func() error { return a.keep(ctx, t) })
		}
		ended <- g.Wait()
	}()
	select {
	case err := <-ended:
		if err != nil {
			return err
		}
	case err := <-a.watchdog.barked:
		// The tasks are left behind: what they wait for may never come.
		return err
	}
	a.log.Info("stopped")
	return nil
}

func (a *Agent) logWrite(w apply.Write) {
	a.writes.Add(1)
	o := w.Step.Op
	log := a.log.With("pf", w.PF, "step", w.Step.ID, "path", o.Object(), "old", op.Text(o.From()), "new", op.Text(o.Want()), "took", w.Took.Round(time.Millisecond))
	if len(w.Step.Forced) > 0 {
		log.Warn("forced by the operator, over its holders", "holders", use.Names(w.Step.Forced))
	}
	switch {
	case w.Error != nil && w.Step.Optional:
		a.collector.write(w.PF, writeRefused)
		log.Info("write refused, which the config allows", "err", w.Error)
		return
	case w.Error != nil:
		a.collector.write(w.PF, writeFailed)
		log.Error("write failed", "err", w.Error)
		return
	}
	a.collector.write(w.PF, writeOK)
	log.Info("written", "reason", w.Step.Reason)
}
