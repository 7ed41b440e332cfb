package inventory

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/talos-sriov/talos-sriov/pkg/nic"
	"github.com/talos-sriov/talos-sriov/pkg/nl"
	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
)

// summary is the snapshot's part that is about no single device.
func (r *reader) summary() *Snapshot {
	s := &Snapshot{PFs: []PF{}, IOMMU: r.iommu, DefaultRoute: r.route, Network: r.answers}
	s.VhostNet, s.Tun = slices.Contains(r.misc, sysfs.MiscVhostNet), slices.Contains(r.misc, sysfs.MiscTun)
	s.VFIOType1 = r.vfioType1()
	if drivers, err := r.tree.ReadDir(sysfs.PCIDrivers); err == nil {
		s.PCIDrivers = drivers
	}
	return s
}

// equipPF gives the PF, which is in the directory, and its VFs what is their own; paths
// are the directories of pf.VFs.
func (r *reader) equipPF(ctx context.Context, pf *PF, path string, paths []string) {
	r.equip(&pf.Function, path, r.port)
	r.takeRepresentors(pf)
	r.orderPorts(&pf.Function, path)
	describe := r.netdev
	if len(pf.Netdevs) > 0 && r.byName == nil && !r.needs.VFSettings && pf.Netdevs[0].LinkType != "" {
		// Each attribute would be read from sysfs, of each VF, and nobody needs it.
		describe = func(ref netRef) Netdev { return Netdev{Name: ref.name, LinkType: pf.Netdevs[0].LinkType} }
	}
	each(ctx, r.workers, len(pf.VFs), func(j int) {
		f := &pf.VFs[j].Function
		r.equip(f, paths[j], describe)
		r.orderPorts(f, paths[j])
	})
}

// equip gives a function its devices and its interfaces, as describe reads them.
func (r *reader) equip(f *Function, path string, describe func(netRef) Netdev) {
	f.RDMA, f.UIO, f.VDPA = r.rdmaOf(f.Address), r.uio[f.Address], r.vdpa[f.Address]
	for _, ref := range r.refs(f, path) {
		f.Netdevs = append(f.Netdevs, describe(ref))
	}
}

// refs are the function's interfaces.
func (r *reader) refs(f *Function, path string) []netRef {
	refs := r.netdevs[f.Address]
	if r.noNetClass {
		dir := sysfs.Netdevs(path)
		for _, name := range r.list(dir) {
			refs = append(refs, netRef{name, sysfs.Join(dir, name)})
		}
	}
	return refs
}

// orderPorts sorts the interfaces of a function that has several. A card with two
// ports on one function (ConnectX-3) numbers them in dev_port; names may be given
// in any order, and in another one at the next boot. Source:
// Documentation/ABI/testing/sysfs-class-net.
func (r *reader) orderPorts(f *Function, path string) {
	if len(f.Netdevs) < 2 {
		return
	}
	ports := make(map[string]int, len(f.Netdevs))
	for _, d := range f.Netdevs {
		// A driver that does not number them leaves 0: then the names decide.
		if n, err := sysfs.ReadInt(r.tree, sysfs.Join(sysfs.Netdevs(path), sysfs.Join(d.Name, sysfs.NetDevPort))); err == nil {
			ports[d.Name] = n
		}
	}
	slices.SortStableFunc(f.Netdevs, func(a, b Netdev) int {
		return cmp.Or(cmp.Compare(ports[a.Name], ports[b.Name]), cmp.Compare(a.Name, b.Name))
	})
}

// netdev describes one interface: from netlink when it knows it, else from
// sysfs (no netlink; or the interface left in between; or the tree is not this
// machine's).
func (r *reader) netdev(ref netRef) Netdev {
	if l := r.link(ref); l != nil {
		return Netdev{
			Name: l.Name, Index: l.Index, AltNames: slices.Sorted(slices.Values(l.AltNames)),
			MAC: l.MAC.String(), PermMAC: l.PermMAC.String(),
			MTU: l.MTU, MaxMTU: l.MaxMTU, AdminUp: l.Up, Carrier: l.Carrier,
			LinkType: linkType(l.Type), PhysSwitchID: l.PhysSwitchID, PhysPortName: l.PhysPortName,
		}
	}
	if r.byName != nil {
		r.mu.Lock()
		r.unlisted[ref.name] = true
		r.mu.Unlock()
	}
	return r.netdevFromSysfs(ref)
}

// port is netdev and what only matters for a port. Each such attribute asks the
// driver, so VFs and subfunctions go without.
func (r *reader) port(ref netRef) Netdev {
	d := r.netdev(ref)
	if r.link(ref) == nil {
		d.PhysSwitchID, d.PhysPortName = r.netAttr(ref, sysfs.NetPhysSwitchID), r.netAttr(ref, sysfs.NetPhysPortName)
		if r.netAttr(ref, sysfs.NetAddrAssignType) == "0" { // NET_ADDR_PERM
			d.PermMAC = d.MAC
		}
	}
	if d.Carrier {
		if n, err := sysfs.ReadInt(r.tree, sysfs.Join(ref.path, sysfs.NetSpeed)); err == nil && n > 0 {
			d.SpeedMbps = n
		}
	}
	return d
}

// link is netlink's view of the interface, nil when it has none. An interface
// of the same name on another device is another one.
func (r *reader) link(ref netRef) *nl.Link {
	l := r.byName[ref.name]
	if l == nil || l.ParentDev != "" && !sysfs.IsNetdevOf(ref.path, l.ParentDev) {
		return nil
	}
	return l
}

