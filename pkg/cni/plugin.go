package cni

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"

	"github.com/talos-sriov/talos-sriov/pkg/cni/attachment"
	"github.com/talos-sriov/talos-sriov/pkg/cni/fault"
	"github.com/talos-sriov/talos-sriov/pkg/nl"
	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
)

// IPAM manages addresses; stdin is the plugin's own, unchanged.
type IPAM interface {
	// Find returns an error when the plugin's program is not there.
	Find(plugin string) error
	Add(ctx context.Context, plugin string, stdin []byte) (types.Result, error)
	// Run has the plugin do a command without a result: DEL, CHECK, STATUS, GC.
	Run(ctx context.Context, command, plugin string, stdin []byte) error
}

// Plugin answers the CNI commands. All fields but Kubelet and Sleep must be
// set.
type Plugin struct {
	Dir    string // of attachments
	Sysfs  sysfs.Tree
	Kernel Kernel
	IPAM   IPAM
	Boot   attachment.BootInfo
	Log    *slog.Logger
	// Kubelet is the kubelet's checkpoint of devices, "" not to read it. It is read
	// for the text of one error only.
	Kubelet string
	// Sleep waits between two reads of what sends no event.
	Sleep func(context.Context, time.Duration) error
}

func (p *Plugin) store() *attachment.Store {
	return &attachment.Store{Dir: p.Dir, Pause: p.pause}
}

func (p *Plugin) pause(ctx context.Context, d time.Duration) error {
	if p.Sleep != nil {
		return p.Sleep(ctx, d)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// openPod opens the namespace that the runtime named.
func (p *Plugin) openPod(args *skel.CmdArgs) (NS, error) {
	pod, err := p.Kernel.Open(args.Netns)
	if err != nil {
		return nil, fault.Wrapf(err, fault.CodeBadNetns, "the pod's sandbox is gone, or /var/run/netns is not mounted into the caller (Multus on Talos)",
			"CNI_NETNS %s", args.Netns)
	}
	podID, err := pod.ID()
	hostID, hostErr := p.Kernel.Host().ID()
	if err := errors.Join(err, hostErr); err != nil {
		return nil, errors.Join(fault.Wrapf(err, fault.CodeBadNetns, "", "CNI_NETNS %s", args.Netns), pod.Close())
	}
	override := strings.ToUpper(args.NetnsOverride)
	if podID == hostID && override != "TRUE" && override != "1" {
		return nil, errors.Join(fault.Newf(fault.CodeBadNetns, "a pod with hostNetwork has the host's interfaces already; it gets no VF",
			"CNI_NETNS %s is the plugin's own network namespace", args.Netns), pod.Close())
	}
	return pod, nil
}

// alive reports whether path is a network namespace now.
func (p *Plugin) alive(path string) bool {
	if path == "" {
		return false
	}
	ns, err := p.Kernel.Open(path)
	if err != nil {
		// Anything but a clear no counts as somebody's.
		return !errors.Is(err, ErrNoNamespace)
	}
	if err := ns.Close(); err != nil {
		p.Log.Warn("cannot close network namespace", "path", path, "err", err)
	}
	return true
}

// findLink finds the VF's interface in the pod's namespace: by its PCI device, or,
// on kernels that do not report it (before 5.14), by name.
func findLink(ctx context.Context, pod NS, a *attachment.Attachment) (l nl.Link, ok bool, err error) {
	links, err := pod.Links(ctx)
	if err != nil {
		return nl.Link{}, false, err
	}
	name := a.Extra.IfName
	for _, l := range links {
		if l.ParentDev == a.DeviceID || l.ParentDev == "" && name != "" && l.Name == name && l.Kind == "" && !l.Loopback {
			return l, true, nil
		}
	}
	return nl.Link{}, false, nil
}
