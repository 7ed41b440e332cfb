package plan

import (
	"net"
	"slices"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/nic"
	"github.com/talos-sriov/talos-sriov/pkg/op"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

// attribute is one setting of a VF that the PF holds (IFLA_VFINFO_LIST). What the
// kernel reports of it, the operation knows (op.Op.Read).
type attribute struct {
	key string // in the config
	// want is what the group says for the VF; false when it does not.
	want func(m vfMember) (op.Value, bool)
	// set is the operation that changes it from the value was to want.
	set func(vf op.OnVF, was, want op.Value) op.Op
	// fresh is what every VF has when it is made, nil when drivers differ.
	fresh op.Value
	// can is what is known of the driver's answer to the value.
	can func(b *nic.Behaviour, want op.Value) nic.Support
	// derived reports whether the group wants an address that derives from the
	// PF's; nil where none does.
	derived func(g *spec.VFGroup) bool
	// rebind: the VF's driver reads it when it binds.
	rebind bool
}

// vfMember is a VF as a member of its group.
type vfMember struct {
	group *spec.VFGroup
	index int
	// pf is what stable addresses derive from, nil when there is nothing that is
	// the PF's own.
	pf net.HardwareAddr
}

// setting makes an attribute of typed functions.
func setting[V op.Value](key string, want func(vfMember) (V, bool), set func(op.Attribute[V]) op.Op, can func(*nic.Behaviour, V) nic.Support) attribute {
	return attribute{
		key:  key,
		want: func(m vfMember) (op.Value, bool) { return want(m) },
		set: func(vf op.OnVF, was, v op.Value) op.Op {
			return set(op.Attribute[V]{OnVF: vf, Found: op.Found{Was: was}, To: v.(V)}) //nolint:errcheck,forcetypeassert // it is what want gave
		},
		can: func(b *nic.Behaviour, v op.Value) nic.Support {
			return can(b, v.(V)) //nolint:errcheck,forcetypeassert // it is what want gave
		},
	}
}

// startsAs gives the value that every new VF has.
func (a attribute) startsAs(v op.Value) attribute {
	a.fresh = v
	return a
}

// readAtBind marks an address, which the VF's driver reads when it binds.
func (a attribute) readAtBind() attribute {
	a.rebind = true
	return a
}

// derivable gives when the address derives from the PF's.
func (a attribute) derivable(f func(*spec.VFGroup) bool) attribute {
	a.derived = f
	return a
}

// Keys of the config that other stages than attribute look for.
const (
	keyMAC  = "macAddresses"
	keyVDPA = "vdpa"
)

// attributes in the order in which they are set.
var attributes = []attribute{
	setting(keyMAC, vfMember.mac,
		func(a op.Attribute[op.MAC]) op.Op { return op.SetVFMAC{Attribute: a} },
		func(*nic.Behaviour, op.MAC) nic.Support { return nic.Unknown }).readAtBind().
		derivable(func(g *spec.VFGroup) bool { return g.MACAddresses.Mode == spec.MACStable }),
	setting("guids", vfMember.guid,
		func(a op.Attribute[op.GUID]) op.Op { return op.SetVFNodeGUID{Attribute: a} },
		func(b *nic.Behaviour, _ op.GUID) nic.Support { return b.GUIDs }).readAtBind().
		derivable(func(g *spec.VFGroup) bool { return g.GUIDs.Mode == spec.MACStable }),
	setting("guids", vfMember.guid,
		func(a op.Attribute[op.GUID]) op.Op { return op.SetVFPortGUID{Attribute: a} },
		func(b *nic.Behaviour, _ op.GUID) nic.Support { return b.GUIDs }).readAtBind(),
	setting("vlan", vfMember.vlan,
		func(a op.Attribute[op.VLAN]) op.Op { return op.SetVFVLAN{Attribute: a} },
		canVLAN).startsAs(op.VLAN{}),
	setting("trust", func(m vfMember) (op.Switch, bool) { return toggle(m.group.Trust) },
		func(a op.Attribute[op.Switch]) op.Op { return op.SetVFTrust{Attribute: a} },
		func(b *nic.Behaviour, _ op.Switch) nic.Support { return b.Trust }).startsAs(op.Switch(false)),
	setting("spoofCheck", func(m vfMember) (op.Switch, bool) { return toggle(m.group.SpoofCheck) },
		func(a op.Attribute[op.Switch]) op.Op { return op.SetVFSpoofCheck{Attribute: a} },
		func(b *nic.Behaviour, _ op.Switch) nic.Support { return b.SpoofCheck }),
	setting("queryRSS", func(m vfMember) (op.Switch, bool) { return toggle(m.group.QueryRSS) },
		func(a op.Attribute[op.Switch]) op.Op { return op.SetVFQueryRSS{Attribute: a} },
		func(*nic.Behaviour, op.Switch) nic.Support { return nic.Unknown }),
	setting("linkState", func(m vfMember) (op.LinkState, bool) { return op.LinkState(m.group.LinkState), m.group.LinkState != "" },
		func(a op.Attribute[op.LinkState]) op.Op { return op.SetVFLinkState{Attribute: a} },
		func(b *nic.Behaviour, _ op.LinkState) nic.Support { return b.LinkState }).startsAs(op.LinkAuto),
	setting("rate", vfMember.rate,
		func(a op.Attribute[op.Rate]) op.Op { return op.SetVFRate{Attribute: a} },
		canRate).startsAs(op.Rate{}),
}

// toggle is what a switch of the config says, false when it says nothing.
func toggle(b *bool) (op.Switch, bool) {
	if b == nil {
		return false, false
	}
	return op.Switch(*b), true
}

func (m vfMember) vlan() (op.VLAN, bool) {
	l := m.group.VLAN
	if l == nil {
		return op.VLAN{}, false
	}
	return op.VLAN{ID: l.ID, QoS: l.QoS, Protocol: op.Protocol(l.Protocol)}, true
}

func canVLAN(b *nic.Behaviour, v op.VLAN) nic.Support {
	if v.Is8021AD() {
		return b.VLAN8021AD
	}
	return b.VLAN
}

func (m vfMember) rate() (op.Rate, bool) {
	r := m.group.Rate
	if r == nil {
		return op.Rate{}, false
	}
	return op.Rate{Min: r.Min, Max: r.Max}, true
}

func canRate(b *nic.Behaviour, v op.Rate) nic.Support {
	if v.Min > 0 && b.MinRate == nic.No {
		return nic.No
	}
	return b.MaxRate
}

func (m vfMember) mac() (op.MAC, bool) {
	mac := m.address(m.group.MACAddresses, StableMAC)
	return op.MAC(mac), mac != nil
}

func (m vfMember) guid() (op.GUID, bool) {
	guid := m.address(spec.MACPolicy(m.group.GUIDs), StableGUID)
	return op.GUID(guid), guid != nil
}

// address is what the group says is the VF's, nil when it says nothing, its list is too
// short, or there is nothing that a stable one could derive from.
func (m vfMember) address(a spec.MACPolicy, stable func(net.HardwareAddr, int) net.HardwareAddr) net.HardwareAddr {
	switch a.Mode {
	case spec.MACStable:
		return stable(m.pf, m.index)
	case spec.MACList:
		if i := slices.Index(m.group.Indexes, m.index); i >= 0 && i < len(a.List) {
			return a.List[i]
		}
	}
	return nil
}

// hardwareAddr is the PF's permanent address, nil when it is not known. IPoIB
// reports none as permanent, but its address is burnt in.
func hardwareAddr(pf *inventory.PF) net.HardwareAddr {
	if pf == nil || len(pf.Netdevs) == 0 {
		return nil
	}
	d := &pf.Netdevs[0]
	addr := d.PermMAC
	if addr == "" && d.LinkType == "infiniband" {
		addr = d.MAC
	}
	hw, err := net.ParseMAC(addr)
	if err != nil {
		return nil
	}
	return hw
}
