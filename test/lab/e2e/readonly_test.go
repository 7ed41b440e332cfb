package e2e

import (
	"strings"
	"testing"
)

// The root is read-only: every mount that is writable is one that Talos leaves
// writable, so nothing else can have been written.
func TestRootStaysReadOnly(t *testing.T) {
	n := node(t)
	n.document(vfs(pfA, 4))
	n.allocatable(4)
	n.must(n.CheckReadOnly(n.ctx()))
	// What the daemon wrote is in its state directory and in the kubelet's.
	found := n.run(`find /var/lib/sriov -type f | sort`)
	for _, want := range []string{"/var/lib/sriov/status.yaml", "/var/lib/sriov/state.json"} {
		if !strings.Contains(found, want) {
			t.Errorf("%s is missing; there is:\n%s", want, found)
		}
	}
}
