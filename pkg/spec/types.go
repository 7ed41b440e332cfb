package spec

import (
	"net"
	"slices"
)

// Identification of the config (the style of Talos' own documents).
const (
	APIVersion = "v1alpha1"
	Kind       = "SRIOVConfig"
)

// The struct tags of the types below drive the decoder: yaml is the key, enum
// lists the only values of a string (or of each element), format names an entry
// of the table in formats.go that checks and normalises one. Marshal writes by
// them too; what is not omitempty is written even when it is zero.

// Config is the whole document. The zero value configures nothing.
type Config struct {
	APIVersion string `yaml:"apiVersion,omitempty"`
	Kind       string `yaml:"kind,omitempty"`

	// PhysicalFunctions says which PFs get which VFs. Entries are independent
	// of each other: two that select the same PF must agree.
	PhysicalFunctions []PhysicalFunction `yaml:"physicalFunctions,omitempty"`
	// ResourceList is the SR-IOV network device plugin's own vocabulary.
	ResourceList []Resource `yaml:"resourceList,omitempty"`

	DevicePlugin DevicePlugin `yaml:"devicePlugin,omitempty"`
	Health       Health       `yaml:"health,omitempty"`
	CNI          CNI          `yaml:"cni,omitempty"`
	Metrics      Metrics      `yaml:"metrics,omitempty"`
}

// PhysicalFunction is one entry of physicalFunctions.
type PhysicalFunction struct {
	Match    Match `yaml:"match,omitempty"`
	Required bool  `yaml:"required,omitempty"`

	// NumVFs is nil when the config does not say (only legal with
	// ExternallyManaged).
	NumVFs            *int        `yaml:"numVFs,omitempty"`
	MTU               *int        `yaml:"mtu,omitempty"` // bytes
	LinkType          LinkType    `yaml:"linkType,omitempty" enum:"ethernet,infiniband"`
	EswitchMode       EswitchMode `yaml:"eswitchMode,omitempty" enum:"legacy,switchdev"`
	ExternallyManaged bool        `yaml:"externallyManaged,omitempty"`
	AllowUplink       bool        `yaml:"allowUplink,omitempty"`
	// Force is an order not to wait for holders, carried out once: a text that
	// was no order for this PF before. "" means none.
	Force string `yaml:"force,omitempty" format:"order"`

	// ResourceName is the resource of every VF that is in no group, or in a
	// group that names none of its own.
	ResourceName string `yaml:"resourceName,omitempty" format:"resource"`
	// AllocationPolicy is how the kubelet chooses among the VFs of
	// the entry's resources; "" means packed.
	AllocationPolicy string    `yaml:"allocationPolicy,omitempty" enum:"packed,spread"`
	VirtualFunctions []VFGroup `yaml:"virtualFunctions,omitempty"`

	// Pos is where the entry starts in the config.
	Pos Pos `yaml:"-"`
}

// Group returns the group that lists the VF index, nil when none does.
func (pf *PhysicalFunction) Group(index int) *VFGroup {
	for i := range pf.VirtualFunctions {
		if g := &pf.VirtualFunctions[i]; g.Indexes.Contains(index) {
			return g
		}
	}
	return nil
}

// Match selects PFs: AND across the keys, OR within one. An empty key does not
// restrict. At least one key must be given.
type Match struct {
	Names        Texts `yaml:"names,omitempty" format:"ifname"`     // interface names or altnames, globs allowed
	PCIAddresses Texts `yaml:"pciAddresses,omitempty" format:"pci"` // DDDD:BB:DD.F, lower case
	Vendors      Texts `yaml:"vendors,omitempty" format:"hexid"`    // 4 hex digits, lower case
	Devices      Texts `yaml:"devices,omitempty" format:"hexid"`    // 4 hex digits, lower case
	Drivers      Texts `yaml:"drivers,omitempty" format:"driver"`   // of the PF, as in sysfs
	MACAddresses Texts `yaml:"macAddresses,omitempty" format:"mac"` // permanent MAC, lower case, colons
}

