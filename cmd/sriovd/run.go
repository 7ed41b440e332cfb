package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/talos-sriov/talos-sriov/pkg/agent"
	"github.com/talos-sriov/talos-sriov/pkg/apply"
	"github.com/talos-sriov/talos-sriov/pkg/cni"
	"github.com/talos-sriov/talos-sriov/pkg/cni/attachment"
	"github.com/talos-sriov/talos-sriov/pkg/install"
	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/kevent"
	"github.com/talos-sriov/talos-sriov/pkg/lock"
	"github.com/talos-sriov/talos-sriov/pkg/nl"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/state"
	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
	"github.com/talos-sriov/talos-sriov/pkg/use/checkpoint"
	"github.com/talos-sriov/talos-sriov/pkg/use/podresources"
)

// runFlags are the flags of the run command: where the daemon finds the machine, and
// what it does. The defaults are those of the extension, which has the host's root at
// /host.
type runFlags struct {
	config, state, kubelet          string
	sysfs, proc                     string
	debug, pluginWatcher            bool
	deviceInfoDir, cdiDir           string
	cniPlugin, optDir, runDir, root string
	resync, networkWait             time.Duration
}

func (f *runFlags) register(fs *flag.FlagSet) {
	fs.StringVar(&f.config, "config", hostRoot+spec.NodePath(), "the config: a `file`, or a directory that holds one *.yaml")
	fs.StringVar(&f.state, "state-dir", hostRoot+state.Dir, "`directory` for the status file and what must outlive a restart")
	fs.StringVar(&f.kubelet, "kubelet-dir", "/host/var/lib/kubelet", "the kubelet's root `directory`")
	fs.StringVar(&f.sysfs, "sysfs", "/sys", "where sysfs is mounted")
	fs.StringVar(&f.proc, "proc", "/proc", "where procfs is mounted")
	fs.BoolVar(&f.debug, "debug", false, "log more")
	fs.StringVar(&f.deviceInfoDir, "device-info-dir", "/host/run/k8s.cni.cncf.io/devinfo/dp", "`directory` for the device-info files that Multus reads; empty: none")
	fs.StringVar(&f.cdiDir, "cdi-dir", "/host/run/cdi", "`directory` for the CDI files, with devicePlugin.cdi in the config")
	fs.BoolVar(&f.pluginWatcher, "plugin-watcher", false, "let the kubelet find the links to the sockets in its plugins_registry directory")
	fs.StringVar(&f.cniPlugin, "cni-plugin", "/sriov-cni", "the CNI plugin that is installed; empty: none")
	fs.StringVar(&f.optDir, "opt-dir", "/host/opt", "where the host's /opt is mounted")
	fs.StringVar(&f.runDir, "run-dir", "/host/run", "where the host's /run is mounted; the sockets are in sriov in it")
	fs.StringVar(&f.root, "host-root", hostRoot, "where the host's root is mounted: what is below it the kubelet sees without it")
	fs.DurationVar(&f.resync, "resync", 0, "how often to reconcile without an event (default 5m)")
	fs.DurationVar(&f.networkWait, "network-wait", 0, "how long a PF must have a link and no address before it counts as not carrying the machine's network (default 10s)")
}

func (a *app) run(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("sriovd run", flag.ContinueOnError)
	var f runFlags
	f.register(fs)
	fs.SetOutput(a.stderr)
	if err := fs.Parse(args); errors.Is(err, flag.ErrHelp) {
		return err
	} else if err != nil {
		return errUsage
	}
	if err := onTheHost(fs, hostRoot); err != nil {
		return err
	}
	level := slog.LevelInfo
	if f.debug {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: level}))
	// Where the kernel gives huge pages to whoever does not ask (enabled=always),
	// a heap of one megabyte takes four. A kernel that does not know the call
	// loses us memory, nothing else.
	_ = unix.Prctl(unix.PR_SET_THP_DISABLE, 1, 0, 0, 0)
	only, err := a.alone(ctx, filepath.Join(agent.RunDir(f.runDir), "lock"), log)
	if ctx.Err() != nil && only == nil {
		return nil // stopped before it began
	}
	if err != nil {
		return err
	}
	defer func() { _ = only.Release() }()
	sys, err := sysfs.Open(f.sysfs)
	if err != nil {
		return err
	}
	defer sys.Close()
	daemon, err := f.daemon(sys, log)
	if err != nil {
		return err
	}
	return ended(log, daemon.Run(ctx))
}

