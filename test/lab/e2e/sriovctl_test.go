package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSriovctl: plan, apply, status and logs against Talos' own API.
func TestSriovctl(t *testing.T) {
	n := restored(t)
	file := filepath.Join(n.Dir(), "config.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	says := func(command string, want ...string) {
		t.Helper()
		out, err := n.Shell(n.ctx(), command)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range want {
			if !strings.Contains(out, w) {
				t.Errorf("%s: no %q in\n%s", command, w, out)
			}
		}
	}
	write(patch(vfs(pfA, 2)))
	says("sriovctl plan config.yaml", "ens1", "numvfs")
	if got := n.numVFs(pfA); got != 0 {
		t.Errorf("plan made %d VFs", got)
	}
	says("sriovctl apply --yes config.yaml", "in force")
	says("sriovctl status", "ens1", "2 of 7", resource)
	says("sriovctl logs", "config received")
	if got := n.numVFs(pfA); got != 2 {
		t.Errorf("the kernel has %d VFs", got)
	}
	// More than the card has: the node cannot have it, and nothing is patched.
	write(patch(vfs(pfA, 8)))
	if out, err := n.Shell(n.ctx(), "sriovctl apply --yes config.yaml"); err == nil || !strings.Contains(out, "at most 7") {
		t.Errorf("8 VFs on a card with 7: %v\n%s", err, out)
	}
	says("sriovctl status", "2 of 7")
}
