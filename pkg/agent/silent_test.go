package agent_test

import (
	"strings"
	"testing"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/agent"
	"github.com/talos-sriov/talos-sriov/pkg/internal/kubelettest"
	"github.com/talos-sriov/talos-sriov/pkg/internal/modelkernel"
	"github.com/talos-sriov/talos-sriov/pkg/op"
	"github.com/talos-sriov/talos-sriov/pkg/status"
)

// A write of sriov_numvfs that does not return holds the lock of the PF, and whoever
// reads what the lock is for waits with it. The loop, the gates of other PFs and the
// end of the agent do not.
func TestStuckPFHoldsUpNobody(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	stuck, answer := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() { close(answer) })
	n.kernel.Faults(func(name, value string) modelkernel.Fault {
		if strings.Contains(name, pfA) && strings.HasSuffix(name, "sriov_numvfs") && value == "0" {
			close(stuck)
			return modelkernel.Fault{Until: answer}
		}
		return modelkernel.Fault{}
	})
	// The kernel's answer is waited for as long as it takes, but for the end.
	n.options = func(o *agent.Options) {
		o.WriteTimeout = func(op.Kind) time.Duration { return time.Hour }
	}
	n.kubelet.Start()
	n.start()
	other := func(pools ...string) string {
		return strings.Join(append([]string{"  - match: {pciAddresses: ['" + pfB + "']}"}, pools...), "\n") + "\n"
	}
	n.configure(vfs(pfA, 4) + other("    numVFs: 2", "    resourceName: example.com/other"))
	n.status("both are ready", func(s *status.Status) bool {
		return len(s.PFs) == 2 && s.PFs[0].State == status.PFReady && s.PFs[1].State == status.PFReady
	})

	n.configure(vfs(pfA, 2) + other("    numVFs: 2", "    resourceName: example.com/other"))
	<-stuck
	// The other PF's change takes VFs away, so that its gate reads the machine too.
	n.configure(vfs(pfA, 2) + other("    numVFs: 3", "    resourceName: example.com/third"))
	n.status("the other PF follows, and the first says that it waits", func(s *status.Status) bool {
		return len(s.PFs) == 2 && s.PFs[0].State == status.PFPending && len(s.PFs[0].Steps) > 0 &&
			s.PFs[1].State == status.PFReady && s.PFs[1].Actual.NumVFs == 3
	})
	n.kubelet.Wait("example.com/third", "three devices", func(r kubelettest.Resource) bool {
		return r.Connected && len(r.Devices) == 3
	})
	n.stop()
}
