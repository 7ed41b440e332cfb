package plan

import (
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// Kind says what a step does; apply has one executor for each.
type Kind string

// The kinds of steps. Sysfs kinds write New to the attribute; the others are
// netlink, devlink or ethtool requests.
const (
	KindAutoProbe   Kind = "autoprobe"      // sriov_drivers_autoprobe: "0" or "1"
	KindNumVFs      Kind = "numvfs"         // sriov_numvfs: a number
	KindAwait       Kind = "await-netdev"   // writes nothing: VFs of New (a driver, or "") have their netdevs
	KindEswitch     Kind = "eswitch-mode"   // devlink: legacy | switchdev
	KindSteering    Kind = "steering-mode"  // devlink parameter flow_steering_mode: smfs | dmfs
	KindTCOffload   Kind = "hw-tc-offload"  // ethtool feature: on | off
	KindPFMTU       Kind = "mtu"            // of the PF's netdevs, bytes
	KindPFUp        Kind = "link-up"        // PF netdev admin state: up
	KindVFMAC       Kind = "vf-mac"         // admin MAC through the PF
	KindVFVLAN      Kind = "vf-vlan"        // "id qos proto": 100 2 802.1q
	KindVFTrust     Kind = "vf-trust"       // on | off
	KindVFSpoof     Kind = "vf-spoof-check" // on | off
	KindVFLinkState Kind = "vf-link-state"  // auto | enable | disable
	KindVFRate      Kind = "vf-rate"        // "min max" in Mbit/s
	KindVFNodeGUID  Kind = "vf-node-guid"   // EUI-64 with colons
	KindVFPortGUID  Kind = "vf-port-guid"
	KindVFUnbind    Kind = "vf-unbind"   // Old is the driver
	KindVFOverride  Kind = "vf-override" // driver_override: New, "" clears it
	KindVFProbe     Kind = "vf-probe"    // drivers_probe; New is the driver expected, "" when not known
	KindVFMTU       Kind = "vf-mtu"      // of the VF's netdev, bytes
	KindVDPAAdd     Kind = "vdpa-add"    // New is its name, with "<VF n>" for a VF that has no address yet
	KindVDPADel     Kind = "vdpa-del"    // Old is the name
	KindVDPADriver  Kind = "vdpa-driver" // vhost_vdpa | virtio_vdpa

	// KindAwaitAddress writes nothing: the VF's netdev has the address New. A
	// driver that does not take the admin MAC is told, and not bound again.
	KindAwaitAddress Kind = "await-address"
	// KindAwaitRDMA writes nothing: the VF has an RDMA device.
	KindAwaitRDMA Kind = "await-rdma"
)

// Action is how a step reads in a diff.
type Action string

const (
	ActionCreate Action = "create"
	ActionChange Action = "change"
	ActionRemove Action = "remove"
	ActionWait   Action = "wait" // writes nothing
)

// Disruption is the worst that a step does to those who use the PF, in
// ascending order.
type Disruption string

const (
	DisruptNone      Disruption = "none"
	DisruptLink      Disruption = "link"         // the PF's own link may go down for a moment
	DisruptReset     Disruption = "vf-reset"     // the VFs in VFs lose their driver for a moment
	DisruptDestroyed Disruption = "vf-destroyed" // the VFs in VFs cease to exist
)

// Step is one change. It names devices by PF address and VF index, because
// VFs that an earlier step of the same plan makes have no address yet.
type Step struct {
	// ID is unique in the plan, and the same in every plan that has this step:
	// "<pf>/<kind>" or "<pf>/vf<index>/<kind>", with "=<value>" where one kind
	// occurs twice.
	ID     string `json:"id" yaml:"id"`
	Kind   Kind   `json:"kind" yaml:"kind"`
	Action Action `json:"action" yaml:"action"`
	PF     string `json:"pf" yaml:"pf"`
	// VFs are the VFs that the step is about, or disturbs; nil when it is about
	// the PF alone.
	VFs []int `json:"vfs,omitempty" yaml:"vfs,omitempty,flow"`
	// Path is the kernel object as people know it: a path below /sys, or
	// "netlink enp1s0f0 vf 3 vlan", "devlink pci/0000:01:00.0 eswitch mode".
	Path string `json:"path" yaml:"path"`
	// Old is what was found ("" when not known or nothing), New is what will be.
	Old        string     `json:"old" yaml:"old"`
	New        string     `json:"new" yaml:"new"`
	Reason     string     `json:"reason" yaml:"reason"`
	Disruption Disruption `json:"disruption" yaml:"disruption"`
	// Wait are the holders that the step waits for. It does not run while this
	// is not empty.
	Wait []use.Holder `json:"wait,omitempty" yaml:"wait,omitempty"`
	// Needs are the IDs of earlier steps of this plan without which this one
	// must not run.
	Needs []string `json:"needs,omitempty" yaml:"needs,omitempty,flow"`
	// Forced is set when holders were there and the operator forced the step.
	Forced []use.Holder `json:"forced,omitempty" yaml:"forced,omitempty"`
	// Optional is set when the document allows the driver to refuse it.
	Optional bool `json:"optional,omitempty" yaml:"optional,omitempty"`
	// Key is the document's key of a VF attribute ("vlan"), "" for other steps:
	// what a refusal is told by.
	Key string `json:"key,omitempty" yaml:"key,omitempty"`
	// Pos is where the VF's group stands, zero for steps of the PF.
	Pos spec.Pos `json:"-" yaml:"-"`
}

// Writes reports whether the step changes anything on the machine.
func (s *Step) Writes() bool {
	switch s.Kind {
	case KindAwait, KindAwaitAddress, KindAwaitRDMA:
		return false
	}
	return true
}
