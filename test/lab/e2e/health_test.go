package e2e

import (
	"strings"
	"testing"
)

// The cable is pulled: the pool is unhealthy, with the reason, and the API
// server's allocatable follows; and back. The process is the same all the time.
func TestLinkIsCut(t *testing.T) {
	n := node(t)
	nic := n.NICs()[0]
	n.document(vfs(pfA, 4))
	n.allocatable(4)
	pid := n.daemon().PID
	t.Cleanup(func() { _ = n.Monitor().SetLink(nic.ID, true) })
	n.must(n.Monitor().SetLink(nic.ID, false))
	n.allocatable(0)
	s := n.status("the reason", func(s status) bool { return len(s.Pools) == 1 && s.Pools[0].Healthy == 0 })
	for _, m := range s.Pools[0].Members {
		if !strings.Contains(m.Reason, "link") && !strings.Contains(m.Reason, "carrier") {
			t.Errorf("device %s is unhealthy because %q", m.ID, m.Reason)
		}
	}
	n.must(n.Monitor().SetLink(nic.ID, true))
	n.allocatable(4)
	if got := n.daemon().PID; got != pid {
		t.Errorf("the daemon has pid %d, had %d", got, pid)
	}
}
