package lab

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/talos-sriov/talos-sriov/test/lab/internal/artifact"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/qemu"
)

// Options describe a node. The zero value is the project's own extension on a
// node with two network cards.
type Options struct {
	// Name is the node's name; empty means node-1.
	Name string
	// PFs is the number of network cards, up to 12; zero means 2, -1 none.
	PFs int
	// Extension is a directory with an extension's root filesystem; empty means the
	// project's own, _out/extension/linux-amd64/rootfs.
	Extension string
	// Document is the machine configuration, or patch, with the
	// ExtensionServiceConfig document that the node has when it boots. A restored
	// node gets it when it runs.
	Document string
	// FreshBoot boots the node even if it could be restored.
	FreshBoot bool
	// Modules are loaded at boot as the machine configuration would name them.
	Modules []string
	// NoAutoload are modules that udev does not load by itself.
	NoAutoload []string
	// KernelArgs are added to the kernel's command line.
	KernelArgs []string
	// CPUs are the guest's processors, an even number, half of them on each NUMA
	// node; zero means 2.
	CPUs int
	// Kubelet is the kubelet's version, one of Kubelets; empty means what the
	// environment variable LAB_KUBELET says, or else the newest. The control plane is of
	// the newest version, whichever kubelet a node has.
	Kubelet string
	// KubeletConfig is added to the kubelet's configuration: lines of YAML.
	KubeletConfig string
	// MemoryMB is the guest's memory; zero means 2048. More is slower to boot.
	MemoryMB int
	// Log is where progress lines go; nil means standard error.
	Log io.Writer
}

// Kubelets are the versions of the kubelet that a node can have, oldest first.
func Kubelets() []string { return artifact.Kubelets() }

func (o Options) withDefaults(repo string) (Options, error) {
	if o.Name == "" {
		o.Name = "node-1"
	}
	switch {
	case o.PFs == 0:
		o.PFs = 2
	case o.PFs < 0:
		o.PFs = 0
	case o.PFs > 12:
		return o, fmt.Errorf("%d network cards: QEMU's q35 boots with at most 12 here", o.PFs)
	}
	if o.Extension == "" {
		o.Extension = filepath.Join(repo, "_out/extension/linux-amd64/rootfs")
	}
	if o.Kubelet == "" {
		o.Kubelet = cmp.Or(os.Getenv("LAB_KUBELET"), artifact.KubeVersion)
	}
	if !slices.Contains(Kubelets(), o.Kubelet) {
		return o, fmt.Errorf("kubelet %q: the lab has %s", o.Kubelet, strings.Join(Kubelets(), " and "))
	}
	if o.MemoryMB == 0 {
		o.MemoryMB = 2048
	}
	switch {
	case o.CPUs == 0:
		o.CPUs = 2
	case o.CPUs < 0 || o.CPUs%2 != 0:
		return o, fmt.Errorf("%d CPUs: the guest has two NUMA nodes with as many each", o.CPUs)
	}
	if o.Log == nil {
		o.Log = os.Stderr
	}
	return o, nil
}

// kernelArgs are for the guest's PID 1 and kernel.
func (o Options) kernelArgs() []string {
	args := append([]string{}, o.KernelArgs...)
	if len(o.Modules) > 0 {
		args = append(args, "lab.modules="+strings.Join(o.Modules, ","))
	}
	if len(o.NoAutoload) > 0 {
		args = append(args, "lab.noautoload="+strings.Join(o.NoAutoload, ","))
	}
	return args
}

// identity is what decides whether a saved state fits: the machine that it was
// saved on.
func (o Options) identity() string {
	m := qemu.Machine{Append: o.kernelArgs(), CPUs: o.CPUs, MemoryMB: o.MemoryMB, NICs: qemu.NICs(o.PFs)}
	return fmt.Sprintf("%s %q %q", o.Name, o.KubeletConfig, m.Args())
}
