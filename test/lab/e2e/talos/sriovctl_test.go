package talos_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/talos-sriov/talos-sriov/test/lab/talos"
)

// TestSriovctl: plan, apply, status and logs against Talos' own API.
func TestSriovctl(t *testing.T) {
	n := start(t, talos.Options{})
	file := filepath.Join(n.Dir(), "config.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	says := func(command string, want ...string) {
		t.Helper()
		out, err := n.Shell(t.Context(), command)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range want {
			if !strings.Contains(out, w) {
				t.Errorf("%s: no %q in\n%s", command, w, out)
			}
		}
	}
	write(document(pf(pfA, 2)))
	says("sriovctl plan config.yaml", "ens1", "numvfs")
	if got := numVFs(t, n, pfA); got != "0" {
		t.Errorf("plan made %s VFs", got)
	}
	says("sriovctl apply --yes config.yaml", "in force")
	says("sriovctl status", "ens1", "2 of 7", resource)
	says("sriovctl logs", "config received")
	if got := numVFs(t, n, pfA); got != "2" {
		t.Errorf("the kernel has %s VFs", got)
	}
	// More than the card has: the node cannot have it, and nothing is patched.
	write(document(pf(pfA, 8)))
	if out, err := n.Shell(t.Context(), "sriovctl apply --yes config.yaml"); err == nil || !strings.Contains(out, "at most 7") {
		t.Errorf("8 VFs on a card with 7: %v\n%s", err, out)
	}
	says("sriovctl status", "2 of 7")
}
