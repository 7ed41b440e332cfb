package op

import (
	"fmt"
	"net"
	"slices"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
)

// What a PF holds for its VFs (IFLA_VFINFO_LIST).

// Attribute is the VF of an operation on one attribute, what was found of it, and what
// it becomes.
type Attribute[V Value] struct {
	OnVF
	Found
	To V
}

// Want implements Op.
func (a Attribute[V]) Want() Value { return a.To }

func (Attribute[V]) attribute() {}

// IsAttribute reports whether the operation sets an attribute of a VF.
func IsAttribute(o Op) bool {
	_, ok := o.(interface{ attribute() })
	return ok
}

// object is the object with the name that `ip link` gives it.
func (v OnVF) object(name string) string {
	return fmt.Sprintf("netlink %s vf %d %s", v.Name, v.Index, name)
}

// admin is what the snapshot shows of what the PF holds for the VF, nil when the
// driver does not report it.
func (v OnVF) admin(pf *inventory.PF) *inventory.VFAdmin {
	if vf := pf.VF(v.Index); vf != nil {
		return vf.Admin
	}
	return nil
}

// reported is f's value when the driver reports the setting with the name.
func (v OnVF) reported(pf *inventory.PF, name string, f func(*inventory.VFAdmin) Value) (Value, bool) {
	a := v.admin(pf)
	if a == nil || slices.Contains(a.Unreported, name) {
		return nil, false
	}
	return f(a), true
}

// address is f's address when the driver reports it.
func (v OnVF) address(pf *inventory.PF, f func(*inventory.VFAdmin) string) (net.HardwareAddr, bool) {
	if a := v.admin(pf); a != nil {
		return address(f(a))
	}
	return nil, false
}

// address is an address of the inventory, which has addresses as text.
func address(text string) (net.HardwareAddr, bool) {
	a, err := net.ParseMAC(text)
	return a, err == nil
}

// SetVFMAC sets the MAC address that the PF gives the VF.
type SetVFMAC struct{ Attribute[MAC] }

func (SetVFMAC) Kind() Kind       { return KindVFMAC }
func (o SetVFMAC) Object() string { return o.object("mac") }
func (o SetVFMAC) Read(pf *inventory.PF) (Value, bool) {
	mac, ok := o.address(pf, func(a *inventory.VFAdmin) string { return a.MAC })
	return MAC(mac), ok
}

// SetVFNodeGUID sets the node GUID of an InfiniBand VF.
type SetVFNodeGUID struct{ Attribute[GUID] }

func (SetVFNodeGUID) Kind() Kind       { return KindVFNodeGUID }
func (o SetVFNodeGUID) Object() string { return o.object("node_guid") }
func (o SetVFNodeGUID) Read(pf *inventory.PF) (Value, bool) {
	guid, ok := o.address(pf, func(a *inventory.VFAdmin) string { return a.NodeGUID })
	return GUID(guid), ok
}

// SetVFPortGUID sets the port GUID of an InfiniBand VF.
type SetVFPortGUID struct{ Attribute[GUID] }

func (SetVFPortGUID) Kind() Kind       { return KindVFPortGUID }
func (o SetVFPortGUID) Object() string { return o.object("port_guid") }
func (o SetVFPortGUID) Read(pf *inventory.PF) (Value, bool) {
	guid, ok := o.address(pf, func(a *inventory.VFAdmin) string { return a.PortGUID })
	return GUID(guid), ok
}

// SetVFVLAN sets the VF's VLAN tag.
type SetVFVLAN struct{ Attribute[VLAN] }

func (SetVFVLAN) Kind() Kind       { return KindVFVLAN }
func (o SetVFVLAN) Object() string { return o.object("vlan") }
func (o SetVFVLAN) Read(pf *inventory.PF) (Value, bool) {
	return o.reported(pf, "vlan", func(a *inventory.VFAdmin) Value {
		return VLAN{ID: a.VLAN, QoS: a.QoS, Protocol: Protocol(a.VLANProto)}
	})
}

// SetVFTrust sets whether the VF may change its MAC and become promiscuous.
type SetVFTrust struct{ Attribute[Switch] }

func (SetVFTrust) Kind() Kind       { return KindVFTrust }
func (o SetVFTrust) Object() string { return o.object("trust") }
func (o SetVFTrust) Read(pf *inventory.PF) (Value, bool) {
	return o.reported(pf, "trust", func(a *inventory.VFAdmin) Value { return Switch(a.Trust) })
}

// SetVFSpoofCheck sets whether the VF may only send from its own MAC.
type SetVFSpoofCheck struct{ Attribute[Switch] }

func (SetVFSpoofCheck) Kind() Kind       { return KindVFSpoof }
func (o SetVFSpoofCheck) Object() string { return o.object("spoofchk") }
func (o SetVFSpoofCheck) Read(pf *inventory.PF) (Value, bool) {
	return o.reported(pf, "spoofCheck", func(a *inventory.VFAdmin) Value { return Switch(a.SpoofCheck) })
}

// SetVFQueryRSS sets whether the VF may ask for the PF's RSS table and hash key.
type SetVFQueryRSS struct{ Attribute[Switch] }

func (SetVFQueryRSS) Kind() Kind       { return KindVFQueryRSS }
func (o SetVFQueryRSS) Object() string { return o.object("query_rss") }
func (o SetVFQueryRSS) Read(pf *inventory.PF) (Value, bool) {
	a := o.admin(pf)
	if a == nil || a.QueryRSS == nil {
		return nil, false
	}
	return Switch(*a.QueryRSS), true
}

// SetVFLinkState sets whether the VF's link follows the port's.
type SetVFLinkState struct{ Attribute[LinkState] }

func (SetVFLinkState) Kind() Kind       { return KindVFLinkState }
func (o SetVFLinkState) Object() string { return o.object("state") }
func (o SetVFLinkState) Read(pf *inventory.PF) (Value, bool) {
	a := o.admin(pf)
	if a == nil || a.LinkState == "" {
		return nil, false
	}
	return LinkState(a.LinkState), true
}

// SetVFRate limits what the VF sends.
type SetVFRate struct{ Attribute[Rate] }

func (SetVFRate) Kind() Kind       { return KindVFRate }
func (o SetVFRate) Object() string { return o.object("rate") }
func (o SetVFRate) Read(pf *inventory.PF) (Value, bool) {
	return o.reported(pf, "rate", func(a *inventory.VFAdmin) Value { return Rate{Min: a.MinRate, Max: a.MaxRate} })
}
