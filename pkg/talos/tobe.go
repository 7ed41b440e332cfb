package talos

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/nic"
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
		if pf == nil || !strings.HasPrefix(pf.Class, "02") {
			continue // accelerators have no interfaces
		}
		entry := &c.PhysicalFunctions[b.Entry]
		count := pf.NumVFs
		if entry.NumVFs != nil {
			count = *entry.NumVFs
		}
		groups := make(map[int]*spec.VFGroup)
		for j := range entry.VirtualFunctions {
			for _, index := range entry.VirtualFunctions[j].Indexes {
				groups[index] = &entry.VirtualFunctions[j]
			}
		}
		switchdev := entry.EswitchMode == spec.EswitchSwitchdev || entry.EswitchMode == "" && pf.EswitchMode == "switchdev"
		if pf.TotalVFs > 0 {
			count = min(count, max(pf.TotalVFs, pf.NumVFs))
		}
		for index := range count {
			g := groups[index]
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

var pciAddress = regexp.MustCompile(`^([0-9a-f]{4,8}):([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])$`)

// of is the address of a VF, "" when it is not known.
func (p Place) of(pf string, index int) string {
	m := pciAddress.FindStringSubmatch(pf)
	if m == nil || p.Offset <= 0 || p.Stride <= 0 {
		return ""
	}
	var parts [3]int
	for i, digits := range m[2:] {
		n, err := strconv.ParseUint(digits, 16, 8)
		if err != nil {
			return ""
		}
		parts[i] = int(n)
	}
	id := parts[0]<<8 | parts[1]<<3 | parts[2]
	id += p.Offset + p.Stride*index
	if id > 0xffff {
		return ""
	}
	return fmt.Sprintf("%s:%02x:%02x.%x", m[1], id>>8, id>>3&0x1f, id&7)
}

var portSuffix = regexp.MustCompile(`np[0-9]+$`)

// vfName is the name that udev is likely to give the interface of a VF: that of
// the PF's function with v and the index. Source: systemd.net-naming-scheme(7).
func vfName(pf string, index int) string {
	return portSuffix.ReplaceAllString(pf, "") + "v" + strconv.Itoa(index)
}
