package inventory

import (
	"fmt"
	"strings"
)

// Snapshot is everything SR-IOV that one reading of the machine found. It is never
// changed after Read returns it; whoever wants news reads again.
//
// Each field names its source: a path below /sys, an attribute of netlink (IFLA_,
// DEVLINK_, RDMA_NLDEV_), or what it derives from. Attributes of functions are below
// bus/pci/devices/ADDRESS, those of interfaces below class/net/NAME.
type Snapshot struct {
	// PFs are all SR-IOV capable functions with PCI class 02 (network) or 12
	// (processing accelerator), sorted by address: those of bus/pci/devices with
	// sriov_totalvfs.
	PFs []PF `json:"pfs" yaml:"pfs"`
	// Others are the network functions and accelerators that are neither PF nor
	// VF of a PF in PFs: NICs without SR-IOV, and VFs in a VM without their PF.
	// Source: bus/pci/devices.
	Others []Function `json:"others,omitempty" yaml:"others,omitempty"`
	// Subfunctions are the auxiliary-bus SFs of all parents, sorted by name. Source:
	// bus/auxiliary/devices/DRIVER.sf.N.
	Subfunctions []Subfunction `json:"subfunctions,omitempty" yaml:"subfunctions,omitempty"`
	// OtherUse says how the host itself uses the interface of a function in
	// Others (by PCI address) or of a subfunction (by name), as VF.HostUse does;
	// those that it does not use are not in it. Derived as VF.HostUse is.
	OtherUse map[string]string `json:"otherUse,omitempty" yaml:"otherUse,omitempty"`
	// VhostNet and Tun report whether /dev/vhost-net and /dev/net/tun exist. Source:
	// class/misc/vhost-net, class/misc/tun.
	VhostNet bool `json:"-" yaml:"-"`
	Tun      bool `json:"-" yaml:"-"`
	// VFIOType1 reports whether the module vfio_iommu_type1 is loaded or built
	// in. Without it a process can open a vfio group and do nothing with it. Source:
	// module/vfio_iommu_type1.
	VFIOType1 Presence `json:"-" yaml:"-"`
	// HostUnknown says why it is not known whether the host uses the interface of
	// a PF, VF or function in Others (by PCI address) or of a subfunction (by
	// name). Those of which it is known, and those without an interface, are not
	// in it; nor is, where there is no netlink to be asked, any but functions in Others
	// and subfunctions that the kernel does not answer about, which are as they were
	// read last. Derived from Network and from what RTM_GETLINK lists.
	HostUnknown map[string]string `json:"-" yaml:"-"`
	// Network is how much of the host's network was seen: what PF.Uplink,
	// PF.Upper, VF.HostUse and OtherUse rest on.
	Network NetworkAnswers `json:"-" yaml:"-"`
	// DefaultRoute reports whether the host has any default route. False also when
	// the network could not be asked. Source: RTM_GETROUTE.
	DefaultRoute bool `json:"defaultRoute" yaml:"defaultRoute"`
	// IOMMU reports whether a real IOMMU group exists (not one made up by vfio's
	// no-IOMMU mode). Source: kernel/iommu_groups/N/name.
	IOMMU bool `json:"iommu" yaml:"iommu"`
	// RDMANetns reports whether RDMA devices are "shared" by all network namespaces or
	// "exclusive" to one, "" when there is no RDMA device or it is not known. The
	// machine config sets it: module ib_core, parameter netns_mode=0 for exclusive.
	// Source: RDMA_NLDEV_SYS_ATTR_NETNS_MODE.
	RDMANetns string `json:"rdmaNetns,omitempty" yaml:"rdmaNetns,omitempty"`
	// PCIDrivers are the PCI drivers that are registered, sorted: a driver that is
	// not among them has no module loaded. nil when that is not known. Source:
	// bus/pci/drivers.
	PCIDrivers []string `json:"-" yaml:"-"`
	// Notes are the things that could not be read, each with its device.
	Notes []Note `json:"notes,omitempty" yaml:"notes,omitempty"`
}

