package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/talos-sriov/talos-sriov/pkg/apply"
	"github.com/talos-sriov/talos-sriov/pkg/inventory"
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
	in, err := a.planInput(ctx, &p)
	if err != nil {
		return err
	}
	return render(a.stdout, plan.Compute(in))
}

// planInput reads the config and the machine as the daemon does.
func (a *app) planInput(ctx context.Context, p *paths) (plan.Input, error) {
	cfg, hash, err := a.readConfig(p.config)
	if err != nil {
		return plan.Input{}, err
	}
	sys, err := sysfs.Open(p.sysfs)
	if err != nil {
		return plan.Input{}, err
	}
	defer sys.Close()
	snap, err := inventory.Read(ctx, sys, p.network())
	if err != nil {
		return plan.Input{}, err
	}
	if p.network() == nil {
		fmt.Fprintf(a.stderr, "sriovd plan: %s is not this machine's /sys: the plan is one for ports that carry no network of the machine\n", p.sysfs)
		snap.Network.Complete = true
	}
	boot, err := p.bootID()
	if err != nil {
		return plan.Input{}, err
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
	return plan.Input{
		Config: cfg, SpecHash: hash, Snapshot: snap, Use: held,
		Record: rec, BootID: boot, Quiet: plan.QuietNow(snap),
	}, nil
}

// readConfig is the config of the node with its hash, nil when there is none.
func (a *app) readConfig(path string) (*spec.Config, string, error) {
	found, err := source.Read(path)
	if err != nil {
		return nil, "", err
	}
	if !found.Present {
		fmt.Fprintf(a.stderr, "sriovd plan: there is no config at %s: nothing is configured\n", path)
		return nil, "", nil
	}
	cfg, err := a.load(found.Path, found.Data)
	if err != nil {
		return nil, "", err
	}
	return cfg, spec.Hash(found.Data), nil
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
		cfg, err := a.load(name, data)
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
func (a *app) load(name string, data []byte) (*spec.Config, error) {
	cfg, err := spec.LoadFile(name, data)
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