// ended returns how the daemon ended. What of that a line on the terminal cannot have
// goes into the log.
func ended(log *slog.Logger, err error) error {
	if stalled, ok := errors.AsType[*agent.StalledError](err); ok {
		log.Error("the loop stands still, so the service is started again", "err", err, "stacks", stalled.Stacks)
	}
	return err
}

// daemon is the agent with the machine that the flags name.
func (f *runFlags) daemon(sys *sysfs.FS, log *slog.Logger) (*agent.Agent, error) {
	boot, err := f.bootID()
	if err != nil {
		return nil, err
	}
	attachmentDir := filepath.Join(f.root, attachment.DefaultDir)
	// Where another sysfs than the machine's own is read, netlink does not speak of the
	// same devices.
	var network inventory.Network
	var links apply.Links = apply.NoLinks{}
	var attachments agent.Attachments
	var locks apply.VFLocks
	if f.sysfs == "/sys" {
		handle := nl.Open()
		network, links = handle, handle
		run, err := attachment.Boot(f.runDir)
		if err != nil {
			return nil, err
		}
		plugin := &cni.Plugin{
			Dir: attachmentDir, Sysfs: sys, Kernel: cni.HostSide(f.runDir), Boot: run,
			Log: log.With("component", "orphans"),
		}
		attachments, locks = plugin, plugin
	}
	return agent.New(agent.Options{
		Config: f.config, StateDir: f.state, KubeletDir: f.kubelet, Proc: f.proc, Dev: "/dev",
		RunDir: f.runDir, HostRoot: f.root,
		DeviceInfoDir: f.deviceInfoDir, CDIDir: f.cdiDir, PluginWatcher: f.pluginWatcher,
		Attachments: attachments, VFLocks: locks,
		CNI:     install.Options{Source: f.cniPlugin, OptDir: f.optDir, Attachments: attachmentDir},
		Version: version, Log: log, Resync: f.resync, NetworkWait: f.networkWait,
		Sysfs: sys, Network: network, Links: links, Kubelet: podresources.New(filepath.Join(f.kubelet, podresources.Socket), checkpoint.New(f.kubelet, filepath.Join(f.root, checkpoint.LogDir))), Events: kernelEvents{log.With("component", "kernel-events")},
	}, boot)
}

// takeover is how long a daemon that starts waits for the one before it to end:
// Talos gives a service ten seconds to stop.
const takeover = 15 * time.Second

// alone takes the lock of the machine's one daemon.
func (a *app) alone(ctx context.Context, path string, log *slog.Logger) (*lock.Lock, error) {
	only, err := lock.Acquire(ctx, path, 0)
	var held *lock.HeldError
	if !errors.As(err, &held) {
		return only, err
	}
	log.Info("another daemon runs on this machine, waiting for its end", "lock", path, "holder", held.Holder, "for", a.takeover)
	only, err = lock.Acquire(ctx, path, a.takeover)
	if errors.As(err, &held) {
		return nil, fmt.Errorf("another sriovd runs on this machine: %w: this one has done nothing: end the other one (a debug pod, or a container that hangs), and Talos starts this service by itself", err)
	}
	return only, err
}

// kernelEvents passes on kevent's events: which one it was does not matter,
// because the loop reads everything again.
type kernelEvents struct{ log *slog.Logger }

func (k kernelEvents) Run(ctx context.Context, changed func()) error {
	w := kevent.Open(ctx, k.log)
	// What happened before the subscription is seen by reconciling once.
	changed()
	for range w.Events() {
		changed()
	}
	return nil
}
