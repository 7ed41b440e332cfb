package plan

import "github.com/talos-sriov/talos-sriov/pkg/sysfs"

// Paths in steps are what a person would type; the root is where every Linux
// has sysfs, whatever root this program was given.
const sysRoot = "/sys/"

func numVFsPath(pf string) string    { return sysRoot + sysfs.NumVFs(pf) }
func autoProbePath(pf string) string { return sysRoot + sysfs.DriversAutoprobe(pf) }
func vfNetPath(pf string) string     { return sysRoot + sysfs.DeviceAttr(pf, sysfs.PrefixVirtFn+"*/net") }
func netMTU(ifname string) string    { return sysfs.NetAttr(ifname, sysfs.NetMTU) }

func driverUnbind(driver string) string { return sysfs.DriverUnbind(driver) }

// vfAttr is an attribute of a VF by way of its PF, because a VF that is not
// made yet has no address.
func vfAttr(pf string, index int, attr string) string {
	return sysfs.Join(sysfs.VirtFn(pf, index), attr)
}