// Presence is whether a part of the kernel is there. The zero value is not
// known, which is never taken for absent.
type Presence int

const (
	PresenceUnknown Presence = iota
	Absent
	Present
)

// Function is what any PCI function has, PF or VF.
type Function struct {
	Address string `json:"address" yaml:"address"` // DDDD:BB:DD.F; the entry in bus/pci/devices
	Vendor  string `json:"vendor" yaml:"vendor"`   // 4 hex digits, lower case; uevent PCI_ID, else vendor
	Device  string `json:"device" yaml:"device"`   // 4 hex digits, lower case; uevent PCI_ID, else device
	Class   string `json:"class" yaml:"class"`     // 6 hex digits: base, sub, interface; uevent PCI_CLASS, else class
	// Driver is the bound driver, "" when there is none. Source: uevent DRIVER, else
	// the link driver.
	Driver string `json:"driver,omitempty" yaml:"driver,omitempty"`
	// DriverOverride is driver_override, "" when none. Of a PF it is read as
	// [Needs].PFOverrides says, of others as [Needs].VFSettings.
	DriverOverride string `json:"driverOverride,omitempty" yaml:"driverOverride,omitempty"`
	NUMANode       int    `json:"numaNode" yaml:"numaNode"`                   // numa_node, -1 when the platform does not say
	IOMMUGroup     int    `json:"iommuGroup" yaml:"iommuGroup"`               // the link iommu_group, -1 when none
	NoIOMMU        bool   `json:"noIOMMU,omitempty" yaml:"noIOMMU,omitempty"` // kernel/iommu_groups/N/name is vfio-noiommu
	// ACPIIndex is acpi_index, "" when the firmware gives none. Of what is no PF it
	// is read as [Needs].ACPIIndexes says.
	ACPIIndex string `json:"acpiIndex,omitempty" yaml:"acpiIndex,omitempty"`
	// Netdevs are the network interfaces of the function that are in the host's
	// network namespace, sorted by port (dev_port), then by name; representors are
	// not among them. Source: the links in class/net.
	Netdevs []Netdev `json:"netdevs,omitempty" yaml:"netdevs,omitempty"`
	// RDMA are the function's RDMA devices (mlx5_0), sorted. Source: the links in
	// class/infiniband; of a software device, its interface.
	RDMA []RDMADevice `json:"rdma,omitempty" yaml:"rdma,omitempty"`
	// UIO is the name of the function's UIO device (uio0), "" when none. Source: the
	// links in class/uio.
	UIO string `json:"uio,omitempty" yaml:"uio,omitempty"`
	// VDPA is the function's vDPA device, nil when none. Source: the links in
	// bus/vdpa/devices.
	VDPA *VDPADevice `json:"vdpa,omitempty" yaml:"vdpa,omitempty"`
	// DDPProfile is the name of the adapter's loaded DDP package (Intel), ""
	// when it has none or the driver does not report it. Source:
	// DEVLINK_CMD_INFO_GET, version fw.app.name.
	DDPProfile string `json:"ddpProfile,omitempty" yaml:"ddpProfile,omitempty"`
	// AER holds the kernel's PCIe error totals, nil when the device has none, and
	// where [Needs].AER leaves it out.
	AER *AER `json:"aer,omitempty" yaml:"aer,omitempty"`
}

// RDMAExclusive is what has to be done so that a pod can have an RDMA device to
// itself: the kernel changes the mode only while there is no other network
// namespace (rdma_compatdev_set in drivers/infiniband/core/device.c), so it has
// to be given at boot.
const RDMAExclusive = "for devices that move into their pod's, boot with the kernel argument ib_core.netns_mode=0"

// PCI classes, as far as they are told apart.
const (
	classNetwork     = "02"
	classEthernet    = "0200"
	classInfiniBand  = "0207"
	classAccelerator = "12"
)

// IsNetwork reports whether the function is a network controller of any kind.
func (f *Function) IsNetwork() bool { return strings.HasPrefix(f.Class, classNetwork) }

