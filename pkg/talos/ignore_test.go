package talos_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/machineconfig"
	"github.com/talos-sriov/talos-sriov/pkg/nic"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/talos"
	"github.com/talos-sriov/talos-sriov/pkg/talos/nodenet"
)

func plainVFs(match spec.Match) *spec.Config {
	return &spec.Config{
		APIVersion: spec.APIVersion, Kind: spec.Kind,
		PhysicalFunctions: []spec.PhysicalFunction{{Match: match, NumVFs: new(4), ResourceName: "a.b/c"}},
	}
}

// TestIgnoredIDs: no PCI id that anything but a VF has is ever written into a
// selector with ignore, whatever card of the table a document is for.
func TestIgnoredIDs(t *testing.T) {
	pfs := make(map[string]bool)
	for m := range nic.All() {
		pfs[strings.ToUpper(m.Vendor+":"+m.PF)] = true
	}
	for m := range nic.All() {
		needs := talos.NeedsOf(plainVFs(spec.Match{Names: []string{"eth0"}}), []talos.Hardware{{Vendor: m.Vendor, Device: m.PF, Driver: m.Driver}})
		patch, err := talos.Patch(plainVFs(spec.Match{Names: []string{"eth0"}}), needs, minor(t, "1.13"))
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range needs.VFs {
			if pfs[id] {
				t.Errorf("%s %s:%s: %s is ignored, and it is the id of a PF", m.Name, m.Vendor, m.PF, id)
			}
		}
		if len(needs.VFs) == 0 == (len(needs.Unselected) == 0) {
			t.Errorf("%s: VFs %v, and findings %+v: want one of the two", m.Name, needs.VFs, needs.Unselected)
		}
		if ignores := strings.Contains(string(patch), "ignore: true"); ignores != (len(needs.VFs) > 0) {
			t.Errorf("%s: ignores %v:\n%s", m.Name, ignores, patch)
		}
	}
}

// TestUnselected: what is left to Talos is reported, with what to write.
func TestUnselected(t *testing.T) {
	ena := talos.Hardware{Vendor: "1d0f", Device: "ec20", Driver: "ena"}
	cx7 := talos.Hardware{Vendor: "15b3", Device: "1021"}
	strange := talos.Hardware{Vendor: "1234", Device: "abcd"}
	userspace := plainVFs(spec.Match{Names: []string{"eth0"}})
	userspace.PhysicalFunctions[0].VirtualFunctions = []spec.VFGroup{{Indexes: spec.IndexSet{0, 1, 2, 3}, Driver: spec.DriverVFIO}}
	for name, c := range map[string]struct {
		config   *spec.Config
		hardware []talos.Hardware
		vfs      []string
		say      []string // in one finding each
	}{
		"one id for PF and VF":  {plainVFs(spec.Match{Names: []string{"eth0"}}), []talos.Hardware{ena}, nil, []string{"1D0F:EC20"}},
		"by the match":          {plainVFs(spec.Match{Vendors: []string{"1d0f"}, Devices: []string{"ec20"}}), nil, nil, []string{"1D0F:EC20"}},
		"one of each":           {plainVFs(spec.Match{Names: []string{"eth0"}}), []talos.Hardware{ena, cx7, strange}, []string{"15B3:101E"}, []string{"1D0F:EC20", "1234:ABCD"}},
		"no node":               {plainVFs(spec.Match{Names: []string{"eth0"}}), nil, nil, []string{"without -n"}},
		"no node, known match":  {plainVFs(spec.Match{Vendors: []string{"15b3"}, Devices: []string{"1021"}}), nil, []string{"15B3:101E"}, nil},
		"a node without such a": {plainVFs(spec.Match{Names: []string{"eth0"}}), []talos.Hardware{}, nil, nil},
		"no interfaces":         {userspace, nil, nil, nil},
	} {
		needs := talos.NeedsOf(c.config, c.hardware)
		if diff := cmp.Diff(c.vfs, needs.VFs); diff != "" {
			t.Errorf("%s: VFs (-want +got):\n%s", name, diff)
		}
		if len(needs.Unselected) != len(c.say) {
			t.Errorf("%s: findings %+v, want %q", name, needs.Unselected, c.say)
			continue
		}
		for i, say := range c.say {
			if f := needs.Unselected[i]; !strings.Contains(f.Msg, say) || !strings.Contains(f.Hint, "ignore: true") {
				t.Errorf("%s: finding %+v, want %q", name, f, say)
			}
		}
	}
}

