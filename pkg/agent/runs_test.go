package agent_test

import (
	"strings"
	"testing"

	"github.com/talos-sriov/talos-sriov/pkg/internal/modelkernel"
	"github.com/talos-sriov/talos-sriov/pkg/status"
)

// A PF whose driver takes its time keeps no other PF from following a newer
// config, and the two are distinguished in the status.
func TestSlowPFHoldsUpNobody(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	answer := make(chan struct{})
	n.kernel.Faults(func(name, _ string) modelkernel.Fault {
		if strings.Contains(name, pfA) && strings.HasSuffix(name, "sriov_numvfs") {
			return modelkernel.Fault{Until: answer}
		}
		return modelkernel.Fault{}
	})
	n.kubelet.Start()
	n.start()
	n.configure(vfs(pfA, 4))
	n.status("the write is under way", func(s *status.Status) bool { return len(s.PFs) == 1 && s.PFs[0].State == status.PFPending })

	n.configure(vfs(pfA, 4) + strings.Join([]string{
		"  - match: {pciAddresses: ['" + pfB + "']}", "    numVFs: 2", "    resourceName: example.com/other", "",
	}, "\n"))
	n.status("the other PF is ready", func(s *status.Status) bool {
		return len(s.PFs) == 2 && s.PFs[0].State == status.PFPending && s.PFs[1].State == status.PFReady && s.PFs[1].Actual.NumVFs == 2
	})

	close(answer)
	n.healthy(4)
	n.status("both are ready", func(s *status.Status) bool {
		return s.PFs[0].State == status.PFReady && s.PFs[1].State == status.PFReady
	})
}
