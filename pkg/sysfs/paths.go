package sysfs

import (
	"strconv"
	"strings"
)

// Attributes of a PCI function's directory. Source: Documentation/ABI/testing/
// sysfs-bus-pci of the kernel.
const (
	AttrUevent           = "uevent"
	AttrVendor           = "vendor"
	AttrDevice           = "device"
	AttrClass            = "class"
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
	DirNet               = "net"        // the function's network interfaces in the reader's namespace
	DirInfiniBand        = "infiniband" // its RDMA devices
	DirVFIODev           = "vfio-dev"   // its device of iommufd
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

// Attributes of an RDMA device's directory and of its character devices' (ibdev).
// Source: Documentation/ABI/stable/sysfs-class-infiniband.
const (
	RDMANodeGUID  = "node_guid"
	RDMAFirstPKey = "ports/1/pkeys/0"           // first partition key of port 1
	RDMAParent    = "parent"                    // interface below a software device (rxe)
	RDMANetdev    = "ports/1/gid_attrs/ndevs/0" // interface of port 1's first GID
	RDMADevice    = "ibdev"                     // RDMA device of a character device
)

// Directories that are listed.
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
	VDPADrivers      = "bus/vdpa/drivers"
	IOMMUGroups      = "kernel/iommu_groups"
)

// Entries of the directories above that have a meaning of their own.
const (
	MiscRDMACM   = "rdma_cm"   // connection manager of RDMA
	MiscVhostNet = "vhost-net" // kernel side of virtio-net
	MiscTun      = "tun"       // TUN/TAP
	MiscVFIO     = "vfio"      // VFIO's container
	// ModuleVFIOType1 is the module without which a vfio group is of no use.
	ModuleVFIOType1 = "vfio_iommu_type1"
	// PrefixVhostVDPA begins the name of a vDPA device's character device, which is
	// an entry of the vDPA device's directory.
	PrefixVhostVDPA = "vhost-vdpa-"
	// GroupNoIOMMU is the name of the groups that vfio makes up without an IOMMU.
	GroupNoIOMMU = "vfio-noiommu"
)

// PrefixPhysical begins the names that are physical, see [Tree].ReadLink.
const PrefixPhysical = "devices/"

// Join joins a name and an attribute.
func Join(name, attr string) string { return name + "/" + attr }

// Device is the directory (a link) of the PCI function.
func Device(addr string) string { return PCIDevices + "/" + addr }

// DeviceAttr is an attribute of the PCI function.
func DeviceAttr(addr, attr string) string { return PCIDevices + "/" + addr + "/" + attr }

// TotalVFs is how many VFs the PF can have, read-only.
func TotalVFs(addr string) string { return DeviceAttr(addr, AttrTotalVFs) }

// NumVFs is how many VFs the PF has; writing changes it, 0 to N or N to 0.
func NumVFs(addr string) string { return DeviceAttr(addr, AttrNumVFs) }

// DriversAutoprobe reports whether new VFs are offered to drivers, "0" or "1".
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

// DriverDir is the directory of a PCI driver. It exists while the module is
// loaded.
func DriverDir(driver string) string { return PCIDrivers + "/" + driver }

// DriverUnbind takes the address of a function that the driver must release.
func DriverUnbind(driver string) string { return DriverDir(driver) + "/unbind" }

// DriversProbe takes the address of an unbound function to offer to the drivers,
// driver_override respected.
func DriversProbe() string { return "bus/pci/drivers_probe" }

// Net is the directory (a link) of a network interface.
func Net(ifname string) string { return NetClass + "/" + ifname }

// NetAttr is an attribute of a network interface.
func NetAttr(ifname, attr string) string { return NetClass + "/" + ifname + "/" + attr }

// Netdevs is the directory of a device's network interfaces, those in the reader's
// network namespace; device is the device's own directory.
func Netdevs(device string) string { return Join(device, DirNet) }

// RDMADevices is the directory of a device's RDMA devices, those in the reader's
// network namespace; device is the device's own directory.
func RDMADevices(device string) string { return Join(device, DirInfiniBand) }

// IsNetdevOf reports whether dir, the physical directory of a network interface, is
// one of an interface of the device with the name.
func IsNetdevOf(dir, device string) bool {
	return strings.Contains(dir, "/"+device+"/"+DirNet+"/")
}

// RDMA is the directory (a link) of an RDMA device.
func RDMA(name string) string { return InfiniBandClass + "/" + name }

// IOMMUGroupName is the name attribute of an IOMMU group, see [GroupNoIOMMU].
func IOMMUGroupName(group int) string {
	return IOMMUGroups + "/" + strconv.Itoa(group) + "/name"
}

// VDPADevice is the directory (a link) of a vDPA device.
func VDPADevice(name string) string { return VDPADevices + "/" + name }

// VDPADriverBind, VDPADriverUnbind take the name of a vDPA device; drivers are
// virtio_vdpa and vhost_vdpa.
func VDPADriverBind(driver string) string { return VDPADrivers + "/" + driver + "/bind" }

// VDPADriverUnbind is the counterpart of VDPADriverBind.
func VDPADriverUnbind(driver string) string { return VDPADrivers + "/" + driver + "/unbind" }

// VDPADriverOverride names the only driver that may bind the vDPA device.
func VDPADriverOverride(name string) string { return Join(VDPADevice(name), AttrDriverOverride) }
