package talos_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/siderolabs/talos/pkg/machinery/config/machine"

	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/talos"
	"github.com/talos-sriov/talos-sriov/pkg/talos/versions"
)

func minor(t *testing.T, version string) versions.Minor {
	t.Helper()
	v, err := versions.Of(version)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func mixed() *spec.Config {
	return &spec.Config{
		APIVersion: spec.APIVersion, Kind: spec.Kind,
		PhysicalFunctions: []spec.PhysicalFunction{{
			Match: spec.Match{Names: []string{"enp1s0f0np0"}}, NumVFs: new(8),
			VirtualFunctions: []spec.VFGroup{
				{Indexes: spec.IndexSet{0, 1, 2, 3}, ResourceName: "nvidia.com/rdma", RDMA: true},
				{Indexes: spec.IndexSet{4, 5, 6, 7}, ResourceName: "nvidia.com/dpdk", Driver: spec.DriverVFIO},
			},
		}},
	}
}

func TestNeedsOf(t *testing.T) {
	cx7 := []talos.Hardware{{Vendor: "15b3", Device: "1021", Driver: "mlx5_core"}}
	got := talos.NeedsOf(mixed(), cx7)
	got.KernelArgs = []talos.Reasoned{{Value: got.KernelArgs[0].Value}, {Value: got.KernelArgs[1].Value}}
	want := talos.Needs{
		Modules: []string{"rdma_ucm", "vfio_iommu_type1", "vfio_pci"}, VFs: []string{"15B3:101E"},
		KernelArgs: []talos.Reasoned{{Value: "iommu=pt"}, {Value: "ib_core.netns_mode=0"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("mixed (-want +got):\n%s", diff)
	}
	// VFs on vfio-pci alone have no interface that Talos could touch.
	c := mixed()
	c.PhysicalFunctions[0].VirtualFunctions[0] = spec.VFGroup{Indexes: spec.IndexSet{0, 1, 2, 3}, Driver: spec.DriverVFIO}
	if got := talos.NeedsOf(c, cx7); got.VFs != nil {
		t.Errorf("vfio alone: VFs %v", got.VFs)
	}
	c.PhysicalFunctions[0].VirtualFunctions = nil
	c.PhysicalFunctions[0].Match = spec.Match{Drivers: []string{"ice"}}
	got = talos.NeedsOf(c, nil)
	if len(got.Extensions) != 1 || got.Extensions[0].Value != "siderolabs/intel-ice-firmware" || got.Modules != nil {
		t.Errorf("ice: %+v", got)
	}
}

// TestGeneratedPatch gives what we generate to Talos and to ourselves.
func TestGeneratedPatch(t *testing.T) {
	needs := talos.NeedsOf(mixed(), []talos.Hardware{{Vendor: "15b3", Device: "1021"}})
	for _, version := range []string{"1.12", "1.13"} {
		patch, err := talos.Patch(mixed(), needs, minor(t, version))
		if err != nil {
			t.Fatal(err)
		}
		checkDocument(t, "generated", patch)
		emb, err := spec.Extract("generated", patch)
		if err != nil {
			t.Fatal(err)
		}
		want, err := spec.Marshal(mixed())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(emb.Data)); diff != "" {
			t.Errorf("the config in the patch (-want +got):\n%s", diff)
		}
		base := generated(t, version, machine.TypeWorker)
		once, err := merge(t, base, talos.OncePatch(needs, minor(t, version)), patch)
		if err != nil {
			t.Fatal(err)
		}
		again, err := merge(t, once, patch)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(once), string(again)); diff != "" {
			t.Errorf("%s: merging again changes (-once +twice):\n%s", version, diff)
		}
	}
	newer, err := talos.Patch(mixed(), needs, minor(t, "1.14"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(newer), "kind: KernelModuleConfig\nname: vfio_pci\n") || talos.OncePatch(needs, minor(t, "1.14")) != nil {
		t.Errorf("1.14 has a document for modules:\n%s", newer)
	}
}

func TestSchematic(t *testing.T) {
	needs := talos.NeedsOf(mixed(), []talos.Hardware{{Driver: "ice"}})
	got := string(talos.Schematic(needs, "ghcr.io/you/sriov:v1@sha256:aa"))
	const want = `# The extension itself is added by the imager, or is in the catalogue of your own
# factory:
#   --system-extension-image ghcr.io/you/sriov:v1@sha256:aa
customization:
  extraKernelArgs:
    # the host's own devices are spared the IOMMU's translation; VFs on vfio-pci are not
    - iommu=pt
    # RDMA devices belong to one network namespace, so that one can be moved into a pod
    - ib_core.netns_mode=0
  systemExtensions:
    officialExtensions:
      # the DDP package of the ice driver: without it the card runs in safe mode, which has no SR-IOV
      - siderolabs/intel-ice-firmware
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := string(talos.Schematic(talos.Needs{}, "x")); !strings.Contains(got, "customization: {}") {
		t.Errorf("nothing needed:\n%s", got)
	}
}
