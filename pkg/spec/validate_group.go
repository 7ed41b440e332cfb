package spec

import (
	"strconv"

	"github.com/talos-sriov/talos-sriov/pkg/vfrules"
)

// refusal is an attribute of a VF that cannot be set, and what to do instead.
type refusal struct {
	key, hint string
	set       func(*VFGroup) bool
}

// switchdevRefuses are the attributes of a VF that exist in eswitch mode legacy
// only. In switchdev mode the traffic of a VF is ruled at its representor.
//
//	vlan        mlx5 answers EOPNOTSUPP unless the id is 0 (esw/legacy.c,
//	            mlx5_eswitch_set_vport_vlan)
//	trust       ice answers EOPNOTSUPP (ice_sriov.c, ice_set_vf_trust); mlx5
//	            keeps the value and does nothing with it
//	spoofCheck  mlx5 keeps the value and does nothing with it: the ACL that
//	            would act on it is set up in legacy mode only
//
// rate, linkState and MAC addresses work in both modes.
var switchdevRefuses = []refusal{
	{"vlan", "tag at the representor (bridge VLAN filtering, OVS or tc)", func(g *VFGroup) bool { return g.VLAN != nil && g.VLAN.ID != 0 }},
	{"trust", "remove it; what the VF may send is ruled at its representor", func(g *VFGroup) bool { return g.Trust != nil }},
	{"spoofCheck", "remove it; filter at the representor with tc", func(g *VFGroup) bool { return g.SpoofCheck != nil }},
}

// infinibandRefuses are the attributes that an IPoIB PF has no operation for
// (drivers/infiniband/ulp/ipoib/ipoib_main.c, ipoib_netdev_ops_pf: link state,
// GUIDs, statistics).
var infinibandRefuses = []refusal{
	{"macAddresses", "use guids", func(g *VFGroup) bool { return g.MACAddresses.Mode != MACDefault }},
	{"vlan", "use partition keys, which the subnet manager gives", func(g *VFGroup) bool { return g.VLAN != nil }},
	{"trust", "remove it", func(g *VFGroup) bool { return g.Trust != nil }},
	{"spoofCheck", "remove it", func(g *VFGroup) bool { return g.SpoofCheck != nil }},
	{"queryRSS", "remove it", func(g *VFGroup) bool { return g.QueryRSS != nil }},
	{"rate", "remove it", func(g *VFGroup) bool { return g.Rate != nil }},
	{"vdpa", "remove it", func(g *VFGroup) bool { return g.VDPA != "" }},
}

// group checks the attributes of one VF group against each other and against
// its PF's, which is at owner.
func (v *validator) group(pf *PhysicalFunction, owner string, g *VFGroup, at string) {
	v.ranges(g, at)
	noNetdev := g.Driver.Userspace() || g.Driver == DriverNone
	if noNetdev {
		driver := "driver " + string(g.Driver) + " (" + v.line(at+".driver") + ")"
		if g.RDMA {
			v.complain(at+".rdma", "remove one of the two; an RDMA device is made by the NIC's own driver", "rdma is not supported with "+driver)
		}
		if g.VDPA != "" {
			v.complain(at+".vdpa", "remove one of the two; a vDPA device is made by the NIC's own driver", "vdpa is not supported with "+driver)
		}
		if g.MTU != nil {
			v.complain(at+".mtu", "remove it; who drives the VF sets its MTU, up to the PF's", "a VF with "+driver+" has no netdev to carry an MTU")
		}
	}
	if g.VDPA != "" && pf.EswitchMode != EswitchSwitchdev {
		v.complain(at+".vdpa", "add eswitchMode: switchdev to the PF", "vdpa needs eswitchMode switchdev")
	}
	linkType := " (" + v.line(owner+".linkType") + ")"
	if pf.EswitchMode == EswitchSwitchdev {
		v.refuse(g, at, switchdevRefuses, " exists in eswitch mode legacy only, and this PF's is switchdev ("+v.line(owner+".eswitchMode")+")")
	}
	switch {
	case pf.LinkType == LinkInfiniBand:
		v.refuse(g, at, infinibandRefuses, " is for Ethernet, and this PF's linkType is infiniband"+linkType)
	case pf.LinkType == LinkEthernet && g.GUIDs.Mode != MACDefault:
		v.complain(at+".guids", "use macAddresses", "guids is for InfiniBand, and this PF's linkType is ethernet"+linkType)
	case g.GUIDs.Mode != MACDefault && g.MACAddresses.Mode != MACDefault:
		v.complain(at+".guids", "keep guids for InfiniBand, macAddresses for Ethernet", "guids and macAddresses ("+v.line(at+".macAddresses")+") cannot both apply to one VF")
	}
	v.listLength(len(g.MACAddresses.List), g.MACAddresses.Mode, g, at, "macAddresses")
	v.listLength(len(g.GUIDs.List), g.GUIDs.Mode, g, at, "guids")
	for i, key := range g.Optional.Keys {
		path := index(at+".optional", i)
		if !v.has(at + "." + key) {
			v.complain(path, "set it, or remove it from the list", key+" is not set in this group")
		}
	}
	if len(g.Optional.Keys) > 0 && v.ok(at+".optional") {
		v.noRepeats(at+".optional", g.Optional.Keys)
	}
}

func (v *validator) refuse(g *VFGroup, at string, list []refusal, why string) {
	for _, r := range list {
		if r.set(g) {
			v.complain(at+"."+r.key, r.hint, r.key+why)
		}
	}
}

// ranges checks each number of a group by itself.
func (v *validator) ranges(g *VFGroup, at string) {
	if g.MTU != nil {
		v.problems(at+".mtu", vfrules.MTU(*g.MTU))
	}
	if g.VLAN != nil {
		v.vlan(g.VLAN, at+".vlan")
	}
	if r := g.Rate; r != nil {
		path := at + ".rate"
		if !v.has(path+".min") && !v.has(path+".max") {
			v.complain(path, "give min, max or both; 0 means no limit", "is empty")
		}
		v.problems(path, vfrules.Rate(r.Min, r.Max))
	}
}

func (v *validator) vlan(l *VLAN, path string) {
	id := l.ID
	if !v.has(path + ".id") {
		switch {
		case v.has(path+".qos") && v.ok(path):
			v.complain(path+".qos", "add id", "qos has no effect without a VLAN id")
		case v.ok(path):
			v.missing(path, "id", "add id, from 1 to 4094; 0 removes the tag")
		}
		id = 1 // that there is none was reported
	}
	v.problems(path, vfrules.VLAN(id, l.QoS, l.Protocol))
}

func (v *validator) listLength(n int, mode MACMode, g *VFGroup, at, key string) {
	path := at + "." + key
	if mode != MACList || len(g.Indexes) == 0 || !v.ok(path) || !v.ok(at+".indexes") || n == len(g.Indexes) {
		return
	}
	v.complain(path, "list one for each index, in the order of the indexes",
		"lists "+strconv.Itoa(n)+", but the group has "+strconv.Itoa(len(g.Indexes))+" VFs ("+v.line(at+".indexes")+")")
}
