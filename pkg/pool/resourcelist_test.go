package pool_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/pool"
	"github.com/talos-sriov/talos-sriov/pkg/selection"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

// machine is one of everything that the vocabulary can select:
//
//	0000:01:00.0 ens1f0 (alias alt0), E810, 8 VFs, of which VF 1 is on vfio-pci,
//	             VF 2 on uio_pci_generic, VF 3 unbound
//	0000:02:00.0 ens2f0, ConnectX in switchdev, 2 VFs with RDMA (VF 1 in a pod),
//	             VF 0 with vhost vDPA, VF 1 with virtio vDPA, an SF (number 88)
//	0000:09:00.0 a function without interface, with an SF
//	0000:03:00.0 ens3f0, no VFs;  0000:04:00.0 ens4f0, no VFs, the uplink
//	0000:05:00.0 ib0, InfiniBand, 1 VF with a partition key
//	0000:06:00.0 an accelerator with a VF on vfio-pci without an IOMMU
//	0000:07:00.0 a VF of nobody, as in a VM;  0000:08:00.0 another, in use
func machine() *inventory.Snapshot {
	f := func(addr, vendor, device, class, driver string) inventory.Function {
		return inventory.Function{Address: addr, Vendor: vendor, Device: device, Class: class, Driver: driver, NUMANode: -1, IOMMUGroup: -1}
	}
	link := func(name, kind string) []inventory.Netdev { return []inventory.Netdev{{Name: name, LinkType: kind}} }
	s := &inventory.Snapshot{VhostNet: true, Tun: true, OtherUse: map[string]string{"0000:08:00.0": "carries the address 10.0.0.1/24"}}

	e810 := inventory.PF{Function: f("0000:01:00.0", "8086", "1593", "020000", "ice"), TotalVFs: 64, NumVFs: 8}
	e810.Netdevs = []inventory.Netdev{{Name: "ens1f0", AltNames: []string{"alt0"}, LinkType: "ethernet"}}
	e810.NUMANode, e810.DDPProfile = 1, "GTPv1-C/U IPv4/IPv6 payload"
	for i := range 8 {
		vf := inventory.VF{Index: i, Function: f(fmt.Sprintf("0000:01:01.%d", i), "8086", "1889", "020000", "iavf")}
		vf.NUMANode, vf.IOMMUGroup, vf.Netdevs = 1, 40+i, link(fmt.Sprintf("ens1f0v%d", i), "ethernet")
		switch i {
		case 1:
			vf.Driver, vf.Netdevs = "vfio-pci", nil
		case 2:
			vf.Driver, vf.Netdevs, vf.UIO = "uio_pci_generic", nil, "uio0"
		case 3:
			vf.Driver, vf.Netdevs = "", nil
		case 4:
			vf.ACPIIndex = "101"
		}
		e810.VFs = append(e810.VFs, vf)
	}
	cx := inventory.PF{Function: f("0000:02:00.0", "15b3", "1021", "020000", "mlx5_core"), TotalVFs: 16, NumVFs: 2, EswitchMode: "switchdev"}
	cx.Netdevs = append(link("ens2f0", "ethernet"), link("ens2f0x", "ethernet")...)
	for i, v := range []string{"vhost_vdpa", "virtio_vdpa"} {
		vf := inventory.VF{Index: i, Function: f(fmt.Sprintf("0000:02:00.%d", i+2), "15b3", "101e", "020000", "mlx5_core"), Representor: fmt.Sprintf("ens2f0_%d", i)}
		vf.RDMA = []inventory.RDMADevice{{Name: fmt.Sprintf("mlx5_%d", i+2), CharDevs: []string{
			fmt.Sprintf("infiniband/issm%d", i), "infiniband/rdma_cm", fmt.Sprintf("infiniband/umad%d", i), fmt.Sprintf("infiniband/uverbs%d", i)}}}
		vf.VDPA = &inventory.VDPADevice{Name: fmt.Sprintf("vdpa%d", i), Driver: v}
		if i == 0 {
			vf.VDPA.Path, vf.Netdevs = "vhost-vdpa-0", link("ens2f0v0", "ethernet")
		}
		cx.VFs = append(cx.VFs, vf)
	}
	idle := inventory.PF{Function: f("0000:03:00.0", "8086", "1572", "020000", "i40e"), TotalVFs: 8}
	idle.Netdevs = link("ens3f0", "ethernet")
	uplink := inventory.PF{Function: f("0000:04:00.0", "8086", "1572", "020000", "i40e"), TotalVFs: 8, Uplink: "carries the IPv6 default route"}
	uplink.Netdevs = link("ens4f0", "ethernet")
	ib := inventory.PF{Function: f("0000:05:00.0", "15b3", "101b", "020700", "mlx5_core"), TotalVFs: 8, NumVFs: 1}
	ib.Netdevs = link("ib0", "infiniband")
	ibvf := inventory.VF{Function: f("0000:05:00.1", "15b3", "101c", "020700", "mlx5_core")}
	ibvf.RDMA = []inventory.RDMADevice{{Name: "mlx5_9", PKey: "0x8001"}}
	ib.VFs = []inventory.VF{ibvf}
	acc := inventory.PF{Function: f("0000:06:00.0", "8086", "0d5c", "120000", "pci-pf-stub"), TotalVFs: 16, NumVFs: 1}
	accvf := inventory.VF{Function: f("0000:06:01.0", "8086", "0d5d", "120000", "vfio-pci")}
	accvf.IOMMUGroup, accvf.NoIOMMU = 7, true
	acc.VFs = []inventory.VF{accvf}
	s.PFs = []inventory.PF{e810, cx, idle, uplink, ib, acc}
	guest := f("0000:07:00.0", "8086", "1889", "020000", "iavf")
	guest.Netdevs = link("eth1", "ethernet")
	used := f("0000:08:00.0", "8086", "1889", "020000", "iavf")
	used.Netdevs = link("eth0", "ethernet")
	s.Others = []inventory.Function{guest, used}
	s.Subfunctions = []inventory.Subfunction{{
		Name: "mlx5_core.sf.4", Parent: "0000:02:00.0", SFNum: 88, Driver: "mlx5_core.sf",
		Netdevs: link("ens2f0s88", "ethernet"), RDMA: []inventory.RDMADevice{{Name: "mlx5_4", CharDevs: []string{"infiniband/uverbs4"}}},
	}, {
		Name: "mlx5_core.sf.9", Parent: "0000:09:00.0", SFNum: 1, Driver: "mlx5_core.sf", Netdevs: link("enp9s0f0s1", "ethernet"),
	}}
	return s
}

