package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
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
	"github.com/talos-sriov/talos-sriov/pkg/plan"
	"github.com/talos-sriov/talos-sriov/pkg/source"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/state"
	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
	"github.com/talos-sriov/talos-sriov/pkg/use"
	"github.com/talos-sriov/talos-sriov/pkg/use/podresources"
)

// paths are the places that every command may need; the defaults are those of the
// extension, which has the host's root at /host.
type paths struct {
	config, state, kubelet, sysfs, proc string
}

func (p *paths) register(fs *flag.FlagSet) {
	fs.StringVar(&p.config, "config", hostRoot+spec.NodePath(), "the config: a `file`, or a directory that holds one *.yaml")
	fs.StringVar(&p.state, "state-dir", hostRoot+state.Dir, "`directory` for the status file and what must outlive a restart")
	fs.StringVar(&p.kubelet, "kubelet-dir", "/host/var/lib/kubelet", "the kubelet's root `directory`")
	fs.StringVar(&p.sysfs, "sysfs", "/sys", "where sysfs is mounted")
	fs.StringVar(&p.proc, "proc", "/proc", "where procfs is mounted")
}

// hostRoot is where the extension's service has the host's root.
const hostRoot = "/host"

// onTheHost makes the defaults, which are below root, those of a daemon that runs on the
// host itself and not in the extension's container: there root does not exist.
func onTheHost(fs *flag.FlagSet, root string) error {
	if _, err := os.Stat(root); !errors.Is(err, os.ErrNotExist) {
		return nil // also when it cannot be known: errors of the paths below it say why
	}
	given := map[string]bool{}
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
	var errs []error
	fs.VisitAll(func(f *flag.Flag) {
		if rest, ok := strings.CutPrefix(f.Value.String(), root); ok && !given[f.Name] {
			errs = append(errs, fs.Set(f.Name, rest))
		}
	})
	return errors.Join(errs...)
}

