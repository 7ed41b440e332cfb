package talos_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/talos-sriov/talos-sriov/test/lab/talos"
)

// deployment has two pods with a VF each. Talos ends pods before it reboots, and a pod
// that nobody owns stays ended.
const deployment = `apiVersion: apps/v1
kind: Deployment
metadata: {name: vfs}
spec:
  replicas: 2
  selector: {matchLabels: {app: vfs}}
  template:
    metadata: {labels: {app: vfs}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: c, image: "docker.io/library/busybox:1.35", command: [sleep, "100000"], resources: {limits: {` + resource + `: 1}}}]
`

// deployed waits until two pods of the deployment live, in this boot, each with a VF of
// its own: the API server may still have those of the boot before as running.
func deployed(t *testing.T, n *talos.Node) {
	t.Helper()
	if err := n.WaitFor(t.Context(), "wait for two pods with a VF each", func(ctx context.Context) (bool, error) {
		names, err := n.Kubectl(ctx, "get", "pods", "-l", "app=vfs", "--field-selector=status.phase=Running", "-o", "jsonpath={.items[*].metadata.name}")
		if err != nil {
			return false, err
		}
		vfs := map[string]bool{}
		for _, name := range strings.Fields(names) {
			out, err := n.Kubectl(ctx, "exec", name, "--", "sh", "-c", "echo $PCIDEVICE_INTEL_COM_82576")
			if err != nil {
				return false, err
			}
			vfs[strings.TrimSpace(out)] = true
		}
		return len(vfs) == 2, fmt.Errorf("pods %s have VFs %v", names, vfs)
	}); err != nil {
		t.Fatal(err)
	}
}

// TestBootAndReboot boots with a document, without any saved state, since the order of
// a boot is what it looks at: the VFs are there before the kubelet is, pods get VFs
// again after a reboot and after a power cut, and Talos can unmount its volumes.
func TestBootAndReboot(t *testing.T) {
	n := start(t, talos.Options{Document: document(pf(pfA, 4))})
	allocatable(t, n, 4)
	beforeKubelet(t, n)
	if err := n.Apply(t.Context(), deployment); err != nil {
		t.Fatal(err)
	}
	deployed(t, n)

	console := filepath.Join(n.Dir(), "console.log")
	booted, err := os.Stat(console)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Reboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	allocatable(t, n, 4)
	deployed(t, n)
	beforeKubelet(t, n)
	text, err := os.ReadFile(console)
	if err != nil {
		t.Fatal(err)
	}
	second := string(text[booted.Size():])
	for _, bad := range []string{"is busy", "failed to unmount"} {
		if i := strings.Index(second, bad); i >= 0 {
			t.Errorf("the console has %q at the reboot: %s", bad, second[max(0, i-200):min(len(second), i+200)])
		}
	}
	if !strings.Contains(second, `volume unmount`) {
		t.Error("the console does not say that a volume was unmounted: this case looks for the wrong text")
	}

	// A power cut: nothing was unmounted, and all comes again.
	if err := n.Crash(t.Context()); err != nil {
		t.Fatal(err)
	}
	allocatable(t, n, 4)
	deployed(t, n)
}

// beforeKubelet compares when the VFs of this boot were written, by the extension's
// log, with when the kubelet's process was started, by the kernel.
func beforeKubelet(t *testing.T, n *talos.Node) {
	t.Helper()
	log, err := n.Talosctl(t.Context(), "logs", "ext-sriov")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`time=(\S+) level=INFO msg=written .*numvfs=4`).FindStringSubmatch(log)
	if m == nil {
		t.Fatalf("no VFs were written in this boot:\n%s", log)
	}
	written, err := time.Parse(time.RFC3339Nano, m[1])
	if err != nil {
		t.Fatal(err)
	}
	out, err := n.Exec(t.Context(), `
boot=$(awk '/^btime/ {print $2}' /proc/stat)
for p in /proc/[0-9]*; do
	if [ "$(cat $p/comm)" = kubelet ]; then awk -v boot=$boot '{printf "%.2f\n", boot + $22 / 100}' $p/stat; break; fi
done`)
	if err != nil {
		t.Fatal(err)
	}
	seconds, err := strconv.ParseFloat(strings.TrimSpace(out), 64)
	if err != nil {
		t.Fatal(err)
	}
	if kubelet := time.UnixMilli(int64(seconds * 1000)); !written.Before(kubelet) {
		t.Errorf("the VFs were written at %s, the kubelet was started at %s", written, kubelet)
	}
}
