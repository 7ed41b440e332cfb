package pool

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/selection"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

// candidate is a device of the machine that the config may put in a pool.
type candidate struct {
	id    string
	fn    *inventory.Function // of an SF: its parent
	pf    *inventory.PF       // parent of a VF or SF; the PF itself; nil when there is none
	vf    *inventory.VF
	sf    *inventory.Subfunction
	index int // VF index or sfnum; -1 for what is neither
	// These are of the device itself; what a selector says of vendors, devices and
	// drivers is of the parent's for an SF.
	driver  string
	netdevs []inventory.Netdev
	rdma    []inventory.RDMADevice
	vdpa    *inventory.VDPADevice
	// uplink: the host uses a PF or a function without one, which is left out;
	// hostUse: how the host uses a VF or SF, which is unhealthy.
	uplink  bool
	hostUse string
}

func ofFunction(f *inventory.Function) candidate {
	return candidate{id: f.Address, fn: f, index: -1, driver: f.Driver, netdevs: f.Netdevs, rdma: f.RDMA, vdpa: f.VDPA}
}

func ofVF(pf *inventory.PF, vf *inventory.VF) candidate {
	c := ofFunction(&vf.Function)
	c.pf, c.vf, c.index, c.hostUse = pf, vf, vf.Index, vf.HostUse
	return c
}

// candidates are the devices of the machine, by device type.
type candidates map[string][]candidate

// gather sorts the functions by what they are to the device plugin's
// vocabulary: base class 02 is a netDevice, 12 an accelerator. A network PF is
// offered itself only while it has no VFs and the config wants none.
func gather(snap *inventory.Snapshot, sel *selection.Result) candidates {
	out := candidates{}
	add := func(c candidate) {
		switch {
		case c.fn.IsNetwork():
			out[spec.DeviceTypeNet] = append(out[spec.DeviceTypeNet], c)
		case c.fn.IsAccelerator():
			out[spec.DeviceTypeAccelerator] = append(out[spec.DeviceTypeAccelerator], c)
		}
	}
	for i := range snap.PFs {
		pf := &snap.PFs[i]
		if pf.IsAccelerator() || !parent(pf, sel) {
			c := ofFunction(&pf.Function)
			c.pf, c.uplink = pf, pf.Uplink != ""
			add(c)
		}
		for j := range pf.VFs {
			add(ofVF(pf, &pf.VFs[j]))
		}
	}
	for i := range snap.Others {
		c := ofFunction(&snap.Others[i])
		c.uplink = snap.OtherUse[c.id] != ""
		add(c)
	}
	for i := range snap.Subfunctions {
		sf := &snap.Subfunctions[i]
		c := candidate{
			id: sf.Name, fn: function(snap, sf.Parent), pf: snap.PF(sf.Parent), sf: sf, index: sf.SFNum,
			driver: sf.Driver, netdevs: sf.Netdevs, rdma: sf.RDMA, vdpa: sf.VDPA, hostUse: snap.OtherUse[sf.Name],
		}
		out[spec.DeviceTypeAux] = append(out[spec.DeviceTypeAux], c)
	}
	return out
}

// parent reports whether the PF has VFs, or is going to.
func parent(pf *inventory.PF, sel *selection.Result) bool {
	if pf.NumVFs > 0 || len(pf.VFs) > 0 {
		return true
	}
	b := sel.Binding(pf.Address)
	if b == nil {
		return false
	}
	n := b.Entry.NumVFs
	return b.Conflict != nil || n == nil || *n > 0
}

// function is the function with the address; one that nothing is known of has
// only its address.
func function(snap *inventory.Snapshot, address string) *inventory.Function {
	if d, ok := snap.Device(address); ok && d.Function != nil {
		return d.Function
	}
	return &inventory.Function{Address: address, NUMANode: -1, IOMMUGroup: -1}
}

// linkType is what the vocabulary calls the link. A VF whose interface is in a
// pod, or that has none, is of its PF's type.
func (c *candidate) linkType() string {
	list := c.netdevs
	if len(list) == 0 && c.pf != nil {
		list = c.pf.Netdevs
	}
	if len(list) == 0 {
		return ""
	}
	if list[0].LinkType == "ethernet" {
		return "ether"
	}
	return list[0].LinkType
}

// child reports whether pfNames and rootDevices can mean the device: it is a VF
// or SF, no PF.
func (c *candidate) child() bool { return c.vf != nil || c.sf != nil }

// matches is AND over the keys, OR within one; a key that is not given does not
// restrict.
func matches(s *spec.Selector, c *candidate) bool {
	return oneOf(s.Vendors, c.fn.Vendor) &&
		oneOf(s.Devices, c.fn.Device) &&
		oneOf(s.Drivers, c.fn.Driver) &&
		oneOf(s.PCIAddresses, c.fn.Address) &&
		oneOf(s.ACPIIndexes, c.fn.ACPIIndex) &&
		oneOf(s.LinkTypes, c.linkType()) &&
		(len(s.AuxTypes) == 0 || c.sf != nil && slices.Contains(s.AuxTypes, "sf")) &&
		inRanges(s.PFNames, c, parentNamed) &&
		inRanges(s.RootDevices, c, parentAt) &&
		oneOf(s.DDPProfiles, c.ddpProfile()) &&
		oneOf(s.PKeys, c.pkey()) &&
		(!s.IsRDMA || len(c.rdma) > 0) &&
		(s.VDPAType == "" || vdpaType(c.vdpa) == spec.VDPAType(s.VDPAType))
}

