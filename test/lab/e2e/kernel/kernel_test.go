package kernel

import (
	"os"
	"regexp"
	"strings"
	"testing"

	lab "github.com/talos-sriov/talos-sriov/test/lab"
)

// packages of the main module that have tests for a kernel with netdevsim.
var packages = []string{"pkg/nl/kerneltest"}

var result = regexp.MustCompile(`(?m)^ *--- (PASS|FAIL|SKIP): (\S+)`)

// Every test passes, and none is skipped: here is all that they need.
func TestNetdevsim(t *testing.T) {
	out, err := lab.KernelTests(t.Context(), os.Stderr, packages...)
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