// assign is Assign of a configuration of the device plugin.
func assign(t *testing.T, list string, snap *inventory.Snapshot) *pool.Assignment {
	t.Helper()
	cfg, err := spec.LoadResourceList("test.json", []byte(list))
	if err != nil {
		t.Fatal(err)
	}
	return pool.Assign(cfg, snap, selection.PFs(cfg, snap))
}

func TestSelectors(t *testing.T) {
	unbound := "!(no driver is bound: is the kernel module for this device loaded?)"
	for _, tc := range []struct{ name, entry, want string }{
		{"everything", `"selectors": {}`, "07:00.0 01:01.0 01:01.1 01:01.2 01:01.3" + unbound + " 01:01.4 01:01.5 01:01.6 01:01.7 02:00.2 02:00.3 03:00.0 05:00.1"},
		{"vendors", `"selectors": {"vendors": ["15b3"]}`, "02:00.2 02:00.3 05:00.1"},
		{"devices, upper case", `"selectors": {"devices": ["101E"]}`, "02:00.2 02:00.3"},
		{"pfNames, second interface", `"selectors": {"pfNames": ["ens2f0x#0"]}`, "02:00.2"},
		{"pfNames, a representor", `"selectors": {"pfNames": ["ens2f0_0"]}`, ""},
		{"drivers", `"selectors": {"drivers": ["vfio-pci", "uio_pci_generic"]}`, "01:01.1 01:01.2"},
		{"pciAddresses", `"selectors": {"pciAddresses": ["0000:01:01.4", "0000:07:00.0", "0000:99:00.0"]}`, "07:00.0 01:01.4"},
		{"acpiIndexes", `"selectors": {"acpiIndexes": ["101", "1"]}`, "01:01.4"},
		{"pfNames", `"selectors": {"pfNames": ["ens2f0"]}`, "02:00.2 02:00.3"},
		{"pfNames in another case", `"selectors": {"pfNames": ["ENS2F0#1"]}`, "02:00.3"},
		{"pfNames by altname", `"selectors": {"pfNames": ["alt0#0"]}`, "01:01.0"},
		{"pfNames never mean the PF", `"selectors": {"pfNames": ["ens3f0"]}`, ""},
		{"ranges", `"selectors": {"pfNames": ["ens0", "ens2f0#1", "ens1f0#0,3-5,7"]}`, "01:01.0 01:01.3" + unbound + " 01:01.4 01:01.5 01:01.7 02:00.3"},
		{"two entries of a PF add up", `"selectors": {"pfNames": ["ens1f0#0", "ens1f0#5"]}`, "01:01.0 01:01.5"},
		{"rootDevices", `"selectors": {"rootDevices": ["0000:01:00.0#0-1,6", "0000:05:00.0"]}`, "01:01.0 01:01.1 01:01.6 05:00.1"},
		{"linkTypes", `"selectors": {"linkTypes": ["infiniband"]}`, "05:00.1"},
		{"link type of the PF", `"selectors": {"linkTypes": ["ether"], "drivers": ["vfio-pci"]}`, "01:01.1"},
		{"ddpProfiles", `"selectors": {"ddpProfiles": ["GTPv1-C/U IPv4/IPv6 payload"], "drivers": ["vfio-pci"]}`, "01:01.1"},
		{"no such ddpProfile", `"selectors": {"ddpProfiles": ["other"]}`, ""},
		{"pKeys, another spelling", `"selectors": {"pKeys": ["0X8001"]}`, "05:00.1"},
		{"isRdma", `"selectors": {"IsRdma": true, "linkTypes": ["ether"]}`, "02:00.2 02:00.3"},
		{"needVhostNet is no filter", `"selectors": {"NeedVhostNet": true, "vendors": ["15b3"]}`, "02:00.2 02:00.3 05:00.1"},
		{"vdpaType vhost", `"selectors": {"vdpaType": "vhost"}`, "02:00.2"},
		{"vdpaType virtio", `"selectors": {"vdpaType": "virtio"}`, "02:00.3"},
		{"AND", `"selectors": {"vendors": ["8086"], "drivers": ["iavf"], "pfNames": ["ens1f0#0-3"]}`, "01:01.0"},
		{"a list is a union", `"selectors": [{"vendors": ["15b3"], "linkTypes": ["infiniband"]}, {"drivers": ["vfio-pci"]}]`, "01:01.1 05:00.1"},
		{"PF without VFs", `"selectors": {"drivers": ["i40e"]}`, "03:00.0"},
		{"in a VM", `"selectors": {"devices": ["1889"], "pciAddresses": ["0000:07:00.0", "0000:08:00.0"]}`, "07:00.0"},
		{"accelerators, PF with VFs too", `"deviceType": "accelerator", "selectors": {}`, "06:00.0 06:01.0"},
		{"accelerator", `"deviceType": "accelerator", "selectors": {"devices": ["0d5d"], "drivers": ["vfio-pci"]}`, "06:01.0"},
		{"SF", `"deviceType": "auxNetDevice", "selectors": {"auxTypes": ["sf"]}`, "mlx5_core.sf.4 mlx5_core.sf.9"},
		{"SF by its parent", `"deviceType": "auxNetDevice", "selectors": {"auxTypes": ["sf"], "vendors": ["15b3"], "devices": ["1021"], "drivers": ["mlx5_core"], "pfNames": ["ens2f0#88"], "rootDevices": ["0000:02:00.0#80-90"], "isRdma": true, "linkTypes": ["ether"]}`, "mlx5_core.sf.4"},
		{"SF number out of range", `"deviceType": "auxNetDevice", "selectors": {"auxTypes": ["sf"], "pfNames": ["ens2f0#4"]}`, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := assign(t, `{"resourceList": [{"resourceName": "r", `+tc.entry+`}]}`, machine())
			want := strings.TrimSuffix("intel.com/r: "+tc.want, " ")
			if d := cmp.Diff([]string{want}, show(a)); d != "" {
				t.Errorf("pool (-want +got):\n%s", d)
			}
		})
	}
}

