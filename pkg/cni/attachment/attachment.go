package attachment

import (
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/cni/netconf"
	"github.com/talos-sriov/talos-sriov/pkg/nl"
	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
)

// Attachment is the cache file: the configuration that a pod's interface was
// made with and the VF as it was before, in sriov-cni's flat format, and under
// one key of its own what that format has no place for. sriov-cni ignores it.
// It is a value: who needs another one makes a copy.
type Attachment struct {
	netconf.NetConf
	Original Original `json:"OrigVfState"`
	Master   string   // name of the PF's interface
	VFID     int      // index of the VF at its PF
	Extra    Extra    `json:"talosSriov,omitzero"`

	File    string    `json:"-"` // base name of the cache file
	Written time.Time `json:"-"`
}

// Original is the VF before ADD; sriov-cni's format.
type Original struct {
	HostIFName   string
	SpoofChk     bool
	Trust        bool
	AdminMAC     string // what the PF holds for the VF
	EffectiveMAC string // what the VF's interface has
	VLAN         int    `json:"Vlan"`
	VLANQoS      int    `json:"VlanQoS"`
	VLANProto    int    `json:"VlanProto"` // EtherType, 0 when not known
	MinTxRate    int
	MaxTxRate    int
	LinkState    uint32
	MTU          int
}

// Attribute is an attribute of a VF that is set through its PF, by the name of its
// key in the configuration.
type Attribute string

// The attributes.
const (
	VLAN       Attribute = "vlan" // with priority and protocol
	MAC        Attribute = "mac"
	Rate       Attribute = "rate" // the lowest and the highest
	SpoofCheck Attribute = "spoofchk"
	Trust      Attribute = "trust"
	LinkState  Attribute = "link_state"
)

// Extra is this plugin's addition. It is zero in a file that sriov-cni wrote.
type Extra struct {
	BootID      string   `json:"bootID,omitempty"`
	ContainerID string   `json:"containerID,omitempty"`
	IfName      string   `json:"ifName,omitempty"`
	Netns       string   `json:"netns,omitempty"`
	AltNames    []string `json:"altNames,omitempty"` // of the interface on the host
	RDMADev     string   `json:"rdmaDev,omitempty"`  // that moves with the VF
	// Unreported names SpoofCheck and Trust when the driver does not report them,
	// so that Original's values are no knowledge.
	Unreported []Attribute `json:"unreported,omitempty"`
	// TrustRaised: trust was or will be switched on for a moment.
	TrustRaised bool `json:"trustRaised,omitempty"`
}

// Name is the base name of the cache file of a container's interface.
func Name(containerID, ifName string) string { return containerID + "-" + ifName }

// HasDevice reports whether DeviceID is a PCI address; what a damaged file names
// must not become part of a path.
func (a *Attachment) HasDevice() bool { return sysfs.IsPCIAddress(a.DeviceID) }

// Stale reports whether the attachment is of an earlier run of the machine.
func (a *Attachment) Stale(boot BootInfo) bool {
	if a.Extra.BootID != "" {
		return a.Extra.BootID != boot.ID
	}
	return boot.before(a.Written)
}

// In is the attachment with the network namespace and the interface name that the
// file does not have.
func (a *Attachment) In(netns, ifName string) *Attachment {
	out := *a
	out.Extra.Netns, out.Extra.IfName = netns, ifName
	return &out
}

// Trusted is the attachment of a VF that is trusted for a moment.
func (a *Attachment) Trusted() *Attachment {
	out := *a
	out.Extra.TrustRaised = true
	return &out
}

// Attributes is what the PF holds for the VF as the cache keeps it; unreported are
// those that its driver does not report.
func Attributes(v nl.VFInfo) (o Original, unreported []Attribute) {
	o = Original{
		AdminMAC: v.MAC.String(), VLAN: v.VLAN, VLANQoS: v.QoS, VLANProto: int(v.VLANProto),
		MinTxRate: v.MinRate, MaxTxRate: v.MaxRate, LinkState: uint32(v.LinkState),
	}
	if v.SpoofCheck == nil {
		unreported = append(unreported, SpoofCheck)
	} else {
		o.SpoofChk = *v.SpoofCheck
	}
	if v.Trust == nil {
		unreported = append(unreported, Trust)
	} else {
		o.Trust = *v.Trust
	}
	return o, unreported
}