func (p *paths) bootID() (string, error) {
	data, err := os.ReadFile(filepath.Join(p.proc, "sys/kernel/random/boot_id"))
	if err != nil {
		return "", fmt.Errorf("read the boot id: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}

// network is netlink, unless another sysfs than the machine's own is read:
// then the two would not speak of the same devices.
func (p *paths) network() inventory.Network {
	if p.sysfs != "/sys" {
		return nil
	}
	return nl.Open()
}

// links is what netlink sets, none where network is none.
func (p *paths) links() apply.Links {
	if p.network() == nil {
		return apply.NoLinks{}
	}
	return nl.Open()
}

func (p *paths) podResources() *podresources.Client {
	return podresources.New(filepath.Join(p.kubelet, podresources.Socket))
}

func (a *app) run(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("sriovd run", flag.ContinueOnError)
	var p paths
	p.register(fs)
	debugLog := fs.Bool("debug", false, "log more")
	infoDir := fs.String("device-info-dir", "/host/run/k8s.cni.cncf.io/devinfo/dp", "`directory` for the device-info files that Multus reads; empty: none")
	cdiDir := fs.String("cdi-dir", "/host/run/cdi", "`directory` for the CDI files, with devicePlugin.cdi in the config")
	watcher := fs.Bool("plugin-watcher", false, "let the kubelet find the links to the sockets in its plugins_registry directory")
	cniPlugin := fs.String("cni-plugin", "/sriov-cni", "the CNI plugin that is installed; empty: none")
	optDir := fs.String("opt-dir", "/host/opt", "where the host's /opt is mounted")
	runDir := fs.String("run-dir", "/host/run", "where the host's /run is mounted; the sockets are in sriov in it")
	root := fs.String("host-root", hostRoot, "where the host's root is mounted: what is below it the kubelet sees without it")
	resync := fs.Duration("resync", 0, "how often to reconcile without an event (default 5m)")
	networkWait := fs.Duration("network-wait", 0, "how long a PF must have a link and no address before it counts as not carrying the machine's network (default 10s)")
	if _, err := a.parse(fs, args); err != nil {
		return err
	}
	if err := onTheHost(fs, hostRoot); err != nil {
		return err
	}
	level := slog.LevelInfo
	if *debugLog {
		level = slog.LevelDebug
	}
	// Where the kernel gives huge pages to whoever does not ask (enabled=always),
	// a heap of one megabyte takes four. A kernel that does not know the call
	// loses us memory, nothing else.
	_ = unix.Prctl(unix.PR_SET_THP_DISABLE, 1, 0, 0, 0)
	only, err := a.alone(ctx, filepath.Join(agent.RunDir(*runDir), "lock"), a.logger(level))
	if ctx.Err() != nil && only == nil {
		return nil // stopped before it began
	}
	if err != nil {
		return err
	}
	defer func() { _ = only.Release() }()
	sys, err := sysfs.Open(p.sysfs)
	if err != nil {
		return err
	}
	defer sys.Close()
	boot, err := p.bootID()
	if err != nil {
		return err
	}
	var attachments agent.Attachments
	var locks apply.VFLocks
	if p.network() != nil {
		run, err := attachment.Boot(*runDir)
		if err != nil {
			return err
		}
		plugin := &cni.Plugin{
			Dir: filepath.Join(*root, attachment.DefaultDir), Sysfs: sys, Kernel: cni.HostSide(*runDir), Boot: run,
			Log: a.logger(level).With("component", "orphans"),
		}
		attachments, locks = plugin, plugin
	}
	daemon, err := agent.New(agent.Options{
		Config: p.config, StateDir: p.state, KubeletDir: p.kubelet, Proc: p.proc, Dev: "/dev",
		RunDir: *runDir, HostRoot: *root,
		DeviceInfoDir: *infoDir, CDIDir: *cdiDir, PluginWatcher: *watcher,
		Attachments: attachments, VFLocks: locks,
		CNI:     install.Options{Source: *cniPlugin, OptDir: *optDir, Attachments: filepath.Join(*root, attachment.DefaultDir)},
		Version: version, Log: a.logger(level), Resync: *resync, NetworkWait: *networkWait,
		Sysfs: sys, Network: p.network(), Links: p.links(), Kubelet: p.podResources(), Events: kernelEvents{a.logger(level).With("component", "kernel-events")},
	}, boot)
	if err != nil {
		return err
	}
	return daemon.Run(ctx)
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

func (a *app) plan(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("sriovd plan", flag.ContinueOnError)
	var p paths
	p.register(fs)
	output := fs.String("o", "text", "output `format`: text or json")
	if _, err := a.parse(fs, args); err != nil {
		return err
	}
	if err := onTheHost(fs, hostRoot); err != nil {
		return err
	}
	render := planRenderers()[*output]
	if render == nil {
		return usageError{fmt.Errorf("-o %s: text or json", *output)}
	}
	doc, err := source.Read(p.config)
	if err != nil {
		return err
	}
	var cfg *spec.Config
	hash := ""
	if doc.Present {
		if cfg, err = a.load(spec.LoadFile, doc.Path, doc.Data); err != nil {
			return err
		}
		hash = spec.Hash(doc.Data)
	} else {
		fmt.Fprintf(a.stderr, "sriovd plan: there is no config at %s: nothing is configured\n", p.config)
	}
	sys, err := sysfs.Open(p.sysfs)
	if err != nil {
		return err
	}
	defer sys.Close()
	snap, err := inventory.Read(ctx, sys, p.network())
	if err != nil {
		return err
	}
	if p.network() == nil {
		fmt.Fprintf(a.stderr, "sriovd plan: %s is not this machine's /sys: the plan is one for ports that carry no network of the machine\n", p.sysfs)
		snap.Network.Complete = true
	}
	boot, err := p.bootID()
	if err != nil {
		return err
	}
	rec, damaged := state.Read(p.state)
	if damaged != nil {
		fmt.Fprintf(a.stderr, "sriovd plan: %v\n", damaged)
		rec.Lost = true
	}
	notes := state.ReadAllocations(p.state, boot)
	kubelet := p.podResources().Ask(ctx)
	held := use.Judge(use.Evidence{
		Snapshot: snap, Kubelet: kubelet, Notes: notes.Notes, KubeletSeen: notes.KubeletSeen || kubelet.Answered,
	})
	return render(a.stdout, plan.Compute(plan.Input{
		Config: cfg, SpecHash: hash, Snapshot: snap, Use: held,
		Record: rec, BootID: boot, Quiet: plan.QuietNow(snap),
	}))
}

func (a *app) discover(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("sriovd discover", flag.ContinueOnError)
	root := fs.String("sysfs", "/sys", "where sysfs is mounted")
	output := fs.String("o", "table", "output `format`: table, json or yaml")
	verbose := fs.Bool("v", false, "list each VF (table)")
	if _, err := a.parse(fs, args); err != nil {
		return err
	}
	render := map[string]func(io.Writer, *inventory.Snapshot) error{
		"table": func(w io.Writer, s *inventory.Snapshot) error { return inventory.Table(w, s, *verbose) },
		"json":  inventory.JSON, "yaml": inventory.YAML,
	}[*output]
	if render == nil {
		return usageError{fmt.Errorf("-o %s: table, json or yaml", *output)}
	}
	sys, err := sysfs.Open(*root)
	if err != nil {
		return err
	}
	defer sys.Close()
	p := paths{sysfs: *root}
	snap, err := inventory.Read(ctx, sys, p.network())
	if err != nil {
		return err
	}
	return render(a.stdout, snap)
}

func (a *app) validate(_ context.Context, args []string) error {
	fs := flag.NewFlagSet("sriovd validate", flag.ContinueOnError)
	fs.Usage = func() {
		fmt.Fprintf(a.stderr, "Usage: sriovd validate FILE...   (- is standard input)\n")
		fs.PrintDefaults()
	}
	files, err := a.parse(fs, args)
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return usageError{errors.New("name the files to check; - is standard input")}
	}
	bad := 0
	for _, name := range files {
		data, err := a.readInput(name)
		if err != nil {
			fmt.Fprintf(a.stderr, "sriovd validate: %v\n", err)
			bad++
			continue
		}
		cfg, err := a.load(spec.LoadFile, name, data)
		if err != nil {
			bad++
			continue
		}
		if list := cfg.Warnings(); len(list) > 0 {
			if err := spec.RenderList(a.stderr, name, list, 0, data); err != nil {
				return err
			}
		}
		fmt.Fprintf(a.stdout, "%s: valid, physicalFunctions entries: %d\n", name, len(cfg.PhysicalFunctions))
	}
	if bad > 0 {
		return errReported
	}
	return nil
}

func (a *app) readInput(name string) ([]byte, error) {
	in := a.stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	// One byte more than the limit, so that the check behind it refuses it.
	return io.ReadAll(io.LimitReader(in, source.MaxSize+1))
}

// load loads a config and prints what is wrong with it.
func (a *app) load(load func(string, []byte) (*spec.Config, error), name string, data []byte) (*spec.Config, error) {
	cfg, err := load(name, data)
	var list *spec.Errors
	if !errors.As(err, &list) {
		return cfg, err
	}
	var out bytes.Buffer
	if err := list.Render(&out, data); err != nil {
		return nil, err
	}
	if _, err := a.stderr.Write(out.Bytes()); err != nil {
		return nil, err
	}
	return nil, errReported
}

func (a *app) reference(context.Context, []string) error {
	_, err := a.stdout.Write(spec.Reference())
	return err
}
