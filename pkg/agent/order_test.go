package agent_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/talos-sriov/talos-sriov/pkg/status"
)

// TestOldOrderAfterALostRecord: an order to force that may have been carried out
// before the record was damaged is followed nowhere, also not on a card that was
// not there when that was found, and not when the document came later.
func TestOldOrderAfterALostRecord(t *testing.T) {
	const late = "0000:61:00.0"
	document := fmt.Sprintf("apiVersion: v1alpha1\nkind: SRIOVConfig\nphysicalFunctions:\n"+
		"  - match: {pciAddresses: [%q, %q]}\n    force: old\n    numVFs: 4\n    resourceName: %s\n", pfA, late, resource)
	for name, first := range map[string]string{"the card comes later": document, "the card and the document come later": ""} {
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
				n.document(first)
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
			n.document(document)
			n.start()
			n.status("waits for the holder", func(s *status.Status) bool {
				return len(s.PFs) == 2 && s.PFs[1].Address == late && s.PFs[1].State == status.PFWaiting
			})
			if v := n.kernel.Violations(); len(v) > 0 {
				t.Error(v)
			}
			n.document(strings.Replace(document, "force: old", "force: new", 1))
			n.healthy(8)
		})
	}
}