// IsEthernet reports whether it is an Ethernet controller.
func (f *Function) IsEthernet() bool { return strings.HasPrefix(f.Class, classEthernet) }

// IsInfiniBand reports whether it is an InfiniBand controller.
func (f *Function) IsInfiniBand() bool { return strings.HasPrefix(f.Class, classInfiniBand) }

// IsAccelerator reports whether it is a processing accelerator.
func (f *Function) IsAccelerator() bool { return strings.HasPrefix(f.Class, classAccelerator) }

// Netdev is one network interface. Its fields are netlink's (RTM_GETLINK) where that
// lists the interface, and else sysfs'.
type Netdev struct {
	Name     string   `json:"name" yaml:"name"`                             // IFLA_IFNAME; the entry in class/net
	Index    int      `json:"index" yaml:"index"`                           // ifi_index; ifindex
	AltNames []string `json:"altNames,omitempty" yaml:"altNames,omitempty"` // IFLA_ALT_IFNAME, sorted
	MAC      string   `json:"mac,omitempty" yaml:"mac,omitempty"`           // IFLA_ADDRESS; address
	// PermMAC is the permanent address, "" when the driver does not report it.
	// Source: IFLA_PERM_ADDRESS; address of a port whose addr_assign_type is 0.
	PermMAC string `json:"permMAC,omitempty" yaml:"permMAC,omitempty"`
	MTU     int    `json:"mtu" yaml:"mtu"`                           // bytes; IFLA_MTU; mtu
	MaxMTU  int    `json:"maxMTU,omitempty" yaml:"maxMTU,omitempty"` // bytes, 0 when unknown; IFLA_MAX_MTU
	AdminUp bool   `json:"adminUp" yaml:"adminUp"`                   // IFF_UP; flags
	Carrier bool   `json:"carrier" yaml:"carrier"`                   // IFLA_CARRIER; carrier
	// SpeedMbps is the link speed, 0 when there is no link or the driver does
	// not say. Source: speed, of ports only.
	SpeedMbps    int    `json:"speedMbps,omitempty" yaml:"speedMbps,omitempty"`
	LinkType     string `json:"linkType" yaml:"linkType"`                             // ethernet | infiniband | other; ifi_type; type
	PhysSwitchID string `json:"physSwitchID,omitempty" yaml:"physSwitchID,omitempty"` // IFLA_PHYS_SWITCH_ID; phys_switch_id
	PhysPortName string `json:"physPortName,omitempty" yaml:"physPortName,omitempty"` // IFLA_PHYS_PORT_NAME; phys_port_name
}

// PF is an SR-IOV capable function.
type PF struct {
	Function `yaml:",inline"`
	TotalVFs int `json:"totalVFs" yaml:"totalVFs"` // sriov_totalvfs
	// NumVFs is how many VFs there are: the number of links virtfnN. It is what
	// sriov_numvfs says whenever nobody makes or removes VFs; while somebody does,
	// that attribute has no answer (sriov_numvfs_show waits for the lock of
	// sriov_numvfs_store), and this is how far the kernel has come
	// (pci_iov_add_virtfn makes the link before the VF is offered to drivers).
	// A count between two numbers is therefore work under way, or work that failed.
	NumVFs    int  `json:"numVFs" yaml:"numVFs"`
	AutoProbe bool `json:"autoProbe" yaml:"autoProbe"` // sriov_drivers_autoprobe
	// VFDevice is the PCI device id of the PF's VFs, "" when the kernel does
	// not say (sriov_vf_device).
	VFDevice string `json:"vfDevice,omitempty" yaml:"vfDevice,omitempty"`
	// EswitchMode is "legacy" or "switchdev", "" when the driver has no eswitch.
	// Source: DEVLINK_ATTR_ESWITCH_MODE; where devlink has no answer, switchdev when
	// the PF has a VF's representor.
	EswitchMode string `json:"eswitchMode,omitempty" yaml:"eswitchMode,omitempty"`
	// TCOffload reports whether the PF's interface offloads tc rules, nil when
	// that is not known; asked in switchdev mode only. Source: ethtool's feature
	// hw-tc-offload.
	TCOffload *bool `json:"-" yaml:"-"`
	// Uplink says why the PF carries the node's own network ("carries the IPv4
	// default route"), "" when nothing says so. Derived from RTM_GETLINK,
	// RTM_GETADDR and RTM_GETROUTE; see Uplinks for the rule.
	Uplink string `json:"uplink,omitempty" yaml:"uplink,omitempty"`
	// Upper is an interface that lies on one of the PF's and may carry the node's
	// network later ("bond0 (bond)"), "" when none was seen. Source: IFLA_MASTER and
	// IFLA_LINK; class/net/NAME/upper_*.
	Upper string `json:"upper,omitempty" yaml:"upper,omitempty"`
	// Unlisted is an interface of the PF that netlink did not list, so that its
	// addresses are not known; "" when all were, and without Network.Complete.
	Unlisted string `json:"-" yaml:"-"`
	// VFs are the existing VFs, sorted by index. Source: the links virtfnN.
	VFs []VF `json:"vfs,omitempty" yaml:"vfs,omitempty"`
	// Silent says why the kernel does not answer about the PF at this time ("the
	// kernel has not answered since 10:32:05 UTC"), or does not say which VFs it has, ""
	// when it does. The rest is then
	// as it was read last, Notes included; of a PF that has never answered there is
	// the address and nothing else. It is the same text for as long as the same
	// question is not answered. See [Reader].
	Silent string `json:"silent,omitempty" yaml:"silent,omitempty"`
}

