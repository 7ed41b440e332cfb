package cni_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	cni100 "github.com/containernetworking/cni/pkg/types/100"
	"golang.org/x/sys/unix"
	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"github.com/talos-sriov/talos-sriov/pkg/cni"
	"github.com/talos-sriov/talos-sriov/pkg/cni/attachment"
	"github.com/talos-sriov/talos-sriov/pkg/deviceplugin"
	"github.com/talos-sriov/talos-sriov/pkg/internal/kubelettest"
	"github.com/talos-sriov/talos-sriov/pkg/internal/modelkernel"
	"github.com/talos-sriov/talos-sriov/pkg/nl"
	"github.com/talos-sriov/talos-sriov/pkg/pool"
	"github.com/talos-sriov/talos-sriov/pkg/selection"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
)

// What a pool offers, the CNI plugin accepts: a device of each kind goes the whole
// way, from the machine through the pool and the kubelet's Allocate, with the address
// that the container and the device-info file name, into ADD, CHECK and DEL.
func TestWhatAPoolOffersIsAccepted(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, pf, driver string
		vf               int
		group            spec.VFGroup
		interfaces       int // that the pod gets
	}{
		{name: "netdevice", pf: "ens1f0", vf: 1, interfaces: 1},
		{name: "rdma", pf: "enp1s0f0np0", vf: 1, group: spec.VFGroup{RDMA: true}, interfaces: 1},
		{name: "vfio", pf: "enp33s0", vf: 0},
		{name: "vfio of the maker", pf: "enp1s0f0np0", vf: 1, driver: "mlx5_vfio_pci"},
		{name: "uio", pf: "enp33s0", vf: 1},
		{name: "vhost-net", pf: "ens1f0", vf: 2, group: spec.VFGroup{VhostNet: true}, interfaces: 1},
		{name: "vdpa", pf: "enp1s0f0np0", vf: 0, group: spec.VFGroup{VDPA: spec.VDPAVhost}, interfaces: 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			const resource = "example.com/pool"
			k := modelkernel.Full()
			if tc.driver != "" {
				rebind(t, k, tc.pf, tc.vf, tc.driver)
			}
			tc.group.Indexes, tc.group.ResourceName = spec.IndexSet{tc.vf}, resource
			cfg := &spec.Config{PhysicalFunctions: []spec.PhysicalFunction{{
				Match: spec.Match{Names: []string{tc.pf}}, VirtualFunctions: []spec.VFGroup{tc.group},
			}}}
			snap := k.Snapshot()
			device := allocate(t, pool.Assign(cfg, snap, selection.PFs(cfg, snap)), resource)

			m := &podMachine{Kernel: k}
			p := &cni.Plugin{Dir: t.TempDir(), Sysfs: k, Kernel: m, Log: slog.New(slog.DiscardHandler), Boot: attachment.BootInfo{ID: "boot-1"}}
			args := &skel.CmdArgs{ContainerID: "c1", Netns: "/ns/pod", IfName: "net1", StdinData: fmt.Appendf(nil,
				`{"cniVersion":"1.1.0","name":"net","type":"sriov","deviceID":%q,"vlan":7,"mac":"02:00:00:00:00:aa","rdma":%v}`, device, tc.group.RDMA)}
			out, err := p.Add(t.Context(), args)
			if err != nil {
				t.Fatalf("ADD: %v", err)
			}
			result, err := cni100.NewResultFromResult(out)
			if err != nil || len(result.Interfaces) != 1 || result.Interfaces[0].PciID != device || result.Interfaces[0].Mac != "02:00:00:00:00:aa" {
				t.Errorf("the result is %+v, %v", out, err)
			}
			if len(m.moved) != tc.interfaces {
				t.Errorf("the pod has interfaces %+v, want %d", m.moved, tc.interfaces)
			}
			if err := p.Check(t.Context(), args); err != nil {
				t.Errorf("CHECK: %v", err)
			}
			if err := p.Del(t.Context(), args); err != nil {
				t.Errorf("DEL: %v", err)
			}
			if len(m.moved) != 0 {
				t.Errorf("the pod keeps %+v", m.moved)
			}
		})
	}
}

