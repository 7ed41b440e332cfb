package inventory

import "fmt"

// Snapshot is everything SR-IOV that one look at the machine found. It is never
// changed after Read returns it; whoever wants news reads again.
type Snapshot struct {
	// PFs are all SR-IOV capable functions with PCI class 02 (network) or 12
	// (processing accelerator), sorted by address.
	PFs []PF `json:"pfs" yaml:"pfs"`
	// Others are the network functions and accelerators that are neither PF nor
	// VF of a PF in PFs: NICs without SR-IOV, and VFs in a VM without their PF.
	Others []Function `json:"others,omitempty" yaml:"others,omitempty"`
	// Subfunctions are the auxiliary-bus SFs of all parents, sorted by name.
	Subfunctions []Subfunction `json:"subfunctions,omitempty" yaml:"subfunctions,omitempty"`
	// OtherUse says how the host itself uses the interface of a function in
	// Others (by PCI address) or of a subfunction (by name), in the words of
	// VF.HostUse; those that it does not use are not in it.
	OtherUse map[string]string `json:"otherUse,omitempty" yaml:"otherUse,omitempty"`
	// VhostNet and Tun report whether /dev/vhost-net and /dev/net/tun exist.
	VhostNet bool `json:"-" yaml:"-"`
	Tun      bool `json:"-" yaml:"-"`
	// VFIOType1 reports whether the module vfio_iommu_type1 is loaded or built
	// in. Without it a process can open a vfio group and do nothing with it.
	VFIOType1 Presence `json:"-" yaml:"-"`
	// HostUnknown says why it is not known whether the host uses the interface of
	// a PF, VF or function in Others (by PCI address) or of a subfunction (by
	// name). Those of which it is known, and those without an interface, are not
	// in it; nor is anything when there is no netlink to be asked.
	HostUnknown map[string]string `json:"-" yaml:"-"`
	// Network is how much of the host's network was seen: what PF.Uplink,
	// PF.Upper, VF.HostUse and OtherUse rest on.
	Network NetworkAnswers `json:"-" yaml:"-"`
	// DefaultRoute reports whether the host has any default route. False also when
	// the network could not be asked.
	DefaultRoute bool `json:"defaultRoute" yaml:"defaultRoute"`
	// IOMMU reports whether a real IOMMU group exists (not one made up by vfio's
	// no-IOMMU mode).
	IOMMU bool `json:"iommu" yaml:"iommu"`
	// RDMANetns says whether RDMA devices are "shared" by all network namespaces or
	// "exclusive" to one, "" when there is no RDMA device or it is not known. The
	// machine config sets it: module ib_core, parameter netns_mode=0 for exclusive.
	RDMANetns string `json:"rdmaNetns,omitempty" yaml:"rdmaNetns,omitempty"`
	// PCIDrivers are the PCI drivers that are registered, sorted: a driver that is
	// not among them has no module loaded. nil when that is not known.
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
	Address        string `json:"address" yaml:"address"`                                   // DDDD:BB:DD.F
	Vendor         string `json:"vendor" yaml:"vendor"`                                     // 4 hex digits, lower case
	Device         string `json:"device" yaml:"device"`                                     // 4 hex digits, lower case
	Class          string `json:"class" yaml:"class"`                                       // 6 hex digits: base, sub, interface
	Driver         string `json:"driver,omitempty" yaml:"driver,omitempty"`                 // "" when unbound
	DriverOverride string `json:"driverOverride,omitempty" yaml:"driverOverride,omitempty"` // "" when none
	NUMANode       int    `json:"numaNode" yaml:"numaNode"`                                 // -1 when the platform does not say
	IOMMUGroup     int    `json:"iommuGroup" yaml:"iommuGroup"`                             // -1 when none
	NoIOMMU        bool   `json:"noIOMMU,omitempty" yaml:"noIOMMU,omitempty"`               // group is vfio-noiommu
	ACPIIndex      string `json:"acpiIndex,omitempty" yaml:"acpiIndex,omitempty"`
	// Netdevs are the network interfaces of the function that are in the host's
	// network namespace, sorted by port (dev_port), then by name; representors are
	// not among them.
	Netdevs []Netdev `json:"netdevs,omitempty" yaml:"netdevs,omitempty"`
	// RDMA are the function's RDMA devices (mlx5_0), sorted.
	RDMA []RDMADevice `json:"rdma,omitempty" yaml:"rdma,omitempty"`
	// UIO is the name of the function's UIO device (uio0), "" when none.
	UIO string `json:"uio,omitempty" yaml:"uio,omitempty"`
	// VDPA is the function's vDPA device, nil when none.
	VDPA *VDPADevice `json:"vdpa,omitempty" yaml:"vdpa,omitempty"`
	// DDPProfile is the name of the adapter's loaded DDP package (Intel), ""
	// when it has none or the driver does not tell it through devlink.
	DDPProfile string `json:"ddpProfile,omitempty" yaml:"ddpProfile,omitempty"`
	// AER holds the kernel's PCIe error totals, nil when the device has none.
	AER *AER `json:"aer,omitempty" yaml:"aer,omitempty"`
}

