package agent_test

import (
	"testing"

	"github.com/talos-sriov/talos-sriov/pkg/status"
)

// BenchmarkReconcile is one pass of the loop on a machine with two PFs and 14 VFs on
// which nothing changed, with the model kernel: its allocations count, its time has the
// 10 ms in which the agent collects a burst.
func BenchmarkReconcile(b *testing.B) {
	n := newNode(b)
	passes := make(chan struct{}, 1)
	n.hangs = func(int) {
		select {
		case passes <- struct{}{}:
		default:
		}
	}
	n.kubelet.Start()
	n.configure(vfs(pfA, 7) + "  - match: {pciAddresses: ['" + pfB + "']}\n    numVFs: 7\n    resourceName: example.com/other\n")
	n.start()
	defer n.stop()
	n.status("as the config says", func(s *status.Status) bool {
		return len(s.PFs) == 2 && s.PFs[0].State == status.PFReady && s.PFs[1].State == status.PFReady
	})
	b.ReportAllocs()
	for b.Loop() {
		n.changes.notify()
		<-passes
	}
}
