package pool

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/nic"
	"github.com/talos-sriov/talos-sriov/pkg/selection"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

// Assign builds the pools of the config from what is on the machine. sel says which
// entry governs which PF: selection.PFs of the same two arguments, or selection.Govern
// where the last good config is kept on some PFs. Only VFs that exist are in a pool,
// so a pool grows as the kernel creates them.
func Assign(cfg *spec.Config, snap *inventory.Snapshot, sel selection.Result) *Assignment {
	b := builder{index: map[string]int{}, owner: map[string]string{}, lost: map[[2]string]int{}}
	if cfg == nil {
		return &b.out
	}
	if snap == nil {
		snap = &inventory.Snapshot{}
	}
	// All names first: pools of entries that match nothing here exist as well.
	for i := range cfg.PhysicalFunctions {
		b.pools(&cfg.PhysicalFunctions[i])
	}
	for i := range sel.Bindings {
		if bind := &sel.Bindings[i]; bind.Kept() {
			b.pools(bind.Entry)
		}
	}
	for i := range cfg.ResourceList {
		b.pool(cfg.ResourceList[i].FullName(), cfg.ResourceList[i].AllocationPolicy)
	}
	for i := range sel.Bindings {
		bind := &sel.Bindings[i]
		if pf := snap.PF(bind.PF); pf != nil {
			b.addPF(bind, pf, snap)
		}
	}
	if len(cfg.ResourceList) > 0 {
		all := gather(snap, &sel)
		for i := range cfg.ResourceList {
			b.addResource(&cfg.ResourceList[i], all, snap)
		}
	}
	b.noticeLost()
	for i := range b.out.Pools {
		b.out.Pools[i].CDI = cfg.DevicePlugin.CDI
		b.out.Pools[i].noticeRDMACM()
		slices.SortFunc(b.out.Pools[i].Devices, func(x, y Device) int {
			return cmp.Or(cmp.Compare(x.PF, y.PF), cmp.Compare(x.Index, y.Index), cmp.Compare(x.ID, y.ID))
		})
	}
	return &b.out
}

type builder struct {
	out   Assignment
	index map[string]int    // resource -> index in out.Pools
	owner map[string]string // device ID -> resource; the first claim wins
	// lost counts the devices that a pool (second) selects and another (first)
	// has.
	lost map[[2]string]int
}

// pool makes sure that the pool exists. No name, no pool: VFs without a
// resource are made for the host's own use.
//
// Of several entries that say how to choose from the pool the first counts.
func (b *builder) pool(resource, policy string) {
	if resource == "" {
		return
	}
	if _, ok := b.index[resource]; !ok {
		b.index[resource] = len(b.out.Pools)
		b.out.Pools = append(b.out.Pools, Pool{Resource: resource})
	}
	if p := &b.out.Pools[b.index[resource]]; p.Policy == "" {
		p.Policy = Policy(policy)
	}
}

// pools makes sure that the pools of the entry exist.
func (b *builder) pools(e *spec.PhysicalFunction) {
	b.pool(e.ResourceName, e.AllocationPolicy)
	for i := range e.VirtualFunctions {
		b.pool(e.VirtualFunctions[i].ResourceName, e.AllocationPolicy)
	}
}

func (b *builder) add(resource string, d Device) {
	if resource == "" {
		return
	}
	if owner, taken := b.owner[d.ID]; taken {
		if owner != resource {
			b.lost[[2]string{owner, resource}]++
		}
		return
	}
	b.owner[d.ID] = resource
	p := &b.out.Pools[b.index[resource]]
	p.Devices = append(p.Devices, d)
}

// noticeLost notes on both sides which pools select the same devices. The first of
// the config has them.
func (b *builder) noticeLost() {
	for i := range b.out.Pools {
		p := &b.out.Pools[i]
		for j := range b.out.Pools {
			o := &b.out.Pools[j]
			if n := b.lost[[2]string{o.Resource, p.Resource}]; n > 0 {
				p.Notices = append(p.Notices, fmt.Sprintf("%d selected device(s) belong to %s, which comes first", n, o.Resource))
			}
			if n := b.lost[[2]string{p.Resource, o.Resource}]; n > 0 {
				p.Notices = append(p.Notices, fmt.Sprintf("%d of these devices are selected by %s too, which comes later and goes without", n, o.Resource))
			}
		}
	}
}

func (b *builder) addPF(bind *selection.Binding, pf *inventory.PF, snap *inventory.Snapshot) {
	e, kind := bind.Entry, KindNet
	if pf.IsAccelerator() {
		kind = KindAccelerator
	}
	for i := range pf.VFs {
		vf := &pf.VFs[i]
		g := cmp.Or(e.Group(vf.Index), &spec.VFGroup{})
		c := ofVF(pf, vf)
		want := extras{rdma: g.RDMA, vhostNet: g.VhostNet, vdpa: g.VDPA}
		b.add(cmp.Or(g.ResourceName, e.ResourceName), c.device(kind, want, unhealthy(bind, g, vf, snap), snap))
	}
}

// unhealthy says why the VF must not be given to a pod, "" when it may.
func unhealthy(bind *selection.Binding, g *spec.VFGroup, vf *inventory.VF, snap *inventory.Snapshot) string {
	if c := bind.Conflict; c != nil {
		return fmt.Sprintf("the entries at line %d and line %d both select this PF and disagree (%s): make them agree or select different PFs",
			c.FirstPos.Line, c.SecondPos.Line, c.Keys[0])
	}
	if e := bind.Entry; e.NumVFs != nil && vf.Index >= *e.NumVFs {
		return fmt.Sprintf("VF %d is beyond numVFs: %d and is to be removed", vf.Index, *e.NumVFs)
	}
	if why := cmp.Or(wrongDriver(g.Driver, &vf.Function, snap), ofHost(vf.HostUse), ofHostUnknown(snap, vf.Address)); why != "" {
		return why
	}
	switch {
	case g.VDPA != "" && vdpaType(vf.VDPA) != g.VDPA:
		return fmt.Sprintf("the VF has no vDPA device for %s yet", g.VDPA)
	case g.RDMA && len(vf.RDMA) == 0 && len(vf.Netdevs) > 0:
		// Without a netdev it is in a pod, and its RDMA device with it.
		return "the VF has no RDMA device: is the RDMA module of its driver loaded?"
	case g.VhostNet && !(snap.VhostNet && snap.Tun):
		return "the config asks for vhost-net, and this node has no " + missingVhost(snap)
	}
	return ""
}

// wrongDriver compares the bound driver with the wanted one.
func wrongDriver(want spec.Driver, f *inventory.Function, snap *inventory.Snapshot) string {
	switch want {
	case spec.DriverNone:
		if f.Driver != "" {
			return fmt.Sprintf("driver %s is bound, the config asks for none", f.Driver)
		}
		return ""
	case spec.DriverVFIO, spec.DriverUIOPCIGeneric:
		if f.Driver != string(want) {
			return fmt.Sprintf("driver %s is bound, the config asks for %s", cmp.Or(f.Driver, "none"), want)
		}
		return lacking(f, snap)
	case spec.DriverDefault:
		if nic.Userspace(f.Driver) {
			return fmt.Sprintf("driver %s is bound, the config asks for the default driver", f.Driver)
		}
	}
	if f.Driver == "" {
		return "no driver is bound: is the kernel module for this VF loaded?"
	}
	return lacking(f, snap)
}
