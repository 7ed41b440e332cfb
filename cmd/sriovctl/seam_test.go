package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/siderolabs/talos/pkg/machinery/api/machine"
	"github.com/siderolabs/talos/pkg/machinery/role"

	"github.com/talos-sriov/talos-sriov/pkg/talos/talostest"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

func seamDocument(vfs int, mark string) string {
	return fmt.Sprintf("apiVersion: v1alpha1\nkind: SRIOVConfig\nphysicalFunctions:\n  - match: {pciAddresses: [\"0000:21:00.0\"]}\n    numVFs: %d\n    resourceName: intel.com/igb\n# %s\n", vfs, mark)
}

// TestDaemonToWorkstation: what the daemon writes of who has a device is what a
// person reads on the workstation, and what the plan there goes by: a holder is
// named once, and what the node does not know is not free.
func TestDaemonToWorkstation(t *testing.T) {
	n := fixtureNode(t, "igb", "82576", "")
	n.Services = []*machine.ServiceInfo{{Id: "ext-sriov", State: "Running"}}
	addMachineConfig(t, n)
	kubelet := &talostest.PodResources{}
	kubelet.Set(use.Kubelet{Answered: true, Since: time.Now().Add(-time.Hour), Held: map[string][]use.Holder{
		"0000:21:10.0": {{Device: "0000:21:10.0", Namespace: "default", Pod: "demo", Evidence: use.EvidencePodResources}},
	}})
	document := talostest.Daemon(t, n, kubelet)
	t.Setenv("TALOSCONFIG", talostest.Start(t, 0, n).Talosconfig(t, role.Admin, time.Hour))
	more := filepath.Join(t.TempDir(), "more.yaml")
	if err := os.WriteFile(more, []byte(seamDocument(4, "more")), 0o644); err != nil {
		t.Fatal(err)
	}
	read := func(args ...string) string {
		var out bytes.Buffer
		a := &app{in: strings.NewReader(""), out: &out, err: &out, now: time.Now}
		a.run(t.Context(), args)
		return out.String()
	}
	check := func(what, text string, want, not []string) {
		t.Helper()
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("%s: no %q in:\n%s", what, w, text)
			}
		}
		for _, w := range not {
			if strings.Contains(text, w) {
				t.Errorf("%s: %q in:\n%s", what, w, text)
			}
		}
	}

	document(seamDocument(2, "a pod has one"))
	check("status", read("status", "-n", "igb", "--devices"), []string{"0000:21:10.0 held by pod default/demo\n", "0000:21:10.2 free\n"}, []string{"pod pod"})
	check("plan", read("plan", more, "-n", "igb"), []string{"! waits for pod default/demo\n"}, []string{"pod pod", "0000:21:10.2"})

	kubelet.Set(use.Kubelet{Err: "connection refused"})
	for _, m := range document(seamDocument(2, "the kubelet is silent")).Pools[0].Members {
		if len(m.Holders) == 0 {
			t.Errorf("%s: a sriovctl that goes by the holder alone takes it for free", m.ID)
		}
	}
	check("status", read("status", "-n", "igb"), []string{"0000:21:10.2 not known to be free, counts as in use: ", "connection refused"}, []string{"0000:21:10.2 free"})
	check("plan", read("plan", more, "-n", "igb"), []string{"! waits for ", "connection refused"}, nil)
}
