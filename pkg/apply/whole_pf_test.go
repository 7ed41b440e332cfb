package apply_test

import (
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

func TestEswitch(t *testing.T) {
	for _, pf := range []string{mlx, ice} {
		t.Run(pf, func(t *testing.T) {
			sw := func(n int, m spec.EswitchMode) *spec.Config {
				e := pfEntry(pf, n)
				e.EswitchMode = m
				return doc(e)
			}
			n := newNode(sw(4, spec.EswitchSwitchdev))
			check := func(vfs int, mode string) {
				t.Helper()
				if p := n.converge(t); !p.Done() {
					t.Fatal(text(p))
				}
				got := n.k.Snapshot().PF(pf)
				if got.NumVFs != vfs || got.EswitchMode != mode || mode == "switchdev" && !*got.TCOffload {
					t.Errorf("%d VFs in mode %s: %q", got.NumVFs, got.EswitchMode, n.k.Writes())
				}
				for _, vf := range got.VFs {
					if vf.Driver == "" {
						t.Errorf("VF %d has no driver", vf.Index)
					}
				}
			}
			check(4, "switchdev")
			n.cfg = sw(6, spec.EswitchSwitchdev)
			check(6, "switchdev")
			n.cfg = sw(6, spec.EswitchLegacy)
			check(6, "legacy")
			n.cfg = sw(6, spec.EswitchSwitchdev)
			check(6, "switchdev")
			n.cfg = sw(0, spec.EswitchLegacy)
			check(0, "legacy")
		})
	}
}

func TestEswitchWaitsForPods(t *testing.T) {
	n := newNode(doc(pfEntry(mlx, 3)))
	n.converge(t)
	n.hold("0000:01:00.3")
	e := pfEntry(mlx, 3)
	e.EswitchMode = spec.EswitchSwitchdev
	n.cfg = doc(e)
	n.converge(t)
	if m := n.k.Snapshot().PF(mlx).EswitchMode; m != "legacy" {
		t.Errorf("mode %s", m)
	}
	n.release("0000:01:00.3")
	if p := n.converge(t); !p.Done() {
		t.Fatal(text(p))
	}
	if v := n.k.Violations(); len(v) > 0 {
		t.Error(v)
	}
}

func TestVDPA(t *testing.T) {
	e := pfEntry(mlx, 2, spec.VFGroup{Indexes: indexes(0, 1), VDPA: spec.VDPAVhost})
	e.EswitchMode = spec.EswitchSwitchdev
	n := newNode(doc(e))
	n.k.LoadVDPA("vhost_vdpa")
	n.k.LoadVDPA("virtio_vdpa")
	if p := n.converge(t); !p.Done() {
		t.Fatal(text(p))
	}
	vf := n.k.Snapshot().PF(mlx).VFs[1]
	if vf.VDPA == nil || vf.VDPA.Driver != "vhost_vdpa" || vf.VDPA.Name != "vdpa:"+vf.Address {
		t.Errorf("%+v", vf.VDPA)
	}
	n.cfg.PhysicalFunctions[0].VirtualFunctions[0].VDPA = spec.VDPAVirtio
	n.converge(t)
	if d := n.k.Snapshot().PF(mlx).VFs[0].VDPA.Driver; d != "virtio_vdpa" {
		t.Error(d)
	}
	n.cfg.PhysicalFunctions[0].VirtualFunctions = nil
	n.converge(t)
	if d := n.k.Snapshot().PF(mlx).VFs[0].VDPA; d != nil {
		t.Error(d)
	}
}

func TestGUIDsAndRDMA(t *testing.T) {
	guid := net.HardwareAddr{2, 0, 0, 0, 0, 0, 0, 9}
	n := newNode(doc(pfEntry(mlx, 1, spec.VFGroup{Indexes: indexes(0, 0), RDMA: true,
		GUIDs: spec.GUIDPolicy{Mode: spec.MACList, List: []net.HardwareAddr{guid}}})))
	if p := n.converge(t); !p.Done() {
		t.Fatal(text(p))
	}
	vf := n.k.Snapshot().PF(mlx).VFs[0]
	if vf.Admin.NodeGUID != guid.String() || vf.Admin.PortGUID != guid.String() || len(vf.RDMA) != 1 {
		t.Errorf("%+v", vf)
	}
}

// TestReset: what we made goes when the PF leaves the config, what we did not
// make stays.
func TestReset(t *testing.T) {
	n := newNode(nil)
	if err := n.k.Write(numVFs(pf1), "3"); err != nil {
		t.Fatal(err)
	}
	e := pfEntry(pf0, 4)
	e.MTU = ptr(9000)
	other := pfEntry(pf1, 3)
	other.MTU = ptr(2000)
	n.cfg = doc(e, other)
	n.converge(t)
	n.hold("0000:21:10.4")
	n.cfg = doc()
	p := n.converge(t)
	if s := n.k.Snapshot(); s.PF(pf0).NumVFs != 4 || s.PF(pf1).Netdevs[0].MTU != 1500 || s.PF(pf1).NumVFs != 3 {
		t.Errorf("PF with a pod has %d VFs; the other has MTU %d and %d VFs", s.PF(pf0).NumVFs, s.PF(pf1).Netdevs[0].MTU, s.PF(pf1).NumVFs)
	}
	if !strings.Contains(text(p), "waits for pod default/p") {
		t.Error(text(p))
	}
	n.release("0000:21:10.4")
	p = n.converge(t)
	if pf := n.k.Snapshot().PF(pf0); pf.NumVFs != 0 || pf.Netdevs[0].MTU != 1500 || len(p.PFs) != 0 {
		t.Errorf("%d VFs, MTU %d: %s", pf.NumVFs, pf.Netdevs[0].MTU, text(p))
	}
	// By hand now: none of ours.
	if err := n.k.Write(numVFs(pf0), "4"); err != nil {
		t.Fatal(err)
	}
	n.converge(t)
	if pf := n.k.Snapshot().PF(pf0); pf.NumVFs != 4 {
		t.Error("VFs that somebody made by hand were taken away")
	}
	if v := n.k.Violations(); len(v) > 0 {
		t.Error(v)
	}
}

func TestExternallyManaged(t *testing.T) {
	e := pfEntry(pf0, 2, everything())
	e.ExternallyManaged = true
	e.VirtualFunctions[0].Indexes = indexes(0, 1)
	e.VirtualFunctions[0].MTU = nil
	n := newNode(doc(e))
	if p := n.converge(t); len(p.PFs[0].Problems) != 1 || !p.PFs[0].Problems[0].Pending {
		t.Fatal(text(p))
	}
	if err := n.k.Write(numVFs(pf0), "3"); err != nil {
		t.Fatal(err)
	}
	if p := n.converge(t); !p.Done() {
		t.Fatal(text(p))
	}
	pf := n.k.Snapshot().PF(pf0)
	if pf.NumVFs != 3 || !pf.VFs[1].Admin.Trust || pf.VFs[2].Admin.Trust {
		t.Errorf("%+v", pf.VFs)
	}
}

// TestResetOfDrivers: VFs that somebody else made stay when their PF leaves the
// config, and get the kernel's driver back where we took it; a VF that a pod
// has, when the pod is gone.
func TestResetOfDrivers(t *testing.T) {
	e := pfEntry(pf0, 3, spec.VFGroup{Indexes: indexes(0, 1), Driver: spec.DriverVFIO})
	e.ExternallyManaged = true
	n := newNode(doc(e))
	if err := n.k.Write(numVFs(pf0), "4"); err != nil {
		t.Fatal(err)
	}
	drivers := func() (out []string) {
		for _, vf := range n.k.Snapshot().PF(pf0).VFs {
			out = append(out, vf.Driver+" "+vf.DriverOverride)
		}
		return out
	}
	if err := n.k.Write("bus/pci/devices/0000:21:10.6/driver_override", "igbvf"); err != nil {
		t.Fatal(err)
	}
	n.converge(t)
	if d := cmp.Diff([]string{"vfio-pci vfio-pci", "vfio-pci vfio-pci", "igbvf ", "igbvf igbvf"}, drivers()); d != "" {
		t.Fatal(d)
	}
	n.hold("0000:21:10.2") // VF 1
	n.cfg = doc()
	p := n.converge(t)
	if d := cmp.Diff([]string{"igbvf ", "vfio-pci vfio-pci", "igbvf ", "igbvf igbvf"}, drivers()); d != "" {
		t.Errorf("while a pod has VF 1: %s\n%s", d, text(p))
	}
	n.release("0000:21:10.2")
	p = n.converge(t)
	if d := cmp.Diff([]string{"igbvf ", "igbvf ", "igbvf ", "igbvf igbvf"}, drivers()); d != "" || len(p.PFs) != 0 {
		t.Errorf("at the end: %s\n%s", d, text(p))
	}
	if v := n.k.Violations(); len(v) > 0 {
		t.Error(v)
	}
}