func TestFirstPoolWins(t *testing.T) {
	a := assign(t, `{"resourceList": [
		{"resourceName": "dpdk", "resourcePrefix": "x.y", "selectors": {"drivers": ["vfio-pci"]}},
		{"resourceName": "all", "selectors": [{"pfNames": ["ens1f0#0-2"]}, {"pfNames": ["ens1f0#0-1"]}]},
		{"resourceName": "rest", "selectors": {"pfNames": ["ens1f0#1-2", "ens1f0#7"]}}
	]}`, machine())
	if d := cmp.Diff([]string{"x.y/dpdk: 01:01.1", "intel.com/all: 01:01.0 01:01.2", "intel.com/rest: 01:01.7"}, show(a)); d != "" {
		t.Errorf("pools (-want +got):\n%s", d)
	}
	var notices []string
	for _, p := range a.Pools {
		for _, n := range p.Notices {
			notices = append(notices, p.Resource+": "+n)
		}
	}
	want := []string{
		"x.y/dpdk: 2 of these devices are selected by intel.com/all too, which comes later and goes without",
		"x.y/dpdk: 1 of these devices are selected by intel.com/rest too, which comes later and goes without",
		"intel.com/all: 2 selected device(s) belong to x.y/dpdk, which comes first",
		"intel.com/all: 1 of these devices are selected by intel.com/rest too, which comes later and goes without",
		"intel.com/rest: 1 selected device(s) belong to x.y/dpdk, which comes first",
		"intel.com/rest: 1 selected device(s) belong to intel.com/all, which comes first",
	}
	if d := cmp.Diff(want, notices); d != "" {
		t.Errorf("notices (-want +got):\n%s", d)
	}
}