// Netdev is one network interface.
type Netdev struct {
	Name     string   `json:"name" yaml:"name"`
	Index    int      `json:"index" yaml:"index"`
	AltNames []string `json:"altNames,omitempty" yaml:"altNames,omitempty"`
	MAC      string   `json:"mac,omitempty" yaml:"mac,omitempty"`
	PermMAC  string   `json:"permMAC,omitempty" yaml:"permMAC,omitempty"`
	MTU      int      `json:"mtu" yaml:"mtu"`                           // bytes
	MaxMTU   int      `json:"maxMTU,omitempty" yaml:"maxMTU,omitempty"` // bytes, 0 when unknown
	AdminUp  bool     `json:"adminUp" yaml:"adminUp"`
	Carrier  bool     `json:"carrier" yaml:"carrier"`
	// SpeedMbps is the link speed, 0 when there is no link or the driver does
	// not say.
	SpeedMbps    int    `json:"speedMbps,omitempty" yaml:"speedMbps,omitempty"`
	LinkType     string `json:"linkType" yaml:"linkType"` // ethernet | infiniband | other
	PhysSwitchID string `json:"physSwitchID,omitempty" yaml:"physSwitchID,omitempty"`
	PhysPortName string `json:"physPortName,omitempty" yaml:"physPortName,omitempty"`
}

// PF is an SR-IOV capable function.
type PF struct {
	Function  `yaml:",inline"`
	TotalVFs  int  `json:"totalVFs" yaml:"totalVFs"`   // sriov_totalvfs
	NumVFs    int  `json:"numVFs" yaml:"numVFs"`       // sriov_numvfs
	AutoProbe bool `json:"autoProbe" yaml:"autoProbe"` // sriov_drivers_autoprobe
	// VFDevice is the PCI device id of the PF's VFs, "" when the kernel does
	// not say (sriov_vf_device).
	VFDevice    string `json:"vfDevice,omitempty" yaml:"vfDevice,omitempty"`
	EswitchMode string `json:"eswitchMode,omitempty" yaml:"eswitchMode,omitempty"` // "" when the driver has no devlink eswitch
	// TCOffload reports whether the PF's interface offloads tc rules, nil when
	// that is not known; asked in switchdev mode only.
	TCOffload *bool `json:"-" yaml:"-"`
	// Uplink says why the PF carries the node's own network ("carries the IPv4
	// default route"), "" when nothing says so. See Uplinks for the rule.
	Uplink string `json:"uplink,omitempty" yaml:"uplink,omitempty"`
	// Upper is an interface that lies on one of the PF's and may carry the node's
	// network later ("bond0 (bond)"), "" when none was seen.
	Upper string `json:"upper,omitempty" yaml:"upper,omitempty"`
	// Unlisted is an interface of the PF that netlink did not list, so that its
	// addresses are not known; "" when all were, and without Network.Complete.
	Unlisted string `json:"-" yaml:"-"`
	// VFs are the existing VFs, sorted by index.
	VFs []VF `json:"vfs,omitempty" yaml:"vfs,omitempty"`
}

