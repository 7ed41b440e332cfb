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

// assemble sorts the functions into PFs with their VFs, and others, and gives
// each what is its own by the classes.
func (r *reader) assemble(ctx context.Context, funcs []*found) *Snapshot {
	type place struct{ pf, index int }
	s := &Snapshot{PFs: []PF{}, IOMMU: r.iommu, DefaultRoute: r.route, Network: r.answers}
	vfOf := make(map[string]place)
	for _, f := range funcs {
		if !f.isPF {
			continue
		}
		for addr, index := range f.vfs {
			vfOf[addr] = place{len(s.PFs), index}
		}
		s.PFs = append(s.PFs, f.PF)
	}
	for _, f := range funcs {
		if f.isPF {
			continue
		}
		if p, ok := vfOf[f.Address]; ok {
			pf := &s.PFs[p.pf]
			pf.VFs = append(pf.VFs, VF{Function: f.Function, Index: p.index})
		} else {
			s.Others = append(s.Others, f.Function)
		}
	}
	s.Subfunctions = r.sfs
	s.VhostNet, s.Tun = slices.Contains(r.misc, sysfs.MiscVhostNet), slices.Contains(r.misc, sysfs.MiscTun)
	s.VFIOType1 = r.vfioType1()
	if drivers, err := r.tree.ReadDir(sysfs.PCIDrivers); err == nil {
		s.PCIDrivers = drivers
	}

	paths := make(map[string]string, len(funcs))
	for _, f := range funcs {
		paths[f.Address] = f.path
	}
	for i := range s.PFs {
		r.equipPF(ctx, &s.PFs[i], paths)
	}
	each(ctx, len(s.Others), func(i int) {
		r.equip(&s.Others[i], paths[s.Others[i].Address], r.port)
	})
	for i := range s.Subfunctions {
		sf := &s.Subfunctions[i]
		sf.RDMA, sf.VDPA = r.rdma[sf.Name], r.vdpa[sf.Name]
		for _, ref := range r.netdevs[sf.Name] {
			sf.Netdevs = append(sf.Netdevs, r.netdev(ref))
		}
	}
	return s
}

// equipPF gives the PF and its VFs what is their own; paths are the directories of the
// functions by address.
func (r *reader) equipPF(ctx context.Context, pf *PF, paths map[string]string) {
	slices.SortFunc(pf.VFs, func(a, b VF) int { return cmp.Compare(a.Index, b.Index) })
	r.equip(&pf.Function, paths[pf.Address], r.port)
	r.takeRepresentors(pf)
	r.orderPorts(&pf.Function, paths[pf.Address])
	describe := r.netdev
	if len(pf.Netdevs) > 0 && r.byName == nil && !r.needs.VFSettings && pf.Netdevs[0].LinkType != "" {
		// Each attribute would be read from sysfs, of each VF, and nobody needs it.
		describe = func(ref netRef) Netdev { return Netdev{Name: ref.name, LinkType: pf.Netdevs[0].LinkType} }
	}
	each(ctx, len(pf.VFs), func(j int) {
		f := &pf.VFs[j].Function
		r.equip(f, paths[f.Address], describe)
		r.orderPorts(f, paths[f.Address])
	})
}

// equip gives a function its devices and its interfaces, as describe reads them.
func (r *reader) equip(f *Function, path string, describe func(netRef) Netdev) {
	f.RDMA, f.UIO, f.VDPA = r.rdma[f.Address], r.uio[f.Address], r.vdpa[f.Address]
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

func (r *reader) applyRDMANetns(ctx context.Context, s *Snapshot) {
	if len(r.rdma) == 0 {
		return
	}
	mode, err := r.net.RDMANetnsMode(ctx)
	if err != nil {
		r.unanswered(wholeNetwork, "RDMA network namespace mode", err)
		return
	}
	s.RDMANetns = string(mode)
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

// applyOthers asks the network about the functions that are no part of a PF.
func (r *reader) applyOthers(ctx context.Context, s *Snapshot) {
	use := func(id string, netdevs []Netdev) { say(&s.OtherUse, id, r.hostUse(netdevs)) }
	for i := range s.Others {
		r.ddpProfile(ctx, &s.Others[i])
		use(s.Others[i].Address, s.Others[i].Netdevs)
	}
	for i := range s.Subfunctions {
		use(s.Subfunctions[i].Name, s.Subfunctions[i].Netdevs)
	}
}

// applyNetwork asks netlink and devlink about each PF.
func (r *reader) applyNetwork(ctx context.Context, s *Snapshot) {
	if r.net == nil {
		return
	}
	r.applyOthers(ctx, s)
	r.applyRDMANetns(ctx, s)
	each(ctx, len(s.PFs), func(i int) {
		pf := &s.PFs[i]
		r.ddpProfile(ctx, &pf.Function)
		r.eswitch(ctx, pf)
		r.hostNetwork(pf)
		for j := range pf.VFs {
			pf.VFs[j].HostUse = r.hostUse(pf.VFs[j].Netdevs)
		}
		r.vfAdmin(ctx, pf)
	})
	r.applyHostUnknown(s)
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