func TestUplinkLeftOut(t *testing.T) {
	p := assign(t, `{"resourceList": [{"resourceName": "pfs", "selectors": {"drivers": ["i40e"]}}]}`, machine()).Pools[0]
	if d := cmp.Diff([]string{"1 selected device(s) carry the node's own network and are left out"}, p.Notices); d != "" {
		t.Error(d)
	}
}

func TestEntriesBeforeResourceList(t *testing.T) {
	cfg := &spec.Config{
		PhysicalFunctions: []spec.PhysicalFunction{entry("ens2f0", 2, "x.y/vfs"), entry("ens3f0", 4, "x.y/later")},
		ResourceList:      []spec.Resource{{ResourceName: "net", DeviceType: spec.DeviceTypeNet, Selectors: []spec.Selector{{Drivers: []string{"i40e", "mlx5_core"}}}}},
	}
	snap := machine()
	got := show(pool.Assign(cfg, snap, selection.PFs(cfg, snap)))
	// The PF of the second entry is going to have VFs, so it is offered to nobody.
	if d := cmp.Diff([]string{"x.y/vfs: 02:00.2 02:00.3", "x.y/later:", "intel.com/net: 05:00.1"}, got); d != "" {
		t.Error(d)
	}
}

// TestProvided is what a container gets to know and gets, one case for each kind of
// device: env values, nodes and device-info, as the SR-IOV network device
// plugin has them.
func TestProvided(t *testing.T) {
	for _, tc := range []struct{ name, entry, id string }{
		{"kernel", `"selectors": {}`, "0000:01:01.0"},
		{"vfio", `"selectors": {}`, "0000:01:01.1"},
		{"uio", `"selectors": {}`, "0000:01:01.2"},
		{"rdma", `"selectors": {"isRdma": true}`, "0000:02:00.2"},
		{"vhost", `"selectors": {"needVhostNet": true}`, "0000:01:01.1"},
		{"rdma-vhost", `"selectors": {"needVhostNet": true, "isRdma": true}`, "0000:02:00.3"},
		{"vdpa-vhost", `"selectors": {"vdpaType": "vhost"}`, "0000:02:00.2"},
		{"vdpa-virtio", `"selectors": {"vdpaType": "virtio"}`, "0000:02:00.3"},
		{"extra", `"additionalInfo": {"*": {"token": "all", "a": "b"}, "0000:01:01.0": {"token": "mine"}}, "selectors": {}`, "0000:01:01.0"},
		{"extra-nothing", `"additionalInfo": {"0000:01:01.0": {"token": "mine"}}, "selectors": {}`, "0000:01:01.4"},
		{"noiommu-accelerator", `"deviceType": "accelerator", "selectors": {}`, "0000:06:01.0"},
		{"sf", `"deviceType": "auxNetDevice", "additionalInfo": {"0000:02:00.0": {"by": "parent"}}, "selectors": {"auxTypes": ["sf"], "isRdma": true, "needVhostNet": true}`, "mlx5_core.sf.4"},
		{"no-topology", `"excludeTopology": true, "selectors": {}`, "0000:01:01.0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := assign(t, `{"resourceList": [{"resourceName": "r", `+tc.entry+`}]}`, machine()).Pools[0]
			for _, d := range p.Devices {
				if d.ID == tc.id {
					golden(t, filepath.Join("testdata", "provided", tc.name+".json"), map[string]any{
						"kind": d.Kind, "index": d.Index, "numa": d.NUMANode, "noTopology": d.NoTopology, "pf": d.PF,
						"info": d.Info, "nodes": d.Nodes, "deviceInfo": d.DeviceInfo,
					})
					return
				}
			}
			t.Errorf("no device %s in %v", tc.id, p.Devices)
		})
	}
}