func TestSpare(t *testing.T) {
	link := func(name, id string, vf bool) nodenet.Link {
		return nodenet.Link{Node: "n1", VF: vf, Name: name, PCIID: id}
	}
	needs := talos.Needs{VFs: []string{"15B3:101E", "8086:1889"}}
	needs.Spare([]nodenet.Link{link("enp1s0f0v0", "15B3:101E", true), link("eno1", "8086:1521", false), link("ens16", "8086:1889", false)})
	if diff := cmp.Diff([]string{"15B3:101E"}, needs.VFs); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(needs.Unselected) != 1 || !strings.Contains(needs.Unselected[0].Msg, "ens16 of n1") {
		t.Errorf("findings %+v", needs.Unselected)
	}
}

// TestPatchesIgnoreVFsOnly: every entry with ignore in a ready patch selects by a
// PCI id alone, and only VFs have it.
func TestPatchesIgnoreVFsOnly(t *testing.T) {
	found := 0
	for _, directory := range []string{".", "once"} {
		for name, patch := range patchFiles(t, directory) {
			docs, err := machineconfig.Documents(patch)
			if err != nil {
				t.Fatal(err)
			}
			for i := range docs {
				for _, entry := range machineconfig.Items(machineconfig.At(docs[i].Node(), "machine", "network", "interfaces")) {
					if machineconfig.Text(machineconfig.Child(entry, "ignore")) != "true" {
						continue
					}
					found++
					selector := machineconfig.Child(entry, "deviceSelector")
					vendor, device, _ := strings.Cut(machineconfig.Text(machineconfig.Child(selector, "pciID")), ":")
					if selector == nil || len(selector.Content) != 2 || !nic.OnlyVF(strings.ToLower(vendor), strings.ToLower(device)) || vendor != strings.ToUpper(vendor) {
						t.Errorf("%s: ignores more than VFs, or nothing: %s:%s", name, vendor, device)
					}
				}
			}
		}
	}
	if found < 5 {
		t.Errorf("%d entries were found", found)
	}
}

// TestModulesWithTheirUsers: what loads vfio_pci loads its IOMMU backend, and what
// has RDMA the connection manager's device: in documents of ours and in ready
// patches.
func TestModulesWithTheirUsers(t *testing.T) {
	listed := plainVFs(spec.Match{Names: []string{"eth0"}})
	listed.ResourceList = []spec.Resource{{ResourceName: "a.b/d", Selectors: []spec.Selector{{IsRDMA: true}}}}
	for name, c := range map[string]struct {
		config *spec.Config
		want   string
	}{"vfio and RDMA": {mixed(), "rdma_ucm vfio_iommu_type1 vfio_pci"}, "RDMA in resourceList": {listed, "rdma_ucm"}} {
		needs := talos.NeedsOf(c.config, nil)
		if got := strings.Join(needs.Modules, " "); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
		newer, err := talos.Patch(c.config, needs, minor(t, "1.14"))
		if err != nil {
			t.Fatal(err)
		}
		for m := range strings.FieldsSeq(c.want) {
			if !strings.Contains(string(newer), "kind: KernelModuleConfig\nname: "+m+"\n") || !strings.Contains(string(talos.OncePatch(needs, minor(t, "1.13"))), "- name: "+m+"\n") {
				t.Errorf("%s: %s is not written", name, m)
			}
		}
	}
	for _, directory := range []string{"once", "v1.14"} {
		for name, patch := range patchFiles(t, directory) {
			var modules []string
			docs, err := machineconfig.Documents(patch)
			if err != nil {
				t.Fatal(err)
			}
			for i := range docs {
				if docs[i].Kind == "KernelModuleConfig" {
					modules = append(modules, docs[i].Name)
				}
				for _, m := range machineconfig.Items(machineconfig.At(docs[i].Node(), "machine", "kernel", "modules")) {
					modules = append(modules, machineconfig.Text(machineconfig.Child(m, "name")))
				}
			}
			all := strings.Join(modules, " ")
			if strings.Contains(all, "vfio_pci") && !strings.Contains(all, "vfio_iommu_type1") {
				t.Errorf("%s/%s: vfio_pci without vfio_iommu_type1", directory, name)
			}
			if strings.HasPrefix(name, "rdma") && all != "rdma_ucm" {
				t.Errorf("%s/%s: modules %q", directory, name, all)
			}
		}
	}
}

