package op

import "github.com/talos-sriov/talos-sriov/pkg/inventory"

// Op is one operation.
type Op interface {
	// Kind is the stable name of the operation, which is in step IDs, the record
	// and the status file.
	Kind() Kind
	// PF is the PCI address of the PF.
	PF() string
	// VFs are the indexes of the VFs that it is about or disturbs; nil when it is
	// about the PF alone.
	VFs() []int
	// Object is the kernel object as people know it: a path below /sys, or
	// "netlink enp1s0f0 vf 3 vlan".
	Object() string
	// From is what was found, nil when that is not known.
	From() Value
	// Want is what must read back, nil when there is no such value: the operation
	// only waits, or it is not known what will come of it.
	Want() Value
	// Read is what the PF in a snapshot shows of the object; false when the kernel
	// does not report it.
	Read(pf *inventory.PF) (Value, bool)
	// Writes is false for what only waits.
	Writes() bool

	op() // keeps the set closed
}

// Kind is the name of an operation.
type Kind string

// The kinds. Their names are on disk and in status files: they never change.
const (
	KindAutoProbe    Kind = "autoprobe"
	KindNumVFs       Kind = "numvfs"
	KindEswitch      Kind = "eswitch-mode"
	KindSteering     Kind = "steering-mode"
	KindTCOffload    Kind = "hw-tc-offload"
	KindPFMTU        Kind = "mtu"
	KindPFUp         Kind = "link-up"
	KindVFMAC        Kind = "vf-mac"
	KindVFVLAN       Kind = "vf-vlan"
	KindVFTrust      Kind = "vf-trust"
	KindVFSpoof      Kind = "vf-spoof-check"
	KindVFQueryRSS   Kind = "vf-query-rss"
	KindVFLinkState  Kind = "vf-link-state"
	KindVFRate       Kind = "vf-rate"
	KindVFNodeGUID   Kind = "vf-node-guid"
	KindVFPortGUID   Kind = "vf-port-guid"
	KindVFUnbind     Kind = "vf-unbind"
	KindVFOverride   Kind = "vf-override"
	KindVFProbe      Kind = "vf-probe"
	KindVFMTU        Kind = "vf-mtu"
	KindVDPAAdd      Kind = "vdpa-add"
	KindVDPADel      Kind = "vdpa-del"
	KindVDPADriver   Kind = "vdpa-driver"
	KindAwait        Kind = "await-netdev"
	KindAwaitAddress Kind = "await-address"
	KindAwaitRDMA    Kind = "await-rdma"
)

// OnPF is the PF of an operation.
type OnPF struct {
	Address string // PCI address
	Name    string // of its first interface; its address when it has none
}

// PF implements Op.
func (p OnPF) PF() string { return p.Address }

// VFs implements Op for operations about the PF alone.
func (OnPF) VFs() []int { return nil }

// Writes implements Op; what only waits has its own.
func (OnPF) Writes() bool { return true }

func (OnPF) op() {}

// OnVF is the VF of an operation. It is named by PF and index, because a VF that
// an earlier step makes has no address yet.
type OnVF struct {
	OnPF
	Index int
}

// VFs implements Op.
func (v OnVF) VFs() []int { return []int{v.Index} }

// Found is the value that an operation found.
type Found struct {
	Was Value // nil when not known
}

// From implements Op.
func (f Found) From() Value { return f.Was }

// All has one of each type, without data: whoever treats every operation is tested
// with it.
func All() []Op {
	return []Op{
		SetNumVFs{}, SetAutoProbe{}, SetEswitchMode{}, SetSteeringMode{}, SetTCOffload{}, SetMTU{}, SetPFUp{},
		SetVFMAC{}, SetVFNodeGUID{}, SetVFPortGUID{}, SetVFVLAN{}, SetVFTrust{}, SetVFSpoofCheck{}, SetVFQueryRSS{}, SetVFLinkState{}, SetVFRate{},
		UnbindVF{}, SetDriverOverride{}, ProbeVF{}, SetVFMTU{},
		AddVDPA{}, DeleteVDPA{}, BindVDPA{},
		AwaitNetdevs{}, AwaitVFAddress{}, AwaitVFRDMA{},
	}
}

// Text is the value for people and for the record, "" for none.
func Text(v Value) string {
	if v == nil {
		return ""
	}
	return v.String()
}