// VFGroup configures the VFs of one PF whose indexes it lists. A nil pointer
// or zero string means: absent, leave the driver's default.
type VFGroup struct {
	Indexes      IndexSet `yaml:"indexes,omitempty"`
	ResourceName string   `yaml:"resourceName,omitempty" format:"resource"`

	Driver     Driver    `yaml:"driver,omitempty" enum:"default,vfio-pci,uio_pci_generic,none"`
	RDMA       bool      `yaml:"rdma,omitempty"`
	VhostNet   bool      `yaml:"vhostNet,omitempty"`
	VDPA       VDPAType  `yaml:"vdpa,omitempty" enum:"virtio,vhost"`
	Trust      *bool     `yaml:"trust,omitempty"`
	SpoofCheck *bool     `yaml:"spoofCheck,omitempty"`
	QueryRSS   *bool     `yaml:"queryRSS,omitempty"`
	LinkState  LinkState `yaml:"linkState,omitempty" enum:"auto,enable,disable"`
	VLAN       *VLAN     `yaml:"vlan,omitempty"`
	Rate       *Rate     `yaml:"rate,omitempty"`
	MTU        *int      `yaml:"mtu,omitempty"` // bytes

	MACAddresses MACPolicy  `yaml:"macAddresses,omitempty"`
	GUIDs        GUIDPolicy `yaml:"guids,omitempty"`

	// Optional names the attributes of this group that a driver may refuse
	// without that being an error. `true` in the config means all of them.
	Optional Optional `yaml:"optional,omitempty"`

	Pos Pos `yaml:"-"`
}

// LinkType is the PF's port protocol. It is checked, never changed.
type LinkType string

const (
	LinkEthernet   LinkType = "ethernet"
	LinkInfiniBand LinkType = "infiniband"
)

// EswitchMode is the devlink eswitch mode of a PF.
type EswitchMode string

const (
	EswitchLegacy    EswitchMode = "legacy"
	EswitchSwitchdev EswitchMode = "switchdev"
)

// Driver says which driver a VF is bound to.
type Driver string

const (
	DriverDefault       Driver = "default"
	DriverVFIO          Driver = "vfio-pci"
	DriverUIOPCIGeneric Driver = "uio_pci_generic"
	DriverNone          Driver = "none"
)

// Userspace reports whether VFs with this driver have no kernel netdev.
func (d Driver) Userspace() bool { return d == DriverVFIO || d == DriverUIOPCIGeneric }

// LinkState is IFLA_VF_LINK_STATE.
type LinkState string

const (
	LinkStateAuto    LinkState = "auto"
	LinkStateEnable  LinkState = "enable"
	LinkStateDisable LinkState = "disable"
)

// VDPAType is the consumer of a VF's vDPA device.
type VDPAType string

const (
	VDPAVirtio VDPAType = "virtio"
	VDPAVhost  VDPAType = "vhost"
)

// VLAN is IFLA_VF_VLAN_LIST with one entry.
type VLAN struct {
	ID       int    `yaml:"id"`                                       // 0..4094; 0 removes the tag
	QoS      int    `yaml:"qos,omitempty"`                            // 0..7
	Protocol string `yaml:"protocol,omitempty" enum:"802.1q,802.1ad"` // 802.1q | 802.1ad; "" means 802.1q
}

// Rate is IFLA_VF_RATE, in Mbit/s; 0 means no limit.
type Rate struct {
	Min int `yaml:"min,omitempty"`
	Max int `yaml:"max"`
}

// MACMode is how a group's VFs get their MAC addresses.
type MACMode string

const (
	// MACDefault is what an absent key means: the kernel's, left alone.
	MACDefault MACMode = ""
	MACKernel  MACMode = "kernel"
	MACStable  MACMode = "stable"
	MACList    MACMode = "list"
)

// MACPolicy is the value of macAddresses: a mode, or a list with one address
// for each index of the group, in the order of the indexes.
type MACPolicy struct {
	Mode MACMode
	List []net.HardwareAddr
}

// GUIDPolicy is the value of guids (InfiniBand), by the same rule as MACPolicy,
// with 8 bytes for each. A listed GUID serves as both node and port GUID.
type GUIDPolicy MACPolicy

// IndexSet is a sorted set of VF indexes, without duplicates.
type IndexSet []int

// Optional is the set of attribute keys that may be refused.
type Optional struct {
	All  bool
	Keys Texts
}

// Has reports whether the attribute (a key of VFGroup) is optional.
func (o Optional) Has(key string) bool { return o.All || slices.Contains(o.Keys, key) }

