package talos

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/siderolabs/talos/pkg/machinery/resources/hardware"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/nic"
	"github.com/talos-sriov/talos-sriov/pkg/nl"
	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
	"github.com/talos-sriov/talos-sriov/pkg/talos/nodenet"
	"github.com/talos-sriov/talos-sriov/pkg/talos/versions"
)

// Discovery is what the API shows of one node's SR-IOV hardware.
type Discovery struct {
	Node    string        `json:"node" yaml:"node"`
	Talos   string        `json:"talos" yaml:"talos"` // version
	Service Service       `json:"service" yaml:"service"`
	IOMMU   bool          `json:"iommu" yaml:"iommu"`
	PFs     []DiscoveryPF `json:"pfs" yaml:"pfs"`
	// Notes say what could not be seen, and what would show it.
	Notes []string `json:"notes,omitempty" yaml:"notes,omitempty"`
	// Links are all interfaces of the node, as Talos' selectors see them.
	Links []nodenet.Link `json:"-" yaml:"-"`
	// View is what d is made of, nil without os:admin.
	View *View `json:"-" yaml:"-"`
}

// DiscoveryPF is one SR-IOV capable function, as a workstation lists it: it has what
// listings show too, and says of nothing else how it is.
type DiscoveryPF struct {
	Name string `json:"name,omitempty" yaml:"name,omitempty"` // interface, "" when it has none
	// AltNames are the interface's other names.
	AltNames []string `json:"altNames,omitempty" yaml:"altNames,omitempty"`
	Address  string   `json:"address" yaml:"address"`
	Vendor   string   `json:"vendor,omitempty" yaml:"vendor,omitempty"` // four hex digits
	Device   string   `json:"device,omitempty" yaml:"device,omitempty"`
	Product  string   `json:"product,omitempty" yaml:"product,omitempty"`
	Driver   string   `json:"driver,omitempty" yaml:"driver,omitempty"`
	NumVFs   int      `json:"numVFs" yaml:"numVFs"`
	// TotalVFs and NUMANode are nil when the role does not allow to see them.
	TotalVFs  *int   `json:"totalVFs,omitempty" yaml:"totalVFs,omitempty"`
	NUMANode  *int   `json:"numaNode,omitempty" yaml:"numaNode,omitempty"` // -1: the platform does not say
	SpeedMbps int    `json:"speedMbps,omitempty" yaml:"speedMbps,omitempty"`
	LinkUp    bool   `json:"linkUp" yaml:"linkUp"`
	MAC       string `json:"mac,omitempty" yaml:"mac,omitempty"`
	LinkType  string `json:"linkType,omitempty" yaml:"linkType,omitempty"`
	// Uplink says why the node's own network runs over the PF, "" when not.
	Uplink string `json:"uplink,omitempty" yaml:"uplink,omitempty"`
	// VFs are listed for an admin alone.
	VFs []inventory.VF `json:"vfs,omitempty" yaml:"vfs,omitempty"`
}

// Discover finds the SR-IOV capable functions of the node. With os:admin it
// reads sysfs; with os:reader it makes do with listings, and says what is
// missing.
func (n *Node) Discover(ctx context.Context) (*Discovery, error) {
	d := &Discovery{Node: n.Name, PFs: []DiscoveryPF{}}
	var network *network
	err := InOrder(
		func() (err error) { d.Talos, err = n.Version(ctx); return err },
		func() (err error) { d.Service, err = n.Service(ctx); return err },
		func() (err error) { network, err = n.network(ctx); return err },
	)
	if err != nil {
		return nil, err
	}
	view, err := n.view(ctx, network)
	switch {
	case err == nil:
		d.fromSnapshot(view.Snapshot)
		d.Links, d.View = view.Links, view
	case Denied(err):
		if err := d.fromListings(ctx, n, network); err != nil {
			return nil, err
		}
		d.Notes = append(d.Notes, "the most VFs and the NUMA node need os:admin")
	default:
		return nil, err
	}
	d.products(network)
	if network.unplaced != "" {
		d.Notes = append(d.Notes, "any interface that is up "+network.unplaced)
	}
	if _, err := versions.Of(d.Talos); err != nil {
		d.Notes = append(d.Notes, err.Error())
	}
	if len(d.PFs) == 0 {
		d.Notes = append(d.Notes, "no SR-IOV capable network card: is SR-IOV (and, on ConnectX, SRIOV_EN) switched on in the firmware?")
	}
	return d, nil
}

