package talos_test

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/siderolabs/talos/pkg/machinery/role"

	"github.com/talos-sriov/talos-sriov/pkg/talos"
	"github.com/talos-sriov/talos-sriov/pkg/talos/talostest"
	"github.com/talos-sriov/talos-sriov/pkg/talos/talostest/contracts"
)

const workerOnly = `version: v1alpha1
machine:
  type: worker # comments stay
  invented: {in: 2030}
  token: aaaaaa.bbbbbbbbbbbbbbbb
cluster: {token: cccccc.dddddddddddddddd}
`

// TestPatchUnknownDocuments: a node's config may have documents and keys that the
// linked machinery does not know. They are sent back byte by byte.
func TestPatchUnknownDocuments(t *testing.T) {
	patch, err := os.ReadFile(patchDir + "/worker-sriov.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for name, config := range map[string]string{
		"1.14":            string(contracts.Worker114()),
		"a later kind":    workerOnly + "--- # later\nkind:   'LaterConfig'\napiVersion: v2\nx: [ 1,2 ]\n...\n",
		"a later key":     workerOnly + "---\napiVersion: v1alpha1\nkind: OOMConfig\nstrictCgroupClassOrdering: true\n",
		"CRLF":            strings.ReplaceAll(workerOnly, "\n", "\r\n") + "---\r\nkind: LaterConfig\r\napiVersion: v2\r\n",
		"ours, and later": workerOnly + "---\napiVersion: v1alpha1\nkind: ExtensionServiceConfig\nname: sriov\nconfigFiles: []\n---\nkind: LaterConfig\napiVersion: v2\ntext: |\n  a\n  --\n",
	} {
		t.Run(name, func(t *testing.T) {
			node := talostest.NewNode("n1", "", t.TempDir())
			node.Add(t, talostest.NewMachineConfig([]byte(config)))
			node.Judge = talostest.Keeps([]byte(config), "v1alpha1", "ExtensionServiceConfig")
			n := open(t, talostest.Start(t, 0, node), role.Admin, "n1").Nodes[0]
			for i, step := range []struct{ dryRun, changed bool }{{true, true}, {false, true}, {false, false}} {
				changed, err := n.Patch(t.Context(), patch, step.dryRun)
				if err != nil {
					t.Fatal(err)
				}
				if changed != step.changed {
					t.Errorf("step %d: changed is %v, want %v", i, changed, step.changed)
				}
			}
			got, err := n.MachineConfig(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{"kind: ExtensionServiceConfig", "pciID: ", "numVFs: 4"} {
				if strings.Count(string(got), want) != 1 {
					t.Errorf("%q is not once in\n%s", want, got)
				}
			}
			if strings.Contains(config, "comments stay") && !bytes.Contains(got, []byte("type: worker # comments stay")) {
				t.Errorf("the comment is gone:\n%s", got)
			}
			gone := []byte(`{"apiVersion":"v1alpha1","kind":"ExtensionServiceConfig","name":"sriov","$patch":"delete"}`)
			if changed, err := n.Patch(t.Context(), gone, false); err != nil || !changed {
				t.Errorf("remove the config: changed %v, %v", changed, err)
			}
		})
	}
}

// TestPatchRefusedByNode: what is wrong with the config, the node says.
func TestPatchRefusedByNode(t *testing.T) {
	node := talostest.NewNode("n1", "", t.TempDir())
	node.Add(t, talostest.NewMachineConfig([]byte(workerOnly)))
	node.Judge = func([]byte) error { return errors.New(".machine.nodeLabels is already set in v1alpha1 config") }
	n := open(t, talostest.Start(t, 0, node), role.Admin, "n1").Nodes[0]
	_, err := n.Patch(t.Context(), []byte("machine: {nodeLabels: {a: b}}"), false)
	e, ok := errors.AsType[*talos.Error](err)
	if !ok || !strings.Contains(err.Error(), "n1: the node refuses the machine config with this patch: .machine.nodeLabels is already set") || !strings.Contains(e.Hint, "nothing was changed") {
		t.Errorf("got %v", err)
	}
	_, err = n.Patch(t.Context(), []byte("machine: {type: [worker]}"), false)
	if e, ok := errors.AsType[*talos.Error](err); !ok || !strings.Contains(err.Error(), "line 1: v1alpha1: machine.type: is a list in the patch") || !strings.Contains(e.Hint, "talosctl patch") {
		t.Errorf("got %v", err)
	}
}

// TestMissingModules: they are in a list before 1.14, and may be documents since.
func TestMissingModules(t *testing.T) {
	node := talostest.NewNode("n1", "", t.TempDir())
	node.Add(t, talostest.NewMachineConfig([]byte("machine:\n  invented: 1\n  kernel:\n    modules:\n      - name: vfio_pci\n---\napiVersion: v1alpha1\nkind: KernelModuleConfig\nname: mlx5_vdpa\n---\napiVersion: v2\nkind: LaterConfig\nname: uio_pci_generic\n")))
	n := open(t, talostest.Start(t, 0, node), role.Admin, "n1").Nodes[0]
	got, err := n.MissingModules(t.Context(), []string{"mlx5_vdpa", "uio_pci_generic", "vfio_pci"})
	if diff := cmp.Diff([]string{"uio_pci_generic"}, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}
