package kernel

import (
	"os"
	"regexp"
	"strings"
	"testing"

	lab "github.com/talos-sriov/talos-sriov/test/lab"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/arch"
)

var result = regexp.MustCompile(`(?m)^ *--- (PASS|FAIL|SKIP): (\S+)`)

// What needs netdevsim of the main module's tests.
func TestNetdevsim(t *testing.T) { run(t, arch.AMD64, "pkg/nl/kerneltest") }

// The extension's program for arm64, on a kernel and a machine of arm64 with a card: VFs
// with attributes, and the registration with a stand-in for the kubelet.
func TestCardARM64(t *testing.T) { run(t, arch.ARM64, "pkg/agent/cardtest") }

// run expects that every test passes, and none is skipped: here is all that they need.
func run(t *testing.T, a arch.Arch, packages ...string) {
	t.Helper()
	out, err := lab.KernelTests(t.Context(), os.Stderr, a, packages...)
	if err != nil {
		t.Fatalf("%v\nthe tests printed:\n%s", err, out)
	}
	count := map[string]int{}
	for _, m := range result.FindAllStringSubmatch(out, -1) {
		count[m[1]]++
		if m[1] != "PASS" {
			t.Errorf("%s: %s", m[2], m[1])
		}
	}
	if count["PASS"] == 0 {
		t.Error("no test ran")
	}
	for _, p := range packages {
		if end := "labkernel: " + strings.ReplaceAll(p, "/", "-") + " exit 0\n"; !strings.Contains(out, end) {
			t.Errorf("%s did not end well", p)
		}
	}
	t.Logf("in the guest: %d passed, %d failed, %d skipped", count["PASS"], count["FAIL"], count["SKIP"])
	if t.Failed() || testing.Verbose() {
		t.Logf("the tests printed:\n%s", out)
	}
}
