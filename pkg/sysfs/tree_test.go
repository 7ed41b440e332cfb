package sysfs_test

import (
	"testing"

	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
)

func TestPCIAddress(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"devices/pci0000:20/0000:20:00.0/0000:21:00.0/net/eth0", "0000:21:00.0"},
		{"devices/pci0000:20/0000:20:00.0", "0000:20:00.0"},
		{"0000:21:10.2", "0000:21:10.2"},
		{"devices/pci10000:e0/10000:e0:00.0/net/x", "10000:e0:00.0"},
		{"devices/virtual/net/lo", ""},
		{"devices/pci0000:20", ""},
		{"", ""},
	} {
		if got := sysfs.PCIAddress(tc.in); got != tc.want {
			t.Errorf("PCIAddress(%q) = %q, want %q", tc.in, got, tc.want)
		}
	}
}

func TestIsPCIAddress(t *testing.T) {
	for s, want := range map[string]bool{
		"0000:21:00.0": true, "0000:ff:1f.7": true, "10000:e0:00.0": true,
		"0000:21:00": false, "21:00.0": false, "0000:21:00:0": false, "0000:FF:1f.7": false,
		"000021000000": false, "pci0000:20": false, "0000:21:00.": false, "0000_21_00_0": false,
	} {
		if got := sysfs.IsPCIAddress(s); got != want {
			t.Errorf("IsPCIAddress(%q) = %v", s, got)
		}
	}
}

func TestPaths(t *testing.T) {
	const a = "0000:21:00.0"
	for got, want := range map[string]string{
		sysfs.NumVFs(a):                    "bus/pci/devices/0000:21:00.0/sriov_numvfs",
		sysfs.TotalVFs(a):                  "bus/pci/devices/0000:21:00.0/sriov_totalvfs",
		sysfs.DriversAutoprobe(a):          "bus/pci/devices/0000:21:00.0/sriov_drivers_autoprobe",
		sysfs.DriverOverride(a):            "bus/pci/devices/0000:21:00.0/driver_override",
		sysfs.VirtFn(a, 12):                "bus/pci/devices/0000:21:00.0/virtfn12",
		sysfs.DriverDir("igbvf"):           "bus/pci/drivers/igbvf",
		sysfs.Netdevs(sysfs.Device(a)):     "bus/pci/devices/0000:21:00.0/net",
		sysfs.RDMADevices("devices/x"):     "devices/x/infiniband",
		sysfs.RDMA("mlx5_0"):               "class/infiniband/mlx5_0",
		sysfs.VDPADriverBind("vhost_vdpa"): "bus/vdpa/drivers/vhost_vdpa/bind",
		sysfs.DriverUnbind("vfio-pci"):     "bus/pci/drivers/vfio-pci/unbind",
		sysfs.DriversProbe():               "bus/pci/drivers_probe",
		sysfs.NetAttr("eth0", "mtu"):       "class/net/eth0/mtu",
		sysfs.IOMMUGroupName(7):            "kernel/iommu_groups/7/name",
		sysfs.VDPADriverOverride("v0"):     "bus/vdpa/devices/v0/driver_override",
	} {
		if got != want {
			t.Errorf("path %q, want %q", got, want)
		}
	}
}

func TestIsNetdevOf(t *testing.T) {
	const dir = "devices/pci0000:20/0000:20:00.0/0000:21:00.0/net/eth0"
	for device, want := range map[string]bool{"0000:21:00.0": true, "0000:20:00.0": false, "21:00.0": false, "eth0": false} {
		if got := sysfs.IsNetdevOf(dir, device); got != want {
			t.Errorf("the interface is one of %s: %v", device, got)
		}
	}
}
