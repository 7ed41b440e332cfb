package talostest

import (
	"testing"

	"github.com/talos-sriov/talos-sriov/pkg/internal/sysfstest"
)

// Sysfs unpacks an archive of sysfstest, without its faults, and returns the
// tree's root, for tests outside of pkg.
func Sysfs(tb testing.TB, archive string) string {
	tb.Helper()
	return sysfstest.Load(tb, archive).Root
}
