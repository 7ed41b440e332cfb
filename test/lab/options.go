package lab

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/talos-sriov/talos-sriov/test/lab/internal/arch"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/artifact"
)

// Options describe a node. The zero value is the newest Talos with the project's own
// extension and two network cards.
type Options struct {
	// Name is the node's name; empty means node-1.
	Name string
	// Version is the version of Talos, one of Versions; empty means what the environment
	// variable LAB_TALOS says, or else the newest.
	Version string
	// PFs is the number of network cards, up to 12; zero means 2, -1 none.
	PFs int
	// Extensions are directories that have manifest.yaml and rootfs; nil means the
	// project's own.
	Extensions []string
	// Document is patched into the machine config that the node boots with.
	Document string
	// FreshBoot boots the node even if it could be restored.
	FreshBoot bool
	// KernelArgs are arguments of the kernel, each in the place of the lab's own of that
	// name. With them the node is booted, as with a Document.
	KernelArgs []string
	// CPUs are the guest's processors, an even number, half of them on each NUMA node;
	// zero means 2.
	CPUs int
	// MemoryMB is the guest's memory; zero means 2048.
	MemoryMB int
	// Log is where progress lines go; nil means standard error.
	Log io.Writer
}

// Version is the version that a node has by default.
func Version() string {
	v := Versions()
	return cmp.Or(os.Getenv("LAB_TALOS"), v[len(v)-1])
}

// Versions are the versions of Talos that a node can have, oldest first.
func Versions() []string { return artifact.TalosVersions() }

func (o Options) withDefaults(repo string) (Options, error) {
	if o.Name == "" {
		o.Name = "node-1"
	}
	o.Version = cmp.Or(o.Version, Version())
	switch {
	case o.PFs == 0:
		o.PFs = 2
	case o.PFs < 0:
		o.PFs = 0
	case o.PFs > 12:
		return o, fmt.Errorf("%d network cards: QEMU's q35 boots with at most 12 here", o.PFs)
	}
	if o.Extensions == nil {
		o.Extensions = []string{filepath.Join(repo, "_out/extension/linux-"+string(arch.Host))}
	}
	switch {
	case o.CPUs == 0:
		o.CPUs = 2
	case o.CPUs < 0 || o.CPUs%2 != 0:
		return o, fmt.Errorf("%d CPUs: the guest has two NUMA nodes with as many each", o.CPUs)
	}
	if o.MemoryMB == 0 {
		o.MemoryMB = 2048
	}
	if o.Log == nil {
		o.Log = os.Stderr
	}
	return o, nil
}