// rebind gives a VF another driver.
func rebind(t *testing.T, k *modelkernel.Kernel, pf string, index int, driver string) {
	t.Helper()
	k.AddDriver(modelkernel.Driver{Name: driver, Loaded: true})
	for _, f := range k.Snapshot().PFs {
		if len(f.Netdevs) == 0 || f.Netdevs[0].Name != pf {
			continue
		}
		vf := f.VFs[index]
		if err := errors.Join(k.Write(sysfs.DriverUnbind(vf.Driver), vf.Address), k.Write(sysfs.DriverOverride(vf.Address), driver),
			k.Write(sysfs.DriversProbe(), vf.Address)); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatalf("no PF %s", pf)
}

// allocate has the kubelet allocate the pool's one device, and gives its address as
// the pod and its network plugins get it.
func allocate(t *testing.T, a *pool.Assignment, resource string) string {
	t.Helper()
	root, infos := kubelettest.Dir(t), t.TempDir()
	kubelet := kubelettest.New(t, root)
	kubelet.Start()
	m := deviceplugin.NewManager(deviceplugin.Options{
		KubeletDir: root, SocketDir: filepath.Join(root, "sriov"), DeviceInfoDir: infos, Log: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("device plugin: %v", err)
		}
		kubelet.Stop()
	}()
	m.Update(a)
	kubelet.Wait(resource, "one device", func(r kubelettest.Resource) bool { return r.Connected && len(r.Devices) == 1 })
	id := a.Pool(resource).Devices[0].ID
	call, end := context.WithTimeout(ctx, 10*time.Second)
	defer end()
	resp, err := kubelet.Client(resource).Allocate(call, &v1beta1.AllocateRequest{
		ContainerRequests: []*v1beta1.ContainerAllocateRequest{{DevicesIds: []string{id}}},
	})
	if err != nil {
		t.Fatalf("Allocate: %v", err)
	}
	b, err := os.ReadFile(filepath.Join(infos, deviceplugin.InfoName(resource, id)))
	if err != nil {
		t.Fatal(err)
	}
	var info pool.DeviceInfo
	if err := json.Unmarshal(b, &info); err != nil {
		t.Fatal(err)
	}
	address := ""
	switch {
	case info.PCI != nil:
		address = info.PCI.Address
	case info.VDPA != nil:
		address = info.VDPA.PCIAddress
	}
	if env := resp.GetContainerResponses()[0].GetEnvs()[spec.EnvName(resource)]; env != id || address != id {
		t.Errorf("the kubelet knows the device as %q, the container as %q, the device-info file as %q", id, env, address)
	}
	return id
}

// podMachine is the model kernel with one pod's network namespace.
type podMachine struct {
	*modelkernel.Kernel
	moved []nl.Link // the pod's interfaces
}

func (m *podMachine) Host() cni.NS { return hostNS{m: m} }

func (m *podMachine) Open(string) (cni.NS, error) { return podNS{m: m}, nil }

// hostNS is the host's namespace. A call that it does not have is a nil dereference.
type hostNS struct {
	cni.NS
	m *podMachine
}

func (hostNS) ID() (string, error) { return "host", nil }

func (n hostNS) Links(ctx context.Context) ([]nl.Link, error) { return n.m.Kernel.Links(ctx) }

func (n hostNS) Link(ctx context.Context, ref nl.LinkRef) (nl.Link, error) {
	links, err := n.Links(ctx)
	if err != nil {
		return nl.Link{}, err
	}
	return find(links, ref)
}

func find(links []nl.Link, ref nl.LinkRef) (nl.Link, error) {
	for _, l := range links {
		if ref.Index != 0 && l.Index == ref.Index || ref.Index == 0 && l.Name == ref.Name {
			return l, nil
		}
	}
	return nl.Link{}, &nl.Error{Op: "find", Target: ref.String(), Err: unix.ENODEV}
}

// on calls f with the index of the interface, which the model selects by.
func (n hostNS) on(ctx context.Context, ref nl.LinkRef, f func(nl.LinkRef) error) error {
	l, err := n.Link(ctx, ref)
	if err != nil {
		return err
	}
	return f(nl.LinkRef{Index: l.Index, Name: l.Name})
}

func (n hostNS) VFs(ctx context.Context, pf nl.LinkRef) (out []nl.VFInfo, err error) {
	err = n.on(ctx, pf, func(pf nl.LinkRef) error { out, err = n.m.Kernel.VFs(ctx, pf); return err })
	return out, err
}

func (n hostNS) SetVFMAC(ctx context.Context, pf nl.LinkRef, vf int, mac net.HardwareAddr) error {
	return n.on(ctx, pf, func(pf nl.LinkRef) error { return n.m.Kernel.SetVFMAC(ctx, pf, vf, mac) })
}

func (n hostNS) SetVFVLAN(ctx context.Context, pf nl.LinkRef, vf int, vlan nl.VLAN) error {
	return n.on(ctx, pf, func(pf nl.LinkRef) error { return n.m.Kernel.SetVFVLAN(ctx, pf, vf, vlan) })
}

// SetMAC has no effect in the model: the VF keeps the address that the PF gave.
func (n hostNS) SetMAC(context.Context, nl.LinkRef, net.HardwareAddr) error {
	return &nl.Error{Op: "set MAC", Err: unix.EADDRNOTAVAIL}
}

func (n hostNS) SetVFTrust(ctx context.Context, pf nl.LinkRef, vf int, on bool) error {
	return n.on(ctx, pf, func(pf nl.LinkRef) error { return n.m.Kernel.SetVFTrust(ctx, pf, vf, on) })
}

func (n hostNS) SetUp(ctx context.Context, ref nl.LinkRef, up bool) error {
	return n.on(ctx, ref, func(ref nl.LinkRef) error { return n.m.Kernel.SetUp(ctx, ref, up) })
}

func (n hostNS) RDMANetnsMode(ctx context.Context) (nl.RDMANetnsMode, error) {
	return n.m.Kernel.RDMANetnsMode(ctx)
}

func (n hostNS) MoveLink(ctx context.Context, ref nl.LinkRef, _ cni.NS, name string) error {
	l, err := n.Link(ctx, ref)
	if err != nil {
		return err
	}
	n.m.Hold(l.ParentDev, "pod")
	l.Name, l.Up = name, false
	n.m.moved = append(n.m.moved, l)
	return nil
}

// podNS is the pod's namespace.
type podNS struct {
	cni.NS
	m *podMachine
}

func (podNS) ID() (string, error) { return "pod", nil }
func (podNS) Close() error        { return nil }

func (n podNS) Links(context.Context) ([]nl.Link, error) { return n.m.moved, nil }

func (n podNS) Link(_ context.Context, ref nl.LinkRef) (nl.Link, error) { return find(n.m.moved, ref) }

func (n podNS) set(ref nl.LinkRef, f func(*nl.Link)) error {
	for i := range n.m.moved {
		if n.m.moved[i].Index == ref.Index {
			f(&n.m.moved[i])
			return nil
		}
	}
	return &nl.Error{Op: "find", Target: ref.String(), Err: unix.ENODEV}
}

func (n podNS) SetUp(_ context.Context, ref nl.LinkRef, up bool) error {
	return n.set(ref, func(l *nl.Link) { l.Up = up })
}

func (n podNS) SetMAC(_ context.Context, ref nl.LinkRef, mac net.HardwareAddr) error {
	return n.set(ref, func(l *nl.Link) { l.MAC = mac })
}

func (podNS) SetSysctl(context.Context, string, string) error { return nil }

func (n podNS) MoveLink(_ context.Context, ref nl.LinkRef, _ cni.NS, _ string) error {
	l, err := find(n.m.moved, ref)
	if err != nil {
		return err
	}
	n.m.moved = nil
	n.m.Release(l.ParentDev)
	return nil
}
