package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/talos-sriov/talos-sriov/pkg/apply"
	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/nl"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/state"
	"github.com/talos-sriov/talos-sriov/pkg/use/podresources"
)

// paths are where the daemon finds the machine; the defaults are those of the
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
