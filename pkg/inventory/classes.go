package inventory

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
)

// classes is who has which interface, RDMA device and so on, read from the
// class directories: one link for each thing that exists, instead of a read in
// each of thousands of functions for things that mostly do not.
type classes struct {
	// owner keys are a PCI address or the name of an auxiliary SF.
	netdevs map[string][]netRef // sorted by name
	rdma    map[string][]RDMADevice
	uio     map[string]string
	vdpa    map[string]*VDPADevice
	sfs     []Subfunction
	iommu   bool
	misc    []string // the misc devices: what /dev has of them
	// noNetClass is set for trees without class/net; the functions' own net
	// directories serve then.
	noNetClass bool
}

// charDevs is where the character devices of RDMA are below /dev.
const charDevs = "infiniband/"

// netRef is an interface and its physical directory.
type netRef struct{ name, path string }

func (r *reader) readClasses(ctx context.Context) {
	r.readSubfunctions()
	var wg sync.WaitGroup
	wg.Go(func() { r.misc = r.list(sysfs.MiscClass) })
	wg.Go(func() {
		// RDMA devices made by software name their interface, not a device.
		r.readNetClass(ctx)
		r.readRDMA(ctx)
	})
	wg.Go(func() { r.readUIO(ctx); r.readVDPA(ctx); r.readIOMMU() })
	wg.Wait()
}

// list returns the entries of a directory that need not exist.
func (r *reader) list(dir string) []string {
	names, err := r.tree.ReadDir(dir)
	if err != nil && !sysfs.IsAbsent(err) {
		r.note(dir, "list", err)
	}
	return names
}

// targets reads the links in a directory, in parallel; "" for what is no link or
// went away.
func (r *reader) targets(ctx context.Context, dir string) (names, links []string) {
	names = r.list(dir)
	links = make([]string, len(names))
	each(ctx, r.workers, len(names), func(i int) {
		link, err := r.tree.ReadLink(sysfs.Join(dir, names[i]))
		if err == nil {
			links[i] = link
		}
	})
	return names, links
}

// owned calls f for each link in a directory that leads to a device of a PCI
// function or SF, and returns how many entries there are.
func (r *reader) owned(ctx context.Context, dir string, f func(owner, name, link string)) int {
	names, links := r.targets(ctx, dir)
	for i, link := range links {
		if owner := r.owner(link); owner != "" {
			f(owner, names[i], link)
		}
	}
	return len(names)
}

// owner is the PCI function or SF that a device path lies below, "" for
// virtual devices.
func (c *classes) owner(path string) string {
	addr := sysfs.PCIAddress(path)
	if addr == "" {
		return ""
	}
	i := strings.LastIndex(path, addr) + len(addr)
	rest := strings.TrimPrefix(path[i:], "/")
	first, _, _ := strings.Cut(rest, "/")
	if isSubfunction(first) {
		return first
	}
	return addr
}

// isSubfunction goes by the auxiliary device's name, DRIVER.sf.ID; the other
// auxiliary devices of a function (mlx5_core.eth.0) are parts of it.
func isSubfunction(name string) bool { return strings.Contains(name, ".sf.") }

func (r *reader) readSubfunctions() {
	for _, name := range r.list(sysfs.AuxiliaryDevices) {
		if !isSubfunction(name) {
			continue
		}
		path, err := r.tree.ReadLink(sysfs.Join(sysfs.AuxiliaryDevices, name))
		if err != nil {
			r.note(name, "device link", err)
			continue
		}
		num, err := sysfs.ReadInt(r.tree, sysfs.Join(path, sysfs.AttrSFNum))
		if err != nil {
			r.note(name, sysfs.AttrSFNum, err)
			continue
		}
		r.sfs = append(r.sfs, Subfunction{Name: name, Parent: sysfs.PCIAddress(path), SFNum: num, Driver: r.driver(path)})
	}
}

func (r *reader) readNetClass(ctx context.Context) {
	r.netdevs = make(map[string][]netRef)
	n := r.owned(ctx, sysfs.NetClass, func(owner, name, link string) {
		r.netdevs[owner] = append(r.netdevs[owner], netRef{name, link})
	})
	r.noNetClass = n == 0
}

