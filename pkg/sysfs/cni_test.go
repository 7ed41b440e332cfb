package sysfs_test

import (
	"testing"

	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
)

func TestVirtFnIndex(t *testing.T) {
	t.Parallel()
	for entry, want := range map[string]int{"virtfn0": 0, "virtfn63": 63, "virtfn": -1, "virtfn-1": -1, "virtfnx": -1, "sriov_numvfs": -1, "": -1, "virtfn99999999999": -1} {
		index, ok := sysfs.VirtFnIndex(entry)
		if ok != (want >= 0) || ok && index != want {
			t.Errorf("%q is %d, %v, want %d", entry, index, ok, want)
		}
	}
}
