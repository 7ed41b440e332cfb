package cni

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"

	"github.com/talos-sriov/talos-sriov/pkg/nl"
	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
)

// IPAM manages addresses; stdin is the plugin's own, unchanged.
type IPAM interface {
	// Find returns an error when the plugin's program is not there.
	Find(plugin string) error
	Add(ctx context.Context, plugin string, stdin []byte) (types.Result, error)
	Del(ctx context.Context, plugin string, stdin []byte) error
	Check(ctx context.Context, plugin string, stdin []byte) error
	Status(ctx context.Context, plugin string, stdin []byte) error
	GC(ctx context.Context, plugin string, stdin []byte) error
}

// Plugin answers the CNI commands. All fields but Log,
// Kubelet and Sleep must be set.
type Plugin struct {
	Dir    string // state folder
	Sysfs  sysfs.Tree
	Kernel Kernel
	IPAM   IPAM
	Boot   BootInfo
	Log    *slog.Logger
	// Kubelet is the kubelet's checkpoint of devices, "" not to look. It is read
	// for the words of one error only.
	Kubelet string
	// Sleep waits between two looks at something that gives no notice.
	Sleep func(context.Context, time.Duration) error
}

func (p *Plugin) store() *Store { return &Store{dir: p.Dir, sleep: p.pause} }

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

func (p *Plugin) log() *slog.Logger {
	if p.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return p.Log
}

// openPod opens the namespace that the runtime named.
func (p *Plugin) openPod(args *skel.CmdArgs) (NS, error) {
	pod, err := p.Kernel.Open(args.Netns)
	if err != nil {
		return nil, wrapf(err, CodeBadNetns, "the pod's sandbox is gone, or /var/run/netns is not mounted into the caller (Multus on Talos)",
			"CNI_NETNS %s", args.Netns)
	}
	podID, err := pod.ID()
	hostID, hostErr := p.Kernel.Host().ID()
	if err := errors.Join(err, hostErr); err != nil {
		return nil, errors.Join(wrapf(err, CodeBadNetns, "", "CNI_NETNS %s", args.Netns), pod.Close())
	}
	override := strings.ToUpper(args.NetnsOverride)
	if podID == hostID && override != "TRUE" && override != "1" {
		return nil, errors.Join(faultf(CodeBadNetns, "a pod with hostNetwork has the host's interfaces already; it gets no VF",
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
		p.log().Warn("close network namespace", "path", path, "err", err)
	}
	return true
}

// findLink finds the VF's interface in a namespace: by its PCI device, or, on
// kernels that do not tell it (before 5.14), by name.
func findLink(ctx context.Context, ns NS, addr, name string) (l nl.Link, ok bool, err error) {
	links, err := ns.Links(ctx)
	if err != nil {
		return nl.Link{}, false, err
	}
	for _, l := range links {
		if l.ParentDev == addr || l.ParentDev == "" && name != "" && l.Name == name && l.Kind == "" && !l.Loopback {
			return l, true, nil
		}
	}
	return nl.Link{}, false, nil
}

// setMAC gives the interface an address and looks whether it took: drivers of
// VFs ask the PF's, some of them after they have answered.
func (p *Plugin) setMAC(ctx context.Context, ns NS, index int, mac net.HardwareAddr) error {
	ref := nl.LinkRef{Index: index}
	const tries, between = 20, 100 * time.Millisecond
	var err error
	for range tries {
		var l nl.Link
		if l, err = ns.Link(ctx, ref); err != nil {
			return err
		}
		if l.MAC.String() == mac.String() {
			return nil
		}
		if err = ns.SetMAC(ctx, ref, mac); err != nil {
			return err
		}
		if l, err = ns.Link(ctx, ref); err != nil {
			return err
		}
		if l.MAC.String() == mac.String() {
			return nil
		}
		if err = p.pause(ctx, between); err != nil {
			return err
		}
	}
	return fmt.Errorf("the driver accepted MAC %s and did not take it on within %s", mac, tries*between)
}

// vfInfo is what the PF holds for the VF; ok is false when its driver reports
// nothing.
func vfInfo(ctx context.Context, host NS, vf VF) (info nl.VFInfo, ok bool, err error) {
	all, err := host.VFs(ctx, nl.LinkRef{Name: vf.Master})
	if err != nil {
		return nl.VFInfo{}, false, err
	}
	for _, v := range all {
		if v.Index == vf.Index {
			return v, true, nil
		}
	}
	return nl.VFInfo{}, false, nil
}
