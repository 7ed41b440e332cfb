package vf_test

import (
	"testing"

	"github.com/talos-sriov/talos-sriov/pkg/cni/vf"
	"github.com/talos-sriov/talos-sriov/pkg/internal/sysfstest"
)

// The CNI plugin finds the interface that the inventory calls the PF's own: among
// representors, of which some sort before it, and where there is only one of them
// because the PF's own is in another network namespace, none.
func TestPFsOwnInterface(t *testing.T) {
	const smartnic = "../../inventory/testdata/smartnic.sysfs"
	got, err := vf.Find(sysfstest.Load(t, smartnic).Tree(t), "0000:05:00.3")
	if err != nil || got.Master != "p0" {
		t.Errorf("the PF's interface is %q, %v, want p0", got.Master, err)
	}
	only := sysfstest.Parse(t, "moved", `devices/pci0000:00/0000:05:00.0
  vendor = 0x15b3
  sriov_totalvfs = 1
  virtfn0 -> 0000:05:00.3
devices/pci0000:00/0000:05:00.0/net/eth0
  phys_port_name = pf0vf0
devices/pci0000:00/0000:05:00.3
  physfn -> 0000:05:00.0
`).Tree(t)
	if got, err := vf.Find(only, "0000:05:00.3"); err == nil {
		t.Errorf("a representor, %s, was taken for the PF's interface", got.Master)
	}
}
