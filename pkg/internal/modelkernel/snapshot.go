package modelkernel

import (
	"slices"
	"strings"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
)

// Snapshot is what inventory.Read would make of the model, without the reading:
// property tests take thousands of them.
func (k *Kernel) Snapshot() *inventory.Snapshot {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := &inventory.Snapshot{IOMMU: true}
	for _, drv := range k.drivers {
		if drv.Loaded {
			s.PCIDrivers = append(s.PCIDrivers, drv.Name)
		}
	}
	slices.Sort(s.PCIDrivers)
	for _, d := range k.devices {
		if d.pf != nil {
			continue
		}
		p := inventory.PF{
			Function: d.function(), TotalVFs: d.spec.Total, NumVFs: len(d.vfs),
			AutoProbe: d.autoprobe, VFDevice: d.spec.VFDevice, EswitchMode: d.eswitch,
		}
		if d.eswitch == "switchdev" {
			on := d.tcOffload
			p.TCOffload = &on
		}
		for _, vf := range d.vfs {
			p.VFs = append(p.VFs, inventory.VF{Function: vf.function(), Index: vf.index, Admin: vf.report(d)})
		}
		s.PFs = append(s.PFs, p)
	}
	slices.SortFunc(s.PFs, func(a, b inventory.PF) int { return strings.Compare(a.Address, b.Address) })
	return s
}

func (d *device) function() inventory.Function {
	f := inventory.Function{
		Address: d.addr, Vendor: d.vendor, Device: d.id, Class: d.class, Driver: d.driver,
		DriverOverride: d.override, NUMANode: d.numa, IOMMUGroup: d.group,
	}
	if d.ifname != "" && d.holder == "" {
		f.Netdevs = []inventory.Netdev{{
			Name: d.ifname, Index: d.ifidx, MAC: d.mac, PermMAC: d.mac, MTU: d.mtu,
			MaxMTU: 9216, AdminUp: d.up, Carrier: d.carrier(), LinkType: "ethernet",
		}}
	}
	if d.rdma != "" {
		f.RDMA = []inventory.RDMADevice{{Name: d.rdma}}
	}
	if d.vdpa != nil {
		f.VDPA = &inventory.VDPADevice{Name: d.vdpa.name, Driver: d.vdpa.driver}
	}
	return f
}