// VF is one virtual function.
type VF struct {
	Function `yaml:",inline"`
	Index    int `json:"index" yaml:"index"` // N of the PF's link virtfnN
	// Representor is the name of the VF's representor netdev on the host,
	// "" outside switchdev mode. Source: an interface of the PF whose port name is
	// pfNvfN.
	Representor string `json:"representor,omitempty" yaml:"representor,omitempty"`
	// HostUse says how the host itself uses the VF's interface (it carries an
	// address that is not link-local, or a default route, or is below a bond,
	// bridge, VLAN or other device of the host), "" when nothing says so. It does
	// not make the PF an uplink. Derived as PF.Uplink and PF.Upper are.
	HostUse string `json:"hostUse,omitempty" yaml:"hostUse,omitempty"`
	// Admin are the attributes that the PF holds for the VF, nil when the PF's
	// driver does not report them. Source: IFLA_VFINFO_LIST of the PF's interface.
	Admin *VFAdmin `json:"admin,omitempty" yaml:"admin,omitempty"`
}

// VFAdmin is the PF's side of a VF (IFLA_VF_INFO).
type VFAdmin struct {
	MAC       string `json:"mac,omitempty" yaml:"mac,omitempty"`             // IFLA_VF_MAC; all zero: not set
	VLAN      int    `json:"vlan" yaml:"vlan"`                               // IFLA_VF_VLAN_LIST, else IFLA_VF_VLAN
	QoS       int    `json:"qos" yaml:"qos"`                                 // as VLAN
	VLANProto string `json:"vlanProto,omitempty" yaml:"vlanProto,omitempty"` // 802.1q | 802.1ad; IFLA_VF_VLAN_LIST
	MinRate   int    `json:"minRate" yaml:"minRate"`                         // Mbit/s; IFLA_VF_RATE
	MaxRate   int    `json:"maxRate" yaml:"maxRate"`                         // Mbit/s; IFLA_VF_RATE
	// SpoofCheck is IFLA_VF_SPOOFCHK, Trust IFLA_VF_TRUST, see Unreported.
	SpoofCheck bool   `json:"spoofCheck" yaml:"spoofCheck"`
	Trust      bool   `json:"trust" yaml:"trust"`
	QueryRSS   *bool  `json:"queryRSS,omitempty" yaml:"queryRSS,omitempty"` // IFLA_VF_RSS_QUERY_EN; nil when not reported
	LinkState  string `json:"linkState" yaml:"linkState"`                   // auto | enable | disable; IFLA_VF_LINK_STATE
	NodeGUID   string `json:"nodeGUID,omitempty" yaml:"nodeGUID,omitempty"` // IFLA_VF_IB_NODE_GUID
	PortGUID   string `json:"portGUID,omitempty" yaml:"portGUID,omitempty"` // IFLA_VF_IB_PORT_GUID
	// Unreported names the settings that the driver does not report
	// (spoofCheck, trust): their values here say nothing.
	Unreported []string `json:"unreported,omitempty" yaml:"unreported,omitempty"`
}

