package talos_test

import (
	"strings"
	"testing"

	"github.com/talos-sriov/talos-sriov/test/lab/talos"
)

// TestDocumentLife: the first document comes when the node runs; it is changed,
// broken, removed and comes back, each time by talosctl.
func TestDocumentLife(t *testing.T) {
	n := start(t, talos.Options{})
	before := servicePID(t, n, "ext-sriov")
	patch(t, n, document(pf(pfA, 4)))
	allocatable(t, n, 4)
	if now := servicePID(t, n, "ext-sriov"); now != before {
		t.Errorf("the first document restarted the service: PID %s, before %s", now, before)
	}

	// udev loads the VFs' driver a second or two after they are made: nobody has to act.
	log, err := n.Talosctl(t.Context(), "logs", "ext-sriov")
	if err != nil || strings.Contains(log, "problem pending") {
		t.Errorf("the log has what was over by itself (%v):\n%s", err, log)
	}

	patch(t, n, document(pf(pfA, 2)))
	// The kubelet has the list of the VFs that stay before the others go.
	waitVFs(t, n, pfA, "2")
	allocatable(t, n, 2)

	// A bad document is refused with its place, and the one before stays in force.
	patch(t, n, document(strings.Replace(pf(pfA, 2), "numVFs: 2", "numVFs: many", 1)))
	waitFor(t, n, "sriovctl status", `numVFs: want a whole number, found the text "many"`)
	if got := numVFs(t, n, pfA); got != "2" {
		t.Errorf("after a bad document the kernel has %s VFs, want 2", got)
	}
	allocatable(t, n, 2)

	// Without its config the extension reclaims what it made.
	patch(t, n, "apiVersion: v1alpha1\nkind: ExtensionServiceConfig\nname: sriov\n$patch: delete\n")
	waitFor(t, n, "sriovctl status", "no config")
	waitVFs(t, n, pfA, "0")

	patch(t, n, document(pf(pfA, 3)+pf(pfB, 1)))
	allocatable(t, n, 4)
}