// Resource is one entry of resourceList, the device plugin's vocabulary.
type Resource struct {
	ResourceName    string `yaml:"resourceName,omitempty" format:"resourceName"`
	ResourcePrefix  string `yaml:"resourcePrefix,omitempty" format:"resourcePrefix"`
	DeviceType      string `yaml:"deviceType,omitempty" enum:"netDevice,accelerator,auxNetDevice"`
	ExcludeTopology bool   `yaml:"excludeTopology,omitempty"`
	// AllocationPolicy is as in PhysicalFunction. The device plugin has no such
	// key.
	AllocationPolicy string         `yaml:"allocationPolicy,omitempty" enum:"packed,spread"`
	Selectors        []Selector     `yaml:"selectors"`
	AdditionalInfo   AdditionalInfo `yaml:"additionalInfo,omitempty"`
	Pos              Pos            `yaml:"-"`
}

// AdditionalInfo is what a container gets to know of a device beside what is known
// anyway: by PCI address, or "*" for every device, and by key. Given, and empty,
// it is not the same as absent: a container is told of an empty provider "extra".
type AdditionalInfo map[string]map[string]string

// Texts are ids, names and the like. They are written in quotes: 1521 and 1e10 are
// PCI ids and no numbers.
type Texts []string

// Selector is one selector object of a Resource: AND over keys, OR in a key.
type Selector struct {
	Vendors      Texts    `yaml:"vendors,omitempty" format:"hexid"`
	Devices      Texts    `yaml:"devices,omitempty" format:"hexid"`
	Drivers      Texts    `yaml:"drivers,omitempty" format:"driver"`
	PCIAddresses Texts    `yaml:"pciAddresses,omitempty" format:"pci"`
	ACPIIndexes  Texts    `yaml:"acpiIndexes,omitempty" format:"acpiIndex"`
	PFNames      Texts    `yaml:"pfNames,omitempty" format:"pfName"`
	RootDevices  Texts    `yaml:"rootDevices,omitempty" format:"rootDevice"`
	LinkTypes    []string `yaml:"linkTypes,omitempty,flow" enum:"ether,infiniband"`
	DDPProfiles  Texts    `yaml:"ddpProfiles,omitempty" format:"text"`
	PKeys        Texts    `yaml:"pKeys,omitempty" format:"pkey"`
	IsRDMA       bool     `yaml:"isRdma,omitempty"`
	NeedVhostNet bool     `yaml:"needVhostNet,omitempty"`
	VDPAType     string   `yaml:"vdpaType,omitempty" enum:"virtio,vhost"`
	AuxTypes     []string `yaml:"auxTypes,omitempty,flow" enum:"sf"`
	Pos          Pos      `yaml:"-"`
}

// Health configures device health.
type Health struct {
	Link     *bool    `yaml:"link,omitempty"`     // nil: true
	HoldDown Duration `yaml:"holdDown,omitempty"` // 0: the default of 2s
}

// DefaultBinDir is where a container runtime looks for CNI plugins.
const DefaultBinDir = "/opt/cni/bin"

// DevicePlugin configures what is the same for all pools.
type DevicePlugin struct {
	CDI bool `yaml:"cdi,omitempty"` // device nodes through CDI and not through the kubelet
}

// CNI configures the installation of the CNI plugin. A document that does not
// say anything of it has it installed.
type CNI struct {
	Install CNIInstall `yaml:"install,omitempty" enum:"true,false,force"` // "" means true
	BinDir  string     `yaml:"binDir,omitempty" format:"absPath"`         // "": DefaultBinDir
}

// CNIInstall says whether the CNI plugin is installed.
type CNIInstall string

const (
	CNIInstallOn    CNIInstall = "true"
	CNIInstallOff   CNIInstall = "false" // what was installed is removed
	CNIInstallForce CNIInstall = "force" // also over a program of somebody else
)

// Metrics configures the Prometheus endpoint.
type Metrics struct {
	Listen string `yaml:"listen,omitempty" format:"listen"` // host:port; "" means off
}

// Pos is a position in the config, both counted from 1; zero means unknown.
type Pos struct {
	Line   int `yaml:"line" json:"line"`
	Column int `yaml:"column" json:"column"`
}
