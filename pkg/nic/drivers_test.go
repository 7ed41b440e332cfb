package nic_test

import (
	"testing"

	"github.com/talos-sriov/talos-sriov/pkg/nic"
)

func TestUserspaceDrivers(t *testing.T) {
	for _, tc := range []struct {
		driver    string
		vfio, uio bool
	}{
		{"vfio-pci", true, false},
		{"mlx5_vfio_pci", true, false},
		{"mlx5-vfio-pci", true, false},
		{"hisi_acc_vfio_pci", true, false},
		{"pds_vfio_pci", true, false},
		{"virtio_vfio_pci", true, false},
		{"qat_vfio_pci", true, false},
		{"nvgrace_gpu_vfio_pci", true, false},
		{"ice_vfio_pci", true, false},
		{"xe-vfio-pci", true, false},
		{"maker_of_2030_vfio_pci", true, false},
		{"uio_pci_generic", false, true},
		{"uio_hv_generic", false, true},
		{"igb_uio", false, true},
		{"uio", false, true},

		{"", false, false},
		{"default", false, false}, // values of the config's driver key that name no driver
		{"none", false, false},
		{"pci-stub", false, false},
		{"virtio-pci", false, false},
		{"mlx5_core", false, false},
		{"igbvf", false, false},
		{"iavf", false, false},
		{"novfio", false, false},
		{"cuio_net", false, false},
	} {
		if got := nic.VFIO(tc.driver); got != tc.vfio {
			t.Errorf("VFIO(%q) = %v", tc.driver, got)
		}
		if got := nic.UIO(tc.driver); got != tc.uio {
			t.Errorf("UIO(%q) = %v", tc.driver, got)
		}
		if got, want := nic.Userspace(tc.driver), tc.vfio || tc.uio; got != want {
			t.Errorf("Userspace(%q) = %v", tc.driver, got)
		}
	}
	for m := range nic.All() {
		if b := nic.ForDriver(m.Driver); nic.Userspace(b.Driver) || nic.Userspace(b.VFDriver) {
			t.Errorf("%+v: a driver of the network stack counts as userspace", b)
		}
	}
}
