package talos_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/talos-sriov/talos-sriov/test/lab/talos"
)

// TestBootAndReboot boots with a document, without any saved state, since the order of
// a boot is what it looks at: the VFs are there before the kubelet is, the pods that
// held VFs hold them again after a reboot, and Talos can unmount /var at both.
func TestBootAndReboot(t *testing.T) {
	n := start(t, talos.Options{Document: document(pf(pfA, 4))})
	allocatable(t, n, 4)
	beforeKubelet(t, n)
	if err := n.Apply(t.Context(), pods); err != nil {
		t.Fatal(err)
	}
	running(t, n)

	console := filepath.Join(n.Dir(), "console.log")
	booted, err := os.Stat(console)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Reboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	allocatable(t, n, 4)
	running(t, n)
	beforeKubelet(t, n)
	text, err := os.ReadFile(console)
	if err != nil {
		t.Fatal(err)
	}
	second := string(text[booted.Size():])
	for _, bad := range []string{"is busy", "failed to unmount", "boot sequence: failed"} {
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
	running(t, n)
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
