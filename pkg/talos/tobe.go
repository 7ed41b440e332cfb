package talos

import (
	"regexp"
	"strconv"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/nic"
	"github.com/talos-sriov/talos-sriov/pkg/pci"
	"github.com/talos-sriov/talos-sriov/pkg/selection"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/talos/nodenet"
)

// Place says where a PF's VFs are on the bus: the first is Offset functions after
// the PF, each Stride after the one before. Source: the kernel's sriov_offset and
// sriov_stride (Documentation/ABI/testing/sysfs-bus-pci).
type Place struct{ Offset, Stride int }

// VFLinks are the interfaces that the VFs of a document bring to a node, those of
// representors among them. places says where the VFs of a PF are, by its address;
// a PF that is not in it has VFs at unknown places.
func VFLinks(c *spec.Config, s *inventory.Snapshot, places map[string]Place) []nodenet.Link {
	bound := selection.PFs(c, s)
	var out []nodenet.Link
	for i := range bound.Bindings {
		b := &bound.Bindings[i]
		pf := s.PF(b.PF)
		if pf == nil || !pf.IsNetwork() {
			continue // accelerators have no interfaces
		}
		entry := b.Entry
		count := pf.NumVFs
		if entry.NumVFs != nil {
			count = *entry.NumVFs
		}
		switchdev := entry.EswitchMode == spec.EswitchSwitchdev || entry.EswitchMode == "" && pf.EswitchMode == "switchdev"
		if pf.TotalVFs > 0 {
			count = min(count, max(pf.TotalVFs, pf.NumVFs))
		}
		for index := range count {
			g := entry.Group(index)
			if g == nil || !g.Driver.Userspace() && g.Driver != spec.DriverNone {
				out = append(out, vfLink(pf, g, index, places[pf.Address]))
			}
			if switchdev {
				out = append(out, nodenet.Link{
					ToBe: true, PF: pf.Name(), Representor: true, PCIID: pciID(pf.Vendor, pf.Device), BusPath: pf.Address,
				})
			}
		}
	}
	return out
}

func vfLink(pf *inventory.PF, g *spec.VFGroup, index int, place Place) nodenet.Link {
	l := nodenet.Link{ToBe: true, PF: pf.Name(), Driver: nic.ForDriver(pf.Driver).VFDriver, BusPath: place.of(pf.Address, index)}
	if m, ok := nic.ByPF(pf.Vendor, pf.Device); ok && m.VF != "" {
		l.PCIID = pciID(m.Vendor, m.VF)
	}
	if pf.VFDevice != "" { // the kernel knows it better
		l.PCIID = pciID(pf.Vendor, pf.VFDevice)
	}
	if len(pf.Netdevs) > 0 {
		l.InfiniBand = pf.Netdevs[0].LinkType == "infiniband"
		l.Name = vfName(pf.Netdevs[0].Name, index)
	}
	if g != nil && g.MACAddresses.Mode == spec.MACList {
		for i, at := range g.Indexes {
			if at == index && i < len(g.MACAddresses.List) {
				l.MAC = g.MACAddresses.List[i].String()
				l.PermMAC = l.MAC
			}
		}
	}
	if vf := pf.VF(index); vf != nil {
		l.BusPath = vf.Address
		for i := range vf.Netdevs {
			l.Name = vf.Netdevs[0].Name
			l.AltNames = append(append(l.AltNames, vf.Netdevs[i].Name), vf.Netdevs[i].AltNames...)
		}
	}
	return l
}

// of is the address of a VF, "" when it is not known.
func (p Place) of(pf string, index int) string {
	a, ok := pci.Parse(pf)
	if !ok || p.Offset <= 0 || p.Stride <= 0 {
		return ""
	}
	vf, ok := a.Plus(p.Offset + p.Stride*index)
	if !ok {
		return ""
	}
	return vf.String()
}

var portSuffix = regexp.MustCompile(`np[0-9]+$`)

// vfName is the name that udev is likely to give the interface of a VF: that of
// the PF's function with v and the index. Source: systemd.net-naming-scheme(7).
func vfName(pf string, index int) string {
	return portSuffix.ReplaceAllString(pf, "") + "v" + strconv.Itoa(index)
}
