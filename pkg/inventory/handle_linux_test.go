package inventory

import (
	"testing"

	"github.com/talos-sriov/talos-sriov/pkg/nl"
	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
)

var _ Network = (*nl.Handle)(nil)

// This machine, whatever it has: the reading succeeds, and has nothing twice.
func TestReadThisMachine(t *testing.T) {
	fs, err := sysfs.Open("/sys")
	if err != nil {
		t.Fatal(err)
	}
	defer fs.Close()
	if _, err := fs.ReadDir(sysfs.PCIDevices); err != nil {
		t.Skipf("no PCI bus here: %v", err)
	}
	s, err := Read(t.Context(), fs, nl.Open())
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for i := range s.PFs {
		seen[s.PFs[i].Address] = true
	}
	for i := range s.Others {
		if f := &s.Others[i]; seen[f.Address] || !sysfs.IsPCIAddress(f.Address) || len(f.Class) != 6 {
			t.Errorf("function %+v", f)
		} else {
			seen[f.Address] = true
		}
	}
}
