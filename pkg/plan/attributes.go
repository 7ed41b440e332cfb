package plan

import (
	"fmt"
	"net"
	"slices"
	"strconv"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/nic"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

// attribute is one setting of a VF that the PF holds (IFLA_VFINFO_LIST), as
// data: what the document wants, what the kernel reports, what the driver can.
type attribute struct {
	key  string // in the document
	kind Kind
	name string // as `ip link` calls it
	// want is "" when the group does not say.
	want func(w *work, g *spec.VFGroup, index int) string
	have func(a *inventory.VFAdmin) (value string, known bool)
	// fresh is what every VF has when it is made, "" when drivers differ.
	fresh string
	// can is what is known of the driver's answer to the value.
	can func(b nic.Behaviour, want string) nic.Support
	// rebind: the VF's driver reads it when it binds.
	rebind bool
}

const noVLAN = "0 0 802.1q"

// attributes in the order in which they are set.
var attributes = []attribute{
	{
		key: "macAddresses", kind: KindVFMAC, name: "mac", rebind: true,
		want: (*work).wantMAC,
		have: func(a *inventory.VFAdmin) (string, bool) { return a.MAC, a.MAC != "" },
		can:  always,
	},
	{
		key: "guids", kind: KindVFNodeGUID, name: "node_guid", rebind: true,
		want: (*work).wantGUID,
		have: func(a *inventory.VFAdmin) (string, bool) { return a.NodeGUID, a.NodeGUID != "" },
		can:  func(b nic.Behaviour, _ string) nic.Support { return b.GUIDs },
	},
	{
		key: "guids", kind: KindVFPortGUID, name: "port_guid", rebind: true,
		want: (*work).wantGUID,
		have: func(a *inventory.VFAdmin) (string, bool) { return a.PortGUID, a.PortGUID != "" },
		can:  func(b nic.Behaviour, _ string) nic.Support { return b.GUIDs },
	},
	{
		key: "vlan", kind: KindVFVLAN, name: "vlan", fresh: noVLAN,
		want: func(_ *work, g *spec.VFGroup, _ int) string {
			if g.VLAN == nil {
				return ""
			}
			return vlan(g.VLAN.ID, g.VLAN.QoS, g.VLAN.Protocol)
		},
		have: func(a *inventory.VFAdmin) (string, bool) { return vlan(a.VLAN, a.QoS, a.VLANProto), true },
		can: func(b nic.Behaviour, want string) nic.Support {
			if len(want) > 7 && want[len(want)-7:] == "802.1ad" {
				return b.VLAN8021AD
			}
			return b.VLAN
		},
	},
	{
		key: "trust", kind: KindVFTrust, name: "trust", fresh: "off",
		want: func(_ *work, g *spec.VFGroup, _ int) string { return onOff(g.Trust) },
		have: func(a *inventory.VFAdmin) (string, bool) {
			return onOff(&a.Trust), !slices.Contains(a.Unreported, "trust")
		},
		can: func(b nic.Behaviour, _ string) nic.Support { return b.Trust },
	},
	{
		key: "spoofCheck", kind: KindVFSpoof, name: "spoofchk",
		want: func(_ *work, g *spec.VFGroup, _ int) string { return onOff(g.SpoofCheck) },
		have: func(a *inventory.VFAdmin) (string, bool) {
			return onOff(&a.SpoofCheck), !slices.Contains(a.Unreported, "spoofCheck")
		},
		can: func(b nic.Behaviour, _ string) nic.Support { return b.SpoofCheck },
	},
	{
		key: "linkState", kind: KindVFLinkState, name: "state", fresh: "auto",
		want: func(_ *work, g *spec.VFGroup, _ int) string { return string(g.LinkState) },
		have: func(a *inventory.VFAdmin) (string, bool) { return a.LinkState, a.LinkState != "" },
		can:  func(b nic.Behaviour, _ string) nic.Support { return b.LinkState },
	},
	{
		key: "rate", kind: KindVFRate, name: "rate", fresh: "0 0",
		want: func(_ *work, g *spec.VFGroup, _ int) string {
			if g.Rate == nil {
				return ""
			}
			return rate(g.Rate.Min, g.Rate.Max)
		},
		have: func(a *inventory.VFAdmin) (string, bool) { return rate(a.MinRate, a.MaxRate), true },
		can: func(b nic.Behaviour, want string) nic.Support {
			if want[0] != '0' && b.MinRate == nic.No {
				return nic.No
			}
			return b.MaxRate
		},
	},
}

func always(nic.Behaviour, string) nic.Support { return nic.Unknown }

func onOff(b *bool) string {
	switch {
	case b == nil:
		return ""
	case *b:
		return "on"
	default:
		return "off"
	}
}

// vlan is the value of a VLAN step. Without a tag nothing else matters.
func vlan(id, qos int, proto string) string {
	if id == 0 {
		return noVLAN
	}
	if proto == "" {
		proto = "802.1q"
	}
	return fmt.Sprintf("%d %d %s", id, qos, proto)
}

func rate(low, high int) string { return strconv.Itoa(low) + " " + strconv.Itoa(high) }

func (w *work) wantMAC(g *spec.VFGroup, index int) string {
	switch g.MACAddresses.Mode {
	case spec.MACList:
		if i := slices.Index(g.Indexes, index); i >= 0 && i < len(g.MACAddresses.List) {
			return g.MACAddresses.List[i].String()
		}
	case spec.MACStable:
		return StableMAC(w.hardwareAddr(), index).String()
	}
	return ""
}

func (w *work) wantGUID(g *spec.VFGroup, index int) string {
	switch g.GUIDs.Mode {
	case spec.MACList:
		if i := slices.Index(g.Indexes, index); i >= 0 && i < len(g.GUIDs.List) {
			return g.GUIDs.List[i].String()
		}
	case spec.MACStable:
		return StableGUID(w.hardwareAddr(), index).String()
	}
	return ""
}

// hardwareAddr is what the PF's stable addresses derive from, nil when there is
// nothing that is its own.
func (w *work) hardwareAddr() net.HardwareAddr {
	if w.twin != "" {
		return nil
	}
	return hardwareAddr(w.pf)
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

// attributes plans what the PF holds for its VFs, and marks the VFs whose driver
// has to be bound anew for it. One attribute comes after the other, so that
// people read them together.
func (w *work) attributes() {
	for i := range attributes {
		for _, v := range w.vfs {
			if v.group != nil {
				w.attribute(&attributes[i], v)
			}
		}
	}
}

func (w *work) attribute(a *attribute, v *vfWork) {
	want := a.want(w, v.group, v.index)
	if want == "" {
		if a.unfulfilled(v.group) && len(w.pf.Netdevs) > 0 {
			w.refuse(v, a, "", "")
		}
		return
	}
	have, known := "", false
	switch {
	case v.vf == nil:
		have, known = a.fresh, a.fresh != ""
	case v.vf.Admin != nil:
		have, known = a.have(v.vf.Admin)
	case !slices.Contains(w.unseen, v.index):
		w.unseen = append(w.unseen, v.index)
	}
	id := w.vfID(v.index, a.kind)
	if known && have == want || !known && v.vf != nil && !slices.Contains(w.record.Open, id) {
		return
	}
	if a.can(w.nic, want) == nic.No {
		w.refuse(v, a, want, "")
		return
	}
	if r, ok := w.record.Refused[id]; ok && r.Holds(want, w.out.Carrier) {
		if r.Volatile && !r.Carrier && !v.group.Optional.Has(a.key) {
			w.noLink = append(w.noLink, v.index)
			return
		}
		w.refuse(v, a, want, r.Answer)
		return
	}
	if len(w.pf.Netdevs) == 0 {
		w.noInterface = append(w.noInterface, v.index)
		return
	}
	if v.busy {
		w.later(v, a.key)
		return
	}
	s := Step{
		ID: id, Kind: a.kind, Action: ActionChange, VFs: []int{v.index},
		Path: fmt.Sprintf("netlink %s vf %d %s", w.pf.Name(), v.index, a.name),
		Old:  have, New: want, Reason: "the document says " + a.key, Disruption: DisruptNone,
		Needs: v.needs, Optional: v.group.Optional.Has(a.key), Key: a.key, Pos: v.group.Pos,
	}
	if v.forced {
		s.Forced = v.holders
	}
	if a.rebind && v.vf != nil && v.bound && v.driver() == spec.DriverDefault {
		if w.nic.ResetsVFOnMAC {
			s.Disruption = DisruptReset
		} else {
			v.rebind = "the VF's driver reads its address when it binds"
		}
	}
	id = w.add(s)
	if a.rebind {
		v.addresses = append(v.addresses, id)
	}
}

// unfulfilled reports whether the group asks for a derived address that cannot
// be derived.
func (a *attribute) unfulfilled(g *spec.VFGroup) bool {
	return a.kind == KindVFMAC && g.MACAddresses.Mode == spec.MACStable ||
		a.kind == KindVFNodeGUID && g.GUIDs.Mode == spec.MACStable
}
