package apply_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/talos-sriov/talos-sriov/pkg/apply"
	"github.com/talos-sriov/talos-sriov/pkg/internal/modelkernel"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

// TestPartition is the config of the design: netdevs beside vfio on one PF.
func TestPartition(t *testing.T) {
	n := newNode(doc(pfEntry(pf0, 5,
		spec.VFGroup{Indexes: indexes(0, 1), Driver: spec.DriverVFIO},
		spec.VFGroup{Indexes: indexes(4, 4), Driver: spec.DriverNone})))
	if p := n.converge(t); !p.Done() {
		t.Fatal(text(p))
	}
	pf := n.k.Snapshot().PF(pf0)
	want := []string{"vfio-pci", "vfio-pci", "igbvf", "igbvf", ""}
	for i, w := range want {
		if got := pf.VFs[i].Driver; got != w {
			t.Errorf("VF %d has driver %q, want %q", i, got, w)
		}
	}
	if !pf.AutoProbe {
		t.Error("autoprobe is left off though VFs are for the kernel's driver")
	}
	for _, w := range n.k.Writes() {
		if strings.Contains(w, "unbind") {
			t.Errorf("a new VF was bound to the wrong driver first: %s", w)
		}
	}
	// Back to the default driver.
	n.cfg = doc(pfEntry(pf0, 5))
	if p := n.converge(t); !p.Done() {
		t.Fatal(text(p))
	}
	for _, vf := range n.k.Snapshot().PF(pf0).VFs {
		if vf.Driver != "igbvf" || vf.DriverOverride != "" {
			t.Errorf("VF %d: driver %q, override %q", vf.Index, vf.Driver, vf.DriverOverride)
		}
	}
}

func TestAllUserspaceLeavesAutoprobeOff(t *testing.T) {
	n := newNode(doc(pfEntry(pf0, 3, spec.VFGroup{Indexes: indexes(0, 2), Driver: spec.DriverVFIO})))
	n.converge(t)
	if n.k.Snapshot().PF(pf0).AutoProbe {
		t.Error("autoprobe is on")
	}
}

// TestModuleComesLater: vfio-pci is named by the machine config and loads after
// us.
func TestModuleComesLater(t *testing.T) {
	n := newNode(nil)
	n.k = modelkernel.New(slices.DeleteFunc(modelkernel.Standard(), func(d modelkernel.Driver) bool { return d.Name == "vfio-pci" })...)
	n.k.AddDriver(modelkernel.Driver{Name: "vfio-pci"})
	n.k.AddPF(modelkernel.PF{Address: pf0, Vendor: "8086", Device: "10c9", VFDevice: "10ca", Driver: "igb", Total: 7, Name: "enp33s0", MAC: "52:54:00:00:00:01"})
	n.cfg = doc(pfEntry(pf0, 2, spec.VFGroup{Indexes: indexes(0, 1), Driver: spec.DriverVFIO}))
	n.start()
	p := n.converge(t)
	if len(p.PFs[0].Problems) != 1 || !p.PFs[0].Problems[0].Pending || !strings.Contains(text(p), "vfio_pci") {
		t.Fatalf("not pending: %s", text(p))
	}
	n.k.Load("vfio-pci")
	if p := n.converge(t); !p.Done() {
		t.Fatal(text(p))
	}
	for _, vf := range n.k.Snapshot().PF(pf0).VFs {
		if vf.Driver != "vfio-pci" {
			t.Errorf("VF %d: %q", vf.Index, vf.Driver)
		}
	}
}

// TestHeldVFKeepsItsDriver: the change waits for the pod of that VF only.
func TestHeldVFKeepsItsDriver(t *testing.T) {
	n := newNode(doc(pfEntry(pf0, 3)))
	n.converge(t)
	n.hold("0000:21:10.2") // VF 1
	n.cfg = doc(pfEntry(pf0, 3, spec.VFGroup{Indexes: indexes(0, 1), Driver: spec.DriverVFIO}))
	p := n.converge(t)
	got := n.k.Snapshot().PF(pf0)
	if got.VFs[0].Driver != "vfio-pci" || got.VFs[1].Driver != "igbvf" {
		t.Errorf("drivers %q %q", got.VFs[0].Driver, got.VFs[1].Driver)
	}
	if !strings.Contains(text(p), "waits for pod default/p") {
		t.Error(text(p))
	}
	if d := cmp.Diff([]string{"0000:21:10.2"}, p.PFs[0].Withdraw); d != "" {
		t.Error(d)
	}
	n.release("0000:21:10.2")
	if p := n.converge(t); !p.Done() {
		t.Fatal(text(p))
	}
	if v := n.k.Violations(); len(v) > 0 {
		t.Error(v)
	}
}

// TestDriverThatDoesNotBind: the kernel answers the probe with success anyway.
func TestDriverThatDoesNotBind(t *testing.T) {
	n := newNode(doc(pfEntry(pf0, 2, spec.VFGroup{Indexes: indexes(0, 0), Driver: spec.DriverVFIO})))
	n.k.AddDriver(modelkernel.Driver{Name: "vfio-pci", Loaded: true, Reject: true})
	err := n.a.Run(t.Context(), n.plan()).Err()
	if !errors.Is(err, apply.ErrNotBound) || !strings.Contains(err.Error(), "IOMMU") {
		t.Errorf("%v", err)
	}
	if vf := n.k.Snapshot().PF(pf0).VFs[1]; vf.Driver != "igbvf" {
		t.Errorf("the other group's VF has driver %q", vf.Driver)
	}
}