func (r *reader) readRDMA(ctx context.Context) {
	r.rdma = make(map[string][]RDMADevice)
	names, links := r.targets(ctx, sysfs.InfiniBandClass)
	if len(names) == 0 {
		return
	}
	chars := make(map[string][]string) // RDMA device -> character devices
	for _, class := range []string{sysfs.VerbsClass, sysfs.MADClass} {
		entries := r.list(class)
		devs := make([]string, len(entries))
		each(ctx, r.workers, len(entries), func(i int) {
			// abi_version, a file of the class itself, has no such attribute.
			devs[i] = r.text(sysfs.Join(class, sysfs.Join(entries[i], sysfs.RDMADevice)))
		})
		for i, dev := range devs {
			if dev != "" {
				chars[dev] = append(chars[dev], charDevs+entries[i])
			}
		}
	}
	var shared []string
	if slices.Contains(r.list(sysfs.MiscClass), sysfs.MiscRDMACM) {
		shared = []string{charDevs + sysfs.MiscRDMACM}
	}

	owners := make([]string, len(names))
	devices := make([]RDMADevice, len(names))
	each(ctx, r.workers, len(names), func(i int) {
		name := names[i]
		owners[i] = r.owner(links[i])
		if owners[i] == "" {
			owners[i] = r.softOwner(name)
		}
		devices[i] = RDMADevice{Name: name, CharDevs: slices.Sorted(slices.Values(slices.Concat(chars[name], shared)))}
	})
	for i, owner := range owners {
		if owner != "" {
			r.rdma[owner] = append(r.rdma[owner], devices[i])
		}
	}
}

// rdmaOf are the RDMA devices of the owner, with what their driver is asked for.
func (r *reader) rdmaOf(owner string) []RDMADevice {
	devices := slices.Clone(r.rdma[owner])
	for i := range devices {
		name := devices[i].Name
		devices[i].NodeGUID = r.attribute(name, sysfs.RDMANodeGUID, sysfs.Join(sysfs.RDMA(name), sysfs.RDMANodeGUID))
		devices[i].PKey = r.attribute(name, "pkeys", sysfs.Join(sysfs.RDMA(name), sysfs.RDMAFirstPKey))
	}
	return devices
}

// softOwner is the owner of the interface that a software RDMA device (rxe,
// siw) sits on, "" when that is no PCI function.
func (r *reader) softOwner(rdma string) string {
	ifname := r.text(sysfs.Join(sysfs.RDMA(rdma), sysfs.RDMAParent))
	if ifname == "" {
		ifname = r.text(sysfs.Join(sysfs.RDMA(rdma), sysfs.RDMANetdev))
	}
	if ifname == "" {
		return ""
	}
	link, err := r.tree.ReadLink(sysfs.Net(ifname))
	if err != nil {
		return ""
	}
	return r.owner(link)
}

func (r *reader) readUIO(ctx context.Context) {
	r.uio = make(map[string]string)
	r.owned(ctx, sysfs.UIOClass, func(owner, name, _ string) {
		r.uio[owner] = cmp.Or(r.uio[owner], name)
	})
}

func (r *reader) readVDPA(ctx context.Context) {
	r.vdpa = make(map[string]*VDPADevice)
	r.owned(ctx, sysfs.VDPADevices, func(owner, name, link string) {
		if r.vdpa[owner] != nil {
			return
		}
		dev := &VDPADevice{Name: name, Driver: r.driver(link)}
		if dev.Driver == "vhost_vdpa" {
			for _, entry := range r.list(link) {
				if strings.HasPrefix(entry, sysfs.PrefixVhostVDPA) {
					dev.Path = entry
				}
			}
		}
		r.vdpa[owner] = dev
	})
}

// readIOMMU finds a group that is not of vfio's making.
func (r *reader) readIOMMU() {
	r.iommu = slices.ContainsFunc(r.list(sysfs.IOMMUGroups), func(name string) bool {
		group, err := strconv.Atoi(name)
		return err == nil && r.text(sysfs.IOMMUGroupName(group)) != sysfs.GroupNoIOMMU
	})
}
