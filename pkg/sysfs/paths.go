package sysfs

import "strconv"

// Attributes of a PCI function's directory. Source: Documentation/ABI/testing/
// sysfs-bus-pci of the kernel.
const (
	AttrUevent           = "uevent"
	AttrVendor           = "vendor"
	AttrDevice           = "device"
	AttrClass            = "class"
	AttrModalias         = "modalias"
	AttrNUMANode         = "numa_node"
	AttrACPIIndex        = "acpi_index"
	AttrDriverOverride   = "driver_override"
	AttrTotalVFs         = "sriov_totalvfs"
	AttrNumVFs           = "sriov_numvfs"
	AttrDriversAutoprobe = "sriov_drivers_autoprobe"
	AttrVFDevice         = "sriov_vf_device"
	AttrOffset           = "sriov_offset"
	AttrStride           = "sriov_stride"
	AttrAERFatal         = "aer_dev_fatal"
	AttrAERNonFatal      = "aer_dev_nonfatal"
	LinkDriver           = "driver"
	LinkPhysFn           = "physfn"
	LinkIOMMUGroup       = "iommu_group"
	PrefixVirtFn         = "virtfn" // virtfn0, virtfn1, ...
	AttrSFNum            = "sfnum"  // of an auxiliary device
)

// Attributes of a network interface's directory. Source: Documentation/ABI/
// testing/sysfs-class-net.
const (
	NetIfIndex      = "ifindex"
	NetAddress      = "address"
	NetMTU          = "mtu"
	NetFlags        = "flags"
	NetCarrier      = "carrier"
	NetSpeed        = "speed"
	NetDevPort      = "dev_port"
	PrefixUpper     = "upper_" // link to an interface on top
	NetType         = "type"
	NetPhysSwitchID = "phys_switch_id"
	NetPhysPortName = "phys_port_name"
	// NetAddrAssignType is 0 when the address is the permanent one.
	NetAddrAssignType = "addr_assign_type"
)

// Folders that are listed.
const (
	PCIDevices       = "bus/pci/devices"
	AuxiliaryDevices = "bus/auxiliary/devices"
	VDPADevices      = "bus/vdpa/devices"
	NetClass         = "class/net"
	InfiniBandClass  = "class/infiniband"
	VerbsClass       = "class/infiniband_verbs"
	MADClass         = "class/infiniband_mad"
	MiscClass        = "class/misc"
	Modules          = "module"
	UIOClass         = "class/uio"
	PCIDrivers       = "bus/pci/drivers"
	IOMMUGroups      = "kernel/iommu_groups"
)

// Join joins a name and an attribute.
func Join(name, attr string) string { return name + "/" + attr }

// Device is the folder (a link) of the PCI function.
func Device(addr string) string { return PCIDevices + "/" + addr }

// DeviceAttr is an attribute of the PCI function.
func DeviceAttr(addr, attr string) string { return PCIDevices + "/" + addr + "/" + attr }

// TotalVFs is how many VFs the PF can have, read-only.
func TotalVFs(addr string) string { return DeviceAttr(addr, AttrTotalVFs) }

// NumVFs is how many VFs the PF has; writing changes it, 0 to N or N to 0.
func NumVFs(addr string) string { return DeviceAttr(addr, AttrNumVFs) }

// DriversAutoprobe says whether new VFs are offered to drivers, "0" or "1".
func DriversAutoprobe(addr string) string { return DeviceAttr(addr, AttrDriversAutoprobe) }

// DriverOverride names the only driver that may bind the function; a newline
// written to it removes the override.
func DriverOverride(addr string) string { return DeviceAttr(addr, AttrDriverOverride) }

// Driver is the link from the function to its driver.
func Driver(addr string) string { return DeviceAttr(addr, LinkDriver) }

// VirtFn is the link from the PF to its VF with the index.
func VirtFn(addr string, index int) string {
	return DeviceAttr(addr, PrefixVirtFn+strconv.Itoa(index))
}

// DriverDir is the folder of a PCI driver. It exists while the module is
// loaded.
func DriverDir(driver string) string { return PCIDrivers + "/" + driver }

// DriverBind takes the address of a function that the driver shall bind.
func DriverBind(driver string) string { return DriverDir(driver) + "/bind" }

// DriverUnbind takes the address of a function that the driver shall release.
func DriverUnbind(driver string) string { return DriverDir(driver) + "/unbind" }

// DriversProbe takes the address of an unbound function that shall be offered
// to the drivers, driver_override respected.
func DriversProbe() string { return "bus/pci/drivers_probe" }

// Remove takes "1" and removes the function from the bus.
func Remove(addr string) string { return DeviceAttr(addr, "remove") }

// Module is the folder of a loaded or built-in kernel module.
func Module(name string) string { return Modules + "/" + name }

// Net is the folder (a link) of a network interface.
func Net(ifname string) string { return NetClass + "/" + ifname }

// NetAttr is an attribute of a network interface.
func NetAttr(ifname, attr string) string { return NetClass + "/" + ifname + "/" + attr }

// IOMMUGroupName is the name attribute of an IOMMU group; "vfio-noiommu" marks
// the groups that vfio makes up where there is no IOMMU.
func IOMMUGroupName(group int) string {
	return IOMMUGroups + "/" + strconv.Itoa(group) + "/name"
}

// VDPADevice is the folder (a link) of a vDPA device.
func VDPADevice(name string) string { return VDPADevices + "/" + name }

// VDPADriverBind, VDPADriverUnbind take the name of a vDPA device; drivers are
// virtio_vdpa and vhost_vdpa.
func VDPADriverBind(driver string) string { return "bus/vdpa/drivers/" + driver + "/bind" }

// VDPADriverUnbind is the counterpart of VDPADriverBind.
func VDPADriverUnbind(driver string) string { return "bus/vdpa/drivers/" + driver + "/unbind" }

// VDPADriverOverride names the only driver that may bind the vDPA device.
func VDPADriverOverride(name string) string { return VDPADevice(name) + "/driver_override" }
