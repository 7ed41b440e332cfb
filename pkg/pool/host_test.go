package pool_test

import (
	"strings"
	"testing"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/nic"
	"github.com/talos-sriov/talos-sriov/pkg/pool"
	"github.com/talos-sriov/talos-sriov/pkg/selection"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

func find(t *testing.T, a *pool.Assignment, id string) pool.Device {
	t.Helper()
	for _, p := range a.Pools {
		for _, d := range p.Devices {
			if d.ID == id {
				return d
			}
		}
	}
	t.Fatalf("no device %s in %v", id, show(a))
	return pool.Device{}
}

// wantUnhealthy checks that the device is not allocatable, and that the reason
// says each of the texts.
func wantUnhealthy(t *testing.T, d pool.Device, texts ...string) {
	t.Helper()
	if d.Healthy || d.Reason.Text == "" {
		t.Errorf("%s is allocatable", d.ID)
	}
	for _, w := range texts {
		if !strings.Contains(d.Reason.Text, w) {
			t.Errorf("%s: the reason %q does not say %q", d.ID, d.Reason.Text, w)
		}
	}
}

// What carries the host's own network is not given to a pod, in either
// vocabulary: the CNI plugin would move it away.
func TestHostsOwnDevicesAreNotAllocatable(t *testing.T) {
	const how = "is below bond0 (bond), which carries the IPv4 default route"
	e := entry("ens1f0", 8, "x.y/all")
	cfg := &spec.Config{PhysicalFunctions: []spec.PhysicalFunction{e}}
	snap := machine()
	snap.PFs[0].VFs[0].HostUse = how
	a := pool.Assign(cfg, snap, selection.PFs(cfg, snap))
	wantUnhealthy(t, find(t, a, "0000:01:01.0"), how, "the host uses it")
	if d := find(t, a, "0000:01:01.4"); !d.Healthy {
		t.Errorf("its neighbour is unhealthy: %s", d.Reason.Text)
	}

	snap.OtherUse["mlx5_core.sf.4"] = "carries the address 10.9.0.7/24"
	a = assign(t, `{"resourceList": [
		{"resourceName": "vf", "selectors": {"pfNames": ["ens1f0"]}},
		{"resourceName": "sf", "deviceType": "auxNetDevice", "selectors": {"auxTypes": ["sf"]}}
	]}`, snap)
	wantUnhealthy(t, find(t, a, "0000:01:01.0"), how)
	wantUnhealthy(t, find(t, a, "mlx5_core.sf.4"), "carries the address 10.9.0.7/24")
	if d := find(t, a, "mlx5_core.sf.9"); !d.Healthy {
		t.Errorf("another SF is unhealthy: %s", d.Reason.Text)
	}
}

// Without vfio_iommu_type1 a program opens the group and gets no further. The
// no-IOMMU mode does without, and what is not known is not taken for absent.
func TestVFIOWithoutType1(t *testing.T) {
	list := `{"resourceList": [
		{"resourceName": "vf", "selectors": {"pfNames": ["ens1f0"]}},
		{"resourceName": "acc", "deviceType": "accelerator", "selectors": {"devices": ["0d5d"]}}
	]}`
	group := entry("ens1f0", 8, "x.y/all", spec.VFGroup{Indexes: spec.IndexSet{1}, Driver: spec.DriverVFIO})
	cfg := &spec.Config{PhysicalFunctions: []spec.PhysicalFunction{group}}
	for presence, healthy := range map[inventory.Presence]bool{
		inventory.PresenceUnknown: true, inventory.Present: true, inventory.Absent: false,
	} {
		snap := machine()
		snap.VFIOType1 = presence
		for name, a := range map[string]*pool.Assignment{
			"resourceList": assign(t, list, snap), "physicalFunctions": pool.Assign(cfg, snap, selection.PFs(cfg, snap)),
		} {
			d := find(t, a, "0000:01:01.1")
			if d.Healthy != healthy {
				t.Errorf("%s, presence %d: healthy %v (%s)", name, presence, d.Healthy, d.Reason.Text)
			}
			if !healthy {
				wantUnhealthy(t, d, "vfio_iommu_type1", "machine.kernel.modules: - name: vfio_iommu_type1")
			}
			if d := find(t, a, "0000:01:01.0"); !d.Healthy {
				t.Errorf("%s: a VF on the kernel's driver is unhealthy: %s", name, d.Reason.Text)
			}
		}
		if d := find(t, assign(t, list, snap), "0000:06:01.0"); !d.Healthy {
			t.Errorf("presence %d: a device in no-IOMMU mode is unhealthy: %s", presence, d.Reason.Text)
		}
	}
	// Vendor variants of vfio-pci are the same.
	snap := machine()
	snap.VFIOType1, snap.PFs[0].VFs[1].Driver = inventory.Absent, "mlx5_vfio_pci"
	wantUnhealthy(t, find(t, assign(t, list, snap), "0000:01:01.1"), "vfio_iommu_type1")
}

// ibverbs works without the connection manager's node: the pool says that it is
// missing, and its devices stay healthy.
func TestRDMAWithoutConnectionManager(t *testing.T) {
	list := `{"resourceList": [{"resourceName": "rdma", "selectors": {"pfNames": ["ens2f0"], "isRdma": true}}]}`
	with := func(nodes ...string) pool.Pool {
		snap := machine()
		for i := range snap.PFs[1].VFs {
			snap.PFs[1].VFs[i].RDMA[0].CharDevs = nodes
		}
		p := assign(t, list, snap).Pools[0]
		if p.Healthy() != 2 {
			t.Errorf("%v: %d healthy devices, want 2", nodes, p.Healthy())
		}
		return p
	}
	if p := with("infiniband/rdma_cm", "infiniband/uverbs0"); len(p.Notices) != 0 {
		t.Errorf("notices %v of devices that have all", p.Notices)
	}
	if p := with(); len(p.Notices) != 0 {
		t.Errorf("notices %v, and nothing is known of nodes", p.Notices)
	}
	p := with("infiniband/uverbs0")
	if len(p.Notices) != 1 || !strings.Contains(p.Notices[0], "2 RDMA device(s)") || !strings.Contains(p.Notices[0], "name: rdma_ucm") {
		t.Errorf("notices %v", p.Notices)
	}
}

// The config's texts and the kernel's names of drivers mean the same.
func TestConfigAndKernelAgreeOnUserspaceDrivers(t *testing.T) {
	for _, d := range []spec.Driver{"", spec.DriverDefault, spec.DriverVFIO, spec.DriverUIOPCIGeneric, spec.DriverNone} {
		if d.Userspace() != nic.Userspace(string(d)) {
			t.Errorf("driver %q: %v in the config, %v in the kernel", d, d.Userspace(), nic.Userspace(string(d)))
		}
	}
}

// A VF that a vendor's vfio driver has is not on the kernel's default driver.
func TestDefaultDriverIsNoVFIOVariant(t *testing.T) {
	cfg := &spec.Config{PhysicalFunctions: []spec.PhysicalFunction{
		entry("a", 1, "x.y/a", spec.VFGroup{Indexes: spec.IndexSet{0}, Driver: spec.DriverDefault}),
	}}
	for _, driver := range []string{"mlx5_vfio_pci", "igb_uio", "qat_vfio_pci"} {
		snap := &inventory.Snapshot{PFs: []inventory.PF{pf(1, "a", 0, 1, driver)}}
		wantUnhealthy(t, find(t, pool.Assign(cfg, snap, selection.PFs(cfg, snap)), "0000:01:01.0"), "driver "+driver+" is bound")
	}
}

// While netlink does not list the host's network to its end, nothing with an
// interface is given out; an interface that is just coming or leaving stays.
func TestHostUseNotKnownIsNotAllocatable(t *testing.T) {
	const why = "the kernel did not list all of the host's network (addresses: no buffer space available)"
	cfg := &spec.Config{PhysicalFunctions: []spec.PhysicalFunction{entry("ens1f0", 8, "x.y/all")}}
	list := `{"resourceList": [
		{"resourceName": "all", "selectors": {}}, {"resourceName": "sf", "deviceType": "auxNetDevice", "selectors": {"auxTypes": ["sf"]}}
	]}`
	snap := machine()
	snap.HostUnknown = map[string]string{"0000:01:01.0": why, "0000:03:00.0": why, "0000:07:00.0": why, "mlx5_core.sf.4": why}
	for id := range snap.HostUnknown {
		wantUnhealthy(t, find(t, assign(t, list, snap), id), why)
	}
	a := pool.Assign(cfg, snap, selection.PFs(cfg, snap))
	wantUnhealthy(t, find(t, a, "0000:01:01.0"), why)
	if d := find(t, a, "0000:01:01.1"); !d.Healthy { // on vfio-pci, without an interface
		t.Errorf("%s is unhealthy: %s", d.ID, d.Reason.Text)
	}
	snap.Network.Complete = true
	if d := find(t, assign(t, list, snap), "0000:01:01.0"); !d.Healthy {
		t.Errorf("an interface that netlink does not list: %s", d.Reason.Text)
	}
}