var update = flag.Bool("update", false, "write the golden files")

func golden(t *testing.T, path string, got any) {
	t.Helper()
	text, err := json.MarshalIndent(got, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	text = append(text, '\n')
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(text)); d != "" {
		t.Errorf("%s (-want +got):\n%s", path, d)
	}
}

// TestGroupsProvide: the keys of a group in physicalFunctions give the same.
func TestGroupsProvide(t *testing.T) {
	e := entry("ens2f0", 2, "x.y/r",
		spec.VFGroup{Indexes: spec.IndexSet{0}, RDMA: true, VhostNet: true},
		spec.VFGroup{Indexes: spec.IndexSet{1}, VDPA: spec.VDPAVirtio})
	cfg := &spec.Config{PhysicalFunctions: []spec.PhysicalFunction{e}}
	snap := machine()
	p := pool.Assign(cfg, snap, selection.PFs(cfg, snap)).Pools[0]
	if len(p.Devices) != 2 || p.Healthy() != 2 {
		t.Fatalf("devices %+v", p.Devices)
	}
	if got := p.Devices[0].Info["rdma"]["rdma_dev"]; got != "mlx5_2" {
		t.Errorf("rdma_dev %q", got)
	}
	if n := len(p.Devices[0].Nodes); n != 6 {
		t.Errorf("%d nodes, want 4 of RDMA and 2 of vhost-net", n)
	}
	if got := p.Devices[1].DeviceInfo.VDPA; got == nil || got.Driver != "virtio" || got.Representor != "ens2f0_1" {
		t.Errorf("vDPA %+v", got)
	}

	snap.VhostNet = false
	snap.PFs[1].VFs[0].RDMA = nil
	snap.PFs[1].VFs[1].VDPA = nil
	want := []string{"x.y/r: 02:00.2!(the VF has no RDMA device: is the RDMA module of its driver loaded?) 02:00.3!(the VF has no vDPA device for virtio yet)"}
	if d := cmp.Diff(want, show(pool.Assign(cfg, snap, selection.PFs(cfg, snap)))); d != "" {
		t.Error(d)
	}
	cfg.PhysicalFunctions[0].VirtualFunctions[0].RDMA = false
	got := show(pool.Assign(cfg, snap, selection.PFs(cfg, snap)))[0]
	if !strings.Contains(got, "02:00.2!(the config asks for vhost-net, and this node has no /dev/vhost-net (kernel module vhost_net))") {
		t.Error(got)
	}
}

func TestVhostNetMissing(t *testing.T) {
	snap := machine()
	snap.Tun = false
	p := assign(t, `{"resourceList": [{"resourceName": "r", "selectors": {"needVhostNet": true, "drivers": ["iavf"], "pfNames": ["ens1f0#0"]}}]}`, snap).Pools[0]
	if len(p.Devices) != 1 || !p.Devices[0].Healthy || len(p.Devices[0].Nodes) != 0 || p.Devices[0].Info["vhost"] != nil {
		t.Errorf("device %+v", p.Devices)
	}
	if d := cmp.Diff([]string{"needVhostNet: this node has no /dev/net/tun (kernel module tun); the devices are offered without it"}, p.Notices); d != "" {
		t.Error(d)
	}
}