func (d *Discovery) fromSnapshot(s *inventory.Snapshot) {
	d.IOMMU = s.IOMMU
	for i := range s.PFs {
		pf := &s.PFs[i]
		out := DiscoveryPF{
			Address: pf.Address, Vendor: pf.Vendor, Device: pf.Device, Driver: pf.Driver,
			NumVFs: pf.NumVFs, TotalVFs: &pf.TotalVFs, NUMANode: &pf.NUMANode, Uplink: pf.Uplink, VFs: pf.VFs,
		}
		if len(pf.Netdevs) > 0 {
			dev := &pf.Netdevs[0]
			out.AltNames = dev.AltNames
			out.Name, out.MAC, out.LinkUp, out.SpeedMbps, out.LinkType = dev.Name, dev.MAC, dev.Carrier, dev.SpeedMbps, dev.LinkType
		}
		d.PFs = append(d.PFs, out)
	}
	for _, note := range s.Notes {
		// What the API shows of no node is nothing that a Discovery has.
		if !note.Unanswerable {
			d.Notes = append(d.Notes, note.String())
		}
	}
}

// fromListings finds PFs by the files that only they have.
func (d *Discovery) fromListings(ctx context.Context, n *Node, network *network) error {
	// The functions as they were at the boot: VFs that were made later are not among them.
	devices, err := listAll[*hardware.PCIDevice](ctx, n)
	if err != nil {
		return err
	}
	cards := make(map[string]*hardware.PCIDeviceSpec) // by the address of what to look at, nil for other links
	for i := range network.links {
		if addr := network.links[i].ParentDev; onPCI(addr) {
			cards[addr] = nil
		}
	}
	for _, device := range devices {
		dev := device.TypedSpec()
		if class := strings.TrimPrefix(dev.ClassID, "0x"); class == "02" || class == "12" {
			cards[device.Metadata().ID()] = dev
		}
	}
	directories, err := gather(ctx, slices.Sorted(maps.Keys(cards)), func(ctx context.Context, addr string) ([]entry, error) {
		directory := "/sys/" + sysfs.Device(addr)
		entries, err := n.list(ctx, directory)
		// A link's device that is gone, or cannot be listed, is not known to be a VF.
		if err != nil && (fatal(err) || cards[addr] != nil) {
			return nil, explain(n.Name, "list "+directory, err)
		}
		return entries, nil
	})
	if err != nil {
		return err
	}
	vfs := make(map[string]bool)
	uplinks := inventory.Uplinks(network.links, network.addrs, network.routes)
	for addr, entries := range directories {
		vfs[addr] = has(entries, sysfs.LinkPhysFn)
		dev := cards[addr]
		d.IOMMU = d.IOMMU || dev != nil && has(entries, sysfs.LinkIOMMUGroup)
		if dev == nil || !has(entries, sysfs.AttrNumVFs) {
			continue
		}
		pf := DiscoveryPF{Address: addr, Vendor: hexID(dev.VendorID), Device: hexID(dev.ProductID), Product: dev.Product}
		pf.setListing(entries)
		pf.setLink(network, uplinks)
		d.PFs = append(d.PFs, pf)
	}
	d.Links = network.nodeLinks(n.Name, vfs)
	slices.SortFunc(d.PFs, func(a, b DiscoveryPF) int { return cmp.Compare(a.Address, b.Address) })
	return nil
}

// setListing takes what the PF's directory shows.
func (pf *DiscoveryPF) setListing(entries []entry) {
	for _, e := range entries {
		switch {
		case e.name == sysfs.LinkDriver:
			pf.Driver = sysfs.Base(e.link)
		case strings.HasPrefix(e.name, sysfs.PrefixVirtFn):
			pf.NumVFs++
		}
	}
}

// setLink takes the PF's interface from the links of the node.
func (pf *DiscoveryPF) setLink(network *network, uplinks map[int]string) {
	i := slices.IndexFunc(network.links, func(l nl.Link) bool { return l.ParentDev == pf.Address })
	if i < 0 {
		return
	}
	l, s := &network.links[i], network.status[i].TypedSpec()
	pf.Name, pf.AltNames, pf.MAC, pf.LinkUp = l.Name, l.AltNames, l.MAC.String(), l.Carrier
	pf.Uplink = cmp.Or(uplinks[l.Index], network.mayCarry(l.Up))
	pf.SpeedMbps, pf.LinkType = s.SpeedMegabits, s.Type.String()
}

// hexID turns Talos' 0x8086 into sysfs' and our 8086.
func hexID(s string) string {
	n, err := strconv.ParseUint(s, 0, 16)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%04x", n)
}

// products names the PFs: by our own table, else as Talos' PCI database does.
func (d *Discovery) products(network *network) {
	for i := range d.PFs {
		pf := &d.PFs[i]
		if m, ok := nic.ByPF(pf.Vendor, pf.Device); ok {
			pf.Product = m.Name
			continue
		}
		for _, l := range network.status {
			if s := l.TypedSpec(); s.BusPath == pf.Address && s.Product != "" {
				pf.Product = s.Product
			}
		}
	}
}
