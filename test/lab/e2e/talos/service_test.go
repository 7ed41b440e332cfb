package talos_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/talos-sriov/talos-sriov/test/lab/talos"
)

const pods = `apiVersion: v1
kind: Pod
metadata: {name: a}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: c, image: "docker.io/library/busybox:1.35", command: [sleep, "100000"], resources: {limits: {` + resource + `: 1}}}]
---
apiVersion: v1
kind: Pod
metadata: {name: b}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: c, image: "docker.io/library/busybox:1.35", command: [sleep, "100000"], resources: {limits: {` + resource + `: 1}}}]
`

// running waits until both pods run, and gives their VFs.
func running(t *testing.T, n *talos.Node) map[string]string {
	t.Helper()
	vfs := map[string]string{}
	for _, name := range []string{"a", "b"} {
		if _, err := n.WaitPod(t.Context(), name, "running", func(p talos.Pod) bool { return p.Ready() }); err != nil {
			t.Fatal(err)
		}
		// A kubelet that was just restarted answers some moments later.
		if err := n.WaitFor(t.Context(), "ask pod "+name+" for its VF", func(ctx context.Context) (bool, error) {
			out, err := n.Kubectl(ctx, "exec", name, "--", "sh", "-c", "echo $PCIDEVICE_INTEL_COM_82576")
			vfs[name] = strings.TrimSpace(out)
			return err == nil, err
		}); err != nil {
			t.Fatal(err)
		}
	}
	if vfs["a"] == vfs["b"] {
		t.Fatalf("both pods have VF %s", vfs["a"])
	}
	return vfs
}

// TestServices: Talos restarts the extension and the kubelet, and an extension beside
// ours gets a document. Pods keep their VFs, and the kubelet keeps offering the rest.
func TestServices(t *testing.T) {
	n := start(t, talos.Options{})
	patch(t, n, document(pf(pfA, 4)))
	allocatable(t, n, 4)
	if err := n.Apply(t.Context(), pods); err != nil {
		t.Fatal(err)
	}
	vfs := running(t, n)

	// The other extension's document comes, and its change restarts that service alone.
	ours, other := servicePID(t, n, "ext-sriov"), servicePID(t, n, "ext-labagent")
	const document = "apiVersion: v1alpha1\nkind: ExtensionServiceConfig\nname: labagent\nenvironment: [LAB=%d]\n"
	patch(t, n, fmt.Sprintf(document, 1))
	patch(t, n, fmt.Sprintf(document, 2))
	restarted(t, n, "ext-labagent", other)
	if err := n.WaitAgent(t.Context()); err != nil {
		t.Fatal(err)
	}
	if now := servicePID(t, n, "ext-sriov"); now != ours {
		t.Errorf("another extension's config restarted ours: PID %s, before %s", now, ours)
	}

	for _, service := range []string{"ext-sriov", "kubelet"} {
		old := servicePID(t, n, service)
		if _, err := n.Talosctl(t.Context(), "service", service, "restart"); err != nil {
			t.Fatal(err)
		}
		restarted(t, n, service, old)
		waitFor(t, n, "sriovctl status", "registered")
		allocatable(t, n, 4)
		if now := running(t, n); now["a"] != vfs["a"] || now["b"] != vfs["b"] {
			t.Errorf("after a restart of %s pods have VFs %v, before %v", service, now, vfs)
		}
	}
	if got := numVFs(t, n, pfA); got != "4" {
		t.Errorf("the kernel has %s VFs", got)
	}
}