// TestVFLinks: the interfaces that a document brings, as far as the machine shows
// what they will be.
func TestVFLinks(t *testing.T) {
	text := `apiVersion: v1alpha1
kind: SRIOVConfig
physicalFunctions:
  - match: {names: [enp1s0f0np0]}
    numVFs: 4
    eswitchMode: switchdev
    virtualFunctions:
      - {indexes: "0", resourceName: a.b/c, macAddresses: ["02:00:00:00:00:07"]}
      - {indexes: "1", resourceName: a.b/d, driver: vfio-pci}
      - {indexes: "2", resourceName: a.b/e, driver: none}
  - match: {names: [ib0]}
    numVFs: 1
    resourceName: a.b/ib
  - match: {pciAddresses: ["0000:fe:00.0"]}
    numVFs: 1
    resourceName: a.b/acc
`
	c, err := spec.Load("test", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	snap := &inventory.Snapshot{PFs: []inventory.PF{
		{
			Function: inventory.Function{Address: "0000:01:00.0", Vendor: "15b3", Device: "1021", Class: "020000", Driver: "mlx5_core", Netdevs: []inventory.Netdev{{Name: "enp1s0f0np0", LinkType: "ethernet"}}},
			TotalVFs: 16, NumVFs: 1,
			VFs: []inventory.VF{{Index: 0, Function: inventory.Function{Address: "0000:01:01.7", Netdevs: []inventory.Netdev{{Name: "blue", AltNames: []string{"sky"}}}}}},
		},
		{Function: inventory.Function{Address: "0000:ff:1f.7", Vendor: "1234", Device: "0001", Class: "020700", Driver: "strange", Netdevs: []inventory.Netdev{{Name: "ib0", LinkType: "infiniband"}}}, VFDevice: "0002"},
		{Function: inventory.Function{Address: "0000:fe:00.0", Vendor: "8086", Device: "0d5c", Class: "120000"}, TotalVFs: 16},
	}}
	got := talos.VFLinks(c, snap, map[string]talos.Place{"0000:01:00.0": {Offset: 2, Stride: 1}, "0000:ff:1f.7": {Offset: 1, Stride: 1}})
	representor := nodenet.Link{ToBe: true, PF: "enp1s0f0np0", Representor: true, PCIID: "15B3:1021", BusPath: "0000:01:00.0"}
	want := []nodenet.Link{
		{ToBe: true, PF: "enp1s0f0np0", Driver: "mlx5_core", PCIID: "15B3:101E", BusPath: "0000:01:01.7", Name: "blue", AltNames: []string{"blue", "sky"}, MAC: "02:00:00:00:00:07", PermMAC: "02:00:00:00:00:07"},
		representor, representor, representor,
		{ToBe: true, PF: "enp1s0f0np0", Driver: "mlx5_core", PCIID: "15B3:101E", BusPath: "0000:01:00.5", Name: "enp1s0f0v3"},
		representor,
		{ToBe: true, PF: "ib0", PCIID: "1234:0002", Name: "ib0v0", InfiniBand: true}, // no such place on the bus
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := talos.VFLinks(c, &inventory.Snapshot{}, nil); got != nil {
		t.Errorf("no PF: %+v", got)
	}
}

// TestGeneratedPatchSelects: the generated entry selects the VFs that the config
// brings, by the rules of Talos, and no PF.
func TestGeneratedPatchSelects(t *testing.T) {
	patch, err := talos.Patch(mixed(), talos.NeedsOf(mixed(), []talos.Hardware{{Vendor: "15b3", Device: "1021"}}), minor(t, "1.13"))
	if err != nil {
		t.Fatal(err)
	}
	var entry struct {
		Machine struct {
			Network struct {
				Interfaces []struct {
					DeviceSelector yaml.Node `yaml:"deviceSelector"`
				}
			}
		}
	}
	if err := yaml.Unmarshal(patch, &entry); err != nil {
		t.Fatal(err)
	}
	selector := &entry.Machine.Network.Interfaces[0].DeviceSelector
	if m := nodenet.DeviceSelector(selector, &nodenet.Link{ToBe: true, PCIID: "15B3:101E"}); m != nodenet.Yes {
		t.Errorf("a VF: %v", m)
	}
	if m := nodenet.DeviceSelector(selector, &nodenet.Link{PCIID: "15B3:1021"}); m != nodenet.No {
		t.Errorf("the PF: %v", m)
	}
}