// RDMADevice is an RDMA device and its character devices.
type RDMADevice struct {
	Name string `json:"name" yaml:"name"` // the entry in class/infiniband
	// CharDevs are paths below /dev (infiniband/uverbs0), sorted. The connection
	// manager infiniband/rdma_cm, which all share, is among them when it exists.
	// Source: ibdev of class/infiniband_verbs/* and class/infiniband_mad/*;
	// class/misc/rdma_cm.
	CharDevs []string `json:"charDevs,omitempty" yaml:"charDevs,omitempty"`
	NodeGUID string   `json:"nodeGUID,omitempty" yaml:"nodeGUID,omitempty"` // class/infiniband/NAME/node_guid
	// PKey is the first partition key of port 1 (0xffff), "" when there is none.
	// Source: class/infiniband/NAME/ports/1/pkeys/0.
	PKey string `json:"pkey,omitempty" yaml:"pkey,omitempty"`
}

// VDPADevice is a vDPA device of a VF or SF.
type VDPADevice struct {
	Name   string `json:"name" yaml:"name"`                         // the entry in bus/vdpa/devices
	Driver string `json:"driver,omitempty" yaml:"driver,omitempty"` // virtio_vdpa | vhost_vdpa; its link driver
	Path   string `json:"path,omitempty" yaml:"path,omitempty"`     // below /dev, vhost only; its entry vhost-vdpa-N
}

// AER are the kernel's totals of PCIe errors.
type AER struct {
	Fatal    int64 `json:"fatal" yaml:"fatal"`       // TOTAL_ERR_FATAL in aer_dev_fatal
	NonFatal int64 `json:"nonFatal" yaml:"nonFatal"` // TOTAL_ERR_NONFATAL in aer_dev_nonfatal
}

// Subfunction is an auxiliary-bus SF. Interfaces and devices are found as those of a
// [Function] are.
type Subfunction struct {
	Name    string       `json:"name" yaml:"name"`                         // mlx5_core.sf.4; the entry in bus/auxiliary/devices
	Parent  string       `json:"parent" yaml:"parent"`                     // PCI address in the link's target
	SFNum   int          `json:"sfnum" yaml:"sfnum"`                       // sfnum
	Driver  string       `json:"driver,omitempty" yaml:"driver,omitempty"` // the link driver
	Netdevs []Netdev     `json:"netdevs,omitempty" yaml:"netdevs,omitempty"`
	RDMA    []RDMADevice `json:"rdma,omitempty" yaml:"rdma,omitempty"`
	VDPA    *VDPADevice  `json:"vdpa,omitempty" yaml:"vdpa,omitempty"`
}

// Note is something that could not be read.
type Note struct {
	Device string `json:"device" yaml:"device"` // PCI address, SF, RDMA device or directory; "network"
	What   string `json:"what" yaml:"what"`     // the attribute or question
	Err    string `json:"err" yaml:"err"`
	// Unanswerable is true when there was no way to ask, see the error of that name:
	// the note says nothing of this machine.
	Unanswerable bool `json:"-" yaml:"-"`
}

func (n Note) String() string { return fmt.Sprintf("%s: %s: %s", n.Device, n.What, n.Err) }

// Name is the PF's first interface name, or its address when it has none.
func (p *PF) Name() string {
	if len(p.Netdevs) > 0 {
		return p.Netdevs[0].Name
	}
	return p.Address
}

// VF returns the VF with the index, or nil.
func (p *PF) VF(index int) *VF {
	for i := range p.VFs {
		if p.VFs[i].Index == index {
			return &p.VFs[i]
		}
	}
	return nil
}