func oneOf(list []string, v string) bool { return len(list) == 0 || slices.Contains(list, v) }

// inRanges reports whether any of the entries (name#ranges) means the device.
// All entries of one name count, not only the first.
func inRanges(list []string, c *candidate, named func(*candidate, string) bool) bool {
	if len(list) == 0 {
		return true
	}
	return c.child() && slices.ContainsFunc(list, func(s string) bool {
		r, err := spec.ParseRanges(s)
		return err == nil && r.Contains(c.index) && named(c, r.Name)
	})
}

func parentNamed(c *candidate, name string) bool {
	var list []inventory.Netdev
	switch {
	case c.pf != nil:
		list = c.pf.Netdevs
	case c.sf != nil:
		list = c.fn.Netdevs
	}
	return slices.ContainsFunc(list, func(n inventory.Netdev) bool {
		return strings.EqualFold(n.Name, name) ||
			slices.ContainsFunc(n.AltNames, func(a string) bool { return strings.EqualFold(a, name) })
	})
}

func parentAt(c *candidate, address string) bool {
	if c.sf != nil {
		return c.sf.Parent == address
	}
	return c.pf != nil && c.pf.Address == address
}

func (c *candidate) ddpProfile() string {
	if c.fn.DDPProfile == "" && c.pf != nil {
		return c.pf.DDPProfile
	}
	return c.fn.DDPProfile
}

// pkey is the first partition key; only InfiniBand links have one that means
// anything.
func (c *candidate) pkey() string {
	if len(c.rdma) > 0 && c.linkType() == "infiniband" {
		return c.rdma[0].PKey
	}
	return ""
}

// vdpaType is who consumes the vDPA device, "" when nobody is bound to it.
func vdpaType(d *inventory.VDPADevice) spec.VDPAType {
	if d == nil {
		return ""
	}
	return consumers[d.Driver]
}

var consumers = map[string]spec.VDPAType{"virtio_vdpa": spec.VDPAVirtio, "vhost_vdpa": spec.VDPAVhost}

// addResource gives the entry's pool what it selects and nobody had before.
func (b *builder) addResource(r *spec.Resource, all candidates, snap *inventory.Snapshot) {
	name := r.FullName()
	uplinks := 0
	for i := range r.Selectors {
		s := &r.Selectors[i]
		want := extras{rdma: s.IsRDMA, vhostNet: s.NeedVhostNet, vdpa: spec.VDPAType(s.VDPAType)}
		for j := range all[r.DeviceType] {
			c := &all[r.DeviceType][j]
			if !matches(s, c) {
				continue
			}
			if c.uplink && r.DeviceType == spec.DeviceTypeNet {
				uplinks++
				continue
			}
			want.extra = additional(r.AdditionalInfo, c.fn.Address)
			d := c.device(kinds[r.DeviceType], want, unusable(c, snap), snap)
			d.NoTopology = r.ExcludeTopology
			b.add(name, d)
		}
	}
	p := &b.out.Pools[b.index[name]]
	if uplinks > 0 {
		p.Notices = append(p.Notices, fmt.Sprintf("%d selected device(s) carry the node's own network and are left out", uplinks))
	}
	if !(snap.VhostNet && snap.Tun) && slices.ContainsFunc(r.Selectors, func(s spec.Selector) bool { return s.NeedVhostNet }) {
		p.Notices = append(p.Notices, "needVhostNet: this node has no "+missingVhost(snap)+"; the devices are offered without it")
	}
}

// kinds are what the devices of each device type are.
var kinds = map[string]Kind{
	spec.DeviceTypeNet: KindNet, spec.DeviceTypeAccelerator: KindAccelerator, spec.DeviceTypeAux: KindSF,
}

// device is what a pool offers of the candidate; unusable says why it must not be
// given to a pod, "" when it may.
func (c *candidate) device(kind Kind, want extras, unusable string, snap *inventory.Snapshot) Device {
	d := Device{
		ID: c.id, Kind: kind, Index: c.index, NUMANode: c.fn.NUMANode, Driver: c.driver,
		Healthy: unusable == "", Reason: Unusable(unusable),
	}
	switch {
	case c.pf != nil:
		d.PF, d.PFName = c.pf.Address, c.pf.Name()
	case c.sf != nil:
		d.PF = c.sf.Parent
	}
	want.vhostNet = want.vhostNet && snap.VhostNet && snap.Tun
	equip(&d, c, want)
	return d
}

// unusable says why a device must not be given to a pod, "" when it may.
func unusable(c *candidate, snap *inventory.Snapshot) string {
	if c.driver == "" {
		return "no driver is bound: is the kernel module for this device loaded?"
	}
	if why := cmp.Or(ofHost(c.hostUse), ofHostUnknown(snap, c.id)); why != "" || c.sf != nil {
		return why
	}
	return lacking(c.fn, snap)
}

// additional merges what "*" and the device's own address say; the device's
// own wins. nil only when the config says nothing of any device.
func additional(info map[string]map[string]string, address string) map[string]string {
	if info == nil {
		return nil
	}
	out := map[string]string{}
	maps.Copy(out, info["*"])
	maps.Copy(out, info[address])
	return out
}
