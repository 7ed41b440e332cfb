package e2e

import (
	"strings"
	"testing"
)

// A force token takes the VFs from a pod that holds one, once: the next change
// waits for pods again.
func TestDocumentForces(t *testing.T) {
	n := node(t)
	forced := func(count int) string { return vfs(pfA, count) + "\n    force: 2026-11-21" }
	n.document(vfs(pfA, 4))
	n.allocatable(4)
	n.pod("holder", 1)
	n.running("holder")
	before, err := n.Service(ext).Log(n.ctx())
	n.must(err)
	n.document(forced(2))
	n.status("forced", func(s status) bool {
		return len(s.PFs) == 1 && s.PFs[0].State == "ready" && len(s.Pools) == 1 && s.Pools[0].Devices == 2
	})
	if got := n.numVFs(pfA); got != 2 {
		t.Fatalf("%d VFs, want 2", got)
	}
	log, err := n.Service(ext).Log(n.ctx())
	n.must(err)
	if log = log[len(before):]; !forcedOver(log, "default/holder") {
		t.Errorf("the log does not warn from which pod it was forced:\n%s", log)
	}

	n.must(n.DeletePods(n.ctx()))
	n.allocatable(2)
	n.pod("next", 1)
	n.running("next")
	n.document(forced(3))
	n.status("an acknowledged token forces nothing", func(s status) bool {
		return len(s.PFs) == 1 && s.PFs[0].State == "waiting" && len(s.PFs[0].Steps) > 0 &&
			len(s.PFs[0].Steps[0].Wait) == 1 && s.PFs[0].Steps[0].Wait[0].Pod == "next"
	})
	n.must(n.DeletePods(n.ctx()))
	n.allocatable(3)
}

// forcedOver reports whether the log has a warning of a step that did not wait for
// this holder. What waits for one is logged, too, and is no warning.
func forcedOver(log, holder string) bool {
	for line := range strings.Lines(log) {
		if containsAll(line, []string{"level=WARN", "step=", "holders=", holder}) {
			return true
		}
	}
	return false
}
