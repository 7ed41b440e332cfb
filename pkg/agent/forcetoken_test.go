package agent_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/talos-sriov/talos-sriov/pkg/status"
)

// TestOldForceTokenAfterALostRecord: a force token that may have been carried out
// before the record was damaged is followed nowhere, also not on a card that was
// not there when that was found, and not when the config came later.
func TestOldForceTokenAfterALostRecord(t *testing.T) {
	t.Parallel()
	const late = "0000:61:00.0"
	config := fmt.Sprintf("apiVersion: v1alpha1\nkind: SRIOVConfig\nphysicalFunctions:\n"+
		"  - match: {pciAddresses: [%q, %q]}\n    force: old\n    numVFs: 4\n    resourceName: %s\n", pfA, late, resource)
	for name, first := range map[string]string{"the card comes later": config, "the card and the config come later": ""} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			n.kubelet.Start()
			dir := filepath.Join(n.dir, "state")
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "state.json"), []byte("{damaged"), 0o644); err != nil {
				t.Fatal(err)
			}
			if first != "" {
				n.configure(first)
			}
			n.start()
			n.status("decided", func(s *status.Status) bool {
				if first == "" {
					return s.Spec.State == status.SpecAbsent
				}
				return len(s.PFs) == 1 && s.PFs[0].State == status.PFReady
			})
			n.stop()

			n.addPF(late, "enp97s0", 0)
			if err := n.kernel.Write("bus/pci/devices/"+late+"/sriov_numvfs", "2"); err != nil {
				t.Fatal(err)
			}
			vf := n.kernel.Snapshot().PF(late).VFs[0].Address
			n.kernel.Hold(vf, "holder")
			n.hold(vf, "holder")
			n.configure(config)
			n.start()
			n.status("waits for the holder", func(s *status.Status) bool {
				return len(s.PFs) == 2 && s.PFs[1].Address == late && s.PFs[1].State == status.PFWaiting
			})
			if v := n.kernel.Violations(); len(v) > 0 {
				t.Error(v)
			}
			n.configure(strings.Replace(config, "force: old", "force: new", 1))
			n.healthy(8)
		})
	}
}