// VF is one virtual function.
type VF struct {
	Function `yaml:",inline"`
	Index    int `json:"index" yaml:"index"`
	// Representor is the name of the VF's representor netdev on the host,
	// "" outside switchdev mode.
	Representor string `json:"representor,omitempty" yaml:"representor,omitempty"`
	// HostUse says how the host itself uses the VF's interface (it carries an
	// address that is not link-local, or a default route, or is below a bond,
	// bridge, VLAN or other device of the host), "" when nothing says so. It does
	// not make the PF an uplink.
	HostUse string `json:"hostUse,omitempty" yaml:"hostUse,omitempty"`
	// Admin are the attributes that the PF holds for the VF, nil when the PF's
	// driver does not report them.
	Admin *VFAdmin `json:"admin,omitempty" yaml:"admin,omitempty"`
}

// VFAdmin is the PF's side of a VF (IFLA_VFINFO_LIST).
type VFAdmin struct {
	MAC        string `json:"mac,omitempty" yaml:"mac,omitempty"` // all zero: not set
	VLAN       int    `json:"vlan" yaml:"vlan"`
	QoS        int    `json:"qos" yaml:"qos"`
	VLANProto  string `json:"vlanProto,omitempty" yaml:"vlanProto,omitempty"` // 802.1q | 802.1ad
	MinRate    int    `json:"minRate" yaml:"minRate"`                         // Mbit/s
	MaxRate    int    `json:"maxRate" yaml:"maxRate"`                         // Mbit/s
	SpoofCheck bool   `json:"spoofCheck" yaml:"spoofCheck"`
	Trust      bool   `json:"trust" yaml:"trust"`
	QueryRSS   *bool  `json:"queryRSS,omitempty" yaml:"queryRSS,omitempty"` // nil when not reported
	LinkState  string `json:"linkState" yaml:"linkState"`                   // auto | enable | disable
	NodeGUID   string `json:"nodeGUID,omitempty" yaml:"nodeGUID,omitempty"`
	PortGUID   string `json:"portGUID,omitempty" yaml:"portGUID,omitempty"`
	// Unreported names the settings that the driver does not report
	// (spoofCheck, trust): their values here say nothing.
	Unreported []string `json:"unreported,omitempty" yaml:"unreported,omitempty"`
}

// RDMADevice is an RDMA device and its character devices.
type RDMADevice struct {
	Name string `json:"name" yaml:"name"`
	// CharDevs are paths below /dev (infiniband/uverbs0), sorted. The connection
	// manager infiniband/rdma_cm, which all share, is among them when it exists.
	CharDevs []string `json:"charDevs,omitempty" yaml:"charDevs,omitempty"`
	NodeGUID string   `json:"nodeGUID,omitempty" yaml:"nodeGUID,omitempty"`
	// PKey is the first partition key of port 1 (0xffff), "" when there is none.
	PKey string `json:"pkey,omitempty" yaml:"pkey,omitempty"`
}

// VDPADevice is a vDPA device of a VF or SF.
type VDPADevice struct {
	Name   string `json:"name" yaml:"name"`
	Driver string `json:"driver,omitempty" yaml:"driver,omitempty"` // virtio_vdpa | vhost_vdpa
	Path   string `json:"path,omitempty" yaml:"path,omitempty"`     // below /dev, vhost only
}

// AER are the totals of aer_dev_fatal and aer_dev_nonfatal.
type AER struct {
	Fatal    int64 `json:"fatal" yaml:"fatal"`
	NonFatal int64 `json:"nonFatal" yaml:"nonFatal"`
}

// Subfunction is an auxiliary-bus SF.
type Subfunction struct {
	Name    string       `json:"name" yaml:"name"`     // mlx5_core.sf.4
	Parent  string       `json:"parent" yaml:"parent"` // PCI address
	SFNum   int          `json:"sfnum" yaml:"sfnum"`
	Driver  string       `json:"driver,omitempty" yaml:"driver,omitempty"`
	Netdevs []Netdev     `json:"netdevs,omitempty" yaml:"netdevs,omitempty"`
	RDMA    []RDMADevice `json:"rdma,omitempty" yaml:"rdma,omitempty"`
	VDPA    *VDPADevice  `json:"vdpa,omitempty" yaml:"vdpa,omitempty"`
}

// Note is something that could not be read.
type Note struct {
	Device string `json:"device" yaml:"device"`
	What   string `json:"what" yaml:"what"`
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
