package sysfs

// The objects of a change, and of the wait after it. VFs are named by way of
// their PF, because a VF that is not made yet has no address.

// Shown is the name as a person would type it: below the place where every Linux
// has sysfs, whatever root this program was given.
func Shown(name string) string { return "/sys/" + name }

// AllVFNets is a pattern, for people: the interfaces of all VFs of the PF.
func AllVFNets(pf string) string { return Netdevs(DeviceAttr(pf, PrefixVirtFn+"*")) }

// VFNetAttr is a pattern, for people: an attribute of the VF's interface, whose
// name is not known yet.
func VFNetAttr(pf string, index int, attr string) string {
	return Join(Netdevs(VirtFn(pf, index)), "*/"+attr)
}

// VFDriverOverride is the driver_override of the PF's VF.
func VFDriverOverride(pf string, index int) string {
	return Join(VirtFn(pf, index), AttrDriverOverride)
}

// VFDriver is the link from the PF's VF to its driver.
func VFDriver(pf string, index int) string { return Join(VirtFn(pf, index), LinkDriver) }

// VFRDMA lists the RDMA devices of the PF's VF.
func VFRDMA(pf string, index int) string { return Join(VirtFn(pf, index), "infiniband") }

// VDPADeviceDriver is the link from the vDPA device to its driver.
func VDPADeviceDriver(name string) string { return Join(VDPADevice(name), LinkDriver) }