// netAttr reads a class attribute. What a driver does not know it answers with
// EOPNOTSUPP or EINVAL; that is no news and no note.
func (r *reader) netAttr(ref netRef, attr string) string {
	return r.text(sysfs.Join(ref.path, attr))
}

func (r *reader) netdevFromSysfs(ref netRef) Netdev {
	num := func(attr string) int {
		n, err := strconv.ParseInt(r.netAttr(ref, attr), 0, 64)
		if err != nil {
			return 0
		}
		return int(n)
	}
	d := Netdev{
		Name: ref.name, Index: num(sysfs.NetIfIndex), MAC: r.netAttr(ref, sysfs.NetAddress), MTU: num(sysfs.NetMTU),
		LinkType: linkType(uint16(num(sysfs.NetType))),
		AdminUp:  num(sysfs.NetFlags)&1 != 0, // IFF_UP
	}
	if d.AdminUp {
		d.Carrier = num(sysfs.NetCarrier) == 1
	}
	return d
}

func linkType(arphrd uint16) string {
	switch arphrd {
	case nl.TypeEthernet:
		return "ethernet"
	case nl.TypeInfiniBand:
		return "infiniband"
	}
	return "other"
}

// takeRepresentors moves the representors among the PF's interfaces to their
// VFs.
func (r *reader) takeRepresentors(pf *PF) {
	pf.Netdevs = slices.DeleteFunc(pf.Netdevs, func(d Netdev) bool {
		port := nic.ParsePort(d.PhysPortName)
		if port.Representor {
			pf.EswitchMode = "switchdev" // devlink's answer comes later and wins
		}
		if vf := pf.VF(port.VF); vf != nil {
			vf.Representor = d.Name
		}
		return port.Representor
	})
}

// rdmaMode is the namespace mode of RDMA devices, "" when there are none or it is not
// known.
func (r *reader) rdmaMode(ctx context.Context) string {
	if r.net == nil || len(r.rdma) == 0 {
		return ""
	}
	mode, err := r.net.RDMANetnsMode(ctx)
	if err != nil {
		r.unanswered(wholeNetwork, "RDMA network namespace mode", err)
		return ""
	}
	return string(mode)
}

// ddpProfile asks the one driver that reports it; every other driver would be
// asked for its firmware's versions without success, and some take long over that.
func (r *reader) ddpProfile(ctx context.Context, f *Function) {
	if f.Driver != "ice" {
		return
	}
	info, err := r.net.DevlinkInfo(ctx, nl.BusPCI, f.Address)
	if err != nil {
		r.unanswered(f.Address, "devlink info", err)
		return
	}
	f.DDPProfile = info["fw.app.name"]
}

// eswitch asks for the mode of the PF's eswitch, and for what switchdev mode is of
// no use without.
func (r *reader) eswitch(ctx context.Context, pf *PF) {
	mode, err := r.net.EswitchMode(ctx, nl.BusPCI, pf.Address)
	if err == nil {
		pf.EswitchMode = mode
	}
	r.unanswered(pf.Address, "eswitch mode", err)
	if pf.EswitchMode != "switchdev" || len(pf.Netdevs) == 0 {
		return
	}
	on, err := r.net.TCOffload(ctx, pf.Netdevs[0].Name)
	if err == nil {
		pf.TCOffload = &on
	}
	r.unanswered(pf.Address, "tc offload", err)
}

// vfAdmin asks for what the PF holds for its VFs.
func (r *reader) vfAdmin(ctx context.Context, pf *PF) {
	if len(pf.VFs) == 0 || len(pf.Netdevs) == 0 || r.byName[pf.Netdevs[0].Name] == nil {
		return
	}
	infos, err := r.net.VFs(ctx, nl.LinkRef{Index: pf.Netdevs[0].Index, Name: pf.Netdevs[0].Name})
	if err != nil {
		r.unanswered(pf.Address, "VF attributes", err)
		return
	}
	for _, info := range infos {
		if vf := pf.VF(info.Index); vf != nil {
			vf.Admin = admin(info)
		}
	}
}

// askNetwork asks netlink and devlink about the PF.
func (r *reader) askNetwork(ctx context.Context, pf *PF) {
	if r.net == nil {
		return
	}
	r.ddpProfile(ctx, &pf.Function)
	r.eswitch(ctx, pf)
	r.hostNetwork(pf)
	for j := range pf.VFs {
		pf.VFs[j].HostUse = r.hostUse(pf.VFs[j].Netdevs)
	}
	r.vfAdmin(ctx, pf)
}

func admin(v nl.VFInfo) *VFAdmin {
	a := &VFAdmin{
		MAC: v.MAC.String(), VLAN: v.VLAN, QoS: v.QoS, MinRate: v.MinRate, MaxRate: v.MaxRate,
		QueryRSS: v.QueryRSS, LinkState: v.LinkState.String(), NodeGUID: v.NodeGUID.String(), PortGUID: v.PortGUID.String(),
	}
	switch v.VLANProto {
	case 0:
	case nl.Proto8021Q:
		a.VLANProto = "802.1q"
	case nl.Proto8021AD:
		a.VLANProto = "802.1ad"
	default:
		a.VLANProto = fmt.Sprintf("0x%04x", v.VLANProto)
	}
	report := func(name string, have, to *bool) {
		if have == nil {
			a.Unreported = append(a.Unreported, name)
			return
		}
		*to = *have
	}
	report("spoofCheck", v.SpoofCheck, &a.SpoofCheck)
	report("trust", v.Trust, &a.Trust)
	return a
}
