package pool

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/nic"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

// extras is what a container gets beside the device itself.
type extras struct {
	rdma, vhostNet bool
	vdpa           spec.VDPAType
	extra          map[string]string // nil: no such provider
}

// lacking says what the bound driver needs and the machine does not have, "" when
// nothing.
func lacking(f *inventory.Function, snap *inventory.Snapshot) string {
	switch {
	case nic.VFIO(f.Driver) && f.IOMMUGroup < 0:
		return "the device has no IOMMU group: turn the IOMMU on (firmware and kernel arguments)"
	case nic.VFIO(f.Driver) && !f.NoIOMMU && snap.VFIOType1 == inventory.Absent:
		// A container's program opens the group and fails at VFIO_SET_IOMMU. The
		// no-IOMMU mode is a part of vfio itself and needs no such module.
		return "the kernel module vfio_iommu_type1 is not loaded, without which no program can use a vfio device: " +
			"add it to the machine config beside vfio_pci (" + loadModule("vfio_iommu_type1") + ")"
	case nic.UIO(f.Driver) && f.UIO == "":
		return fmt.Sprintf("driver %s is bound and has made no uio device", f.Driver)
	}
	return ""
}

// loadModule is what loads a kernel module on Talos, in its machine config.
func loadModule(name string) string { return "machine.kernel.modules: - name: " + name }

// ofHost says why a device that the host itself uses is not given to a pod, ""
// when the host does not use it. how is the text of inventory.VF.HostUse.
func ofHost(how string) string {
	if how == "" {
		return ""
	}
	return "the host uses it: its interface " + how + "; keep it for the host (leave it out of the resource), or take its interface out of the " +
		"node's network config (Talos asks for addresses on interfaces that no document names: sriovctl generate patch has the documents that stop that)"
}

// ofHostUnknown says that a device is not given to a pod because it is not known
// whether the host uses it, "" when it is known. An interface that netlink alone
// does not list is just coming or leaving, and says nothing here: the next event
// shows where it is, and who has it is pkg/use's matter.
func ofHostUnknown(snap *inventory.Snapshot, id string) string {
	why := snap.HostUnknown[id]
	if why == "" || snap.Network.Complete {
		return ""
	}
	return "it is not known whether the host uses it: " + why + "; asked again by itself"
}

// equip fills in what the container gets to know (the _INFO variable), the device
// nodes that it gets, and the device-info file. Names and values are those of
// the SR-IOV network device plugin.
func equip(d *Device, of *candidate, want extras) {
	d.Info = map[string]map[string]string{"generic": {"deviceID": d.ID}}
	provide := func(name string, keys map[string]string, nodes []Node) {
		d.Info[name] = keys
		d.Nodes = append(d.Nodes, nodes...)
	}
	switch {
	case of.sf != nil: // it is for the kernel
	case nic.VFIO(of.driver):
		provide(vfio(of.fn))
	case nic.UIO(of.driver):
		provide(uio(of.fn))
	}
	if want.rdma {
		provide(rdma(of.rdma))
	}
	if want.vdpa != "" {
		provide(vdpa(of.vdpa, want.vdpa))
	}
	if want.vhostNet {
		provide("vhost", map[string]string{"net-mount": "/dev/vhost-net", "tun-mount": "/dev/net/tun"},
			[]Node{device("/dev/vhost-net"), device("/dev/net/tun")})
	}
	if want.extra != nil {
		provide("extra", want.extra, nil)
	}
	if d.Kind == KindNet {
		d.DeviceInfo = deviceInfo(of, want)
	}
}

func device(path string) Node { return Node{HostPath: path, ContainerPath: path, Permissions: "rw"} }

// vfio: the container and the group. The groups of the no-IOMMU mode have
// another name on the host, and their ordinary one in the container.
func vfio(f *inventory.Function) (string, map[string]string, []Node) {
	const container = "/dev/vfio/vfio"
	keys := map[string]string{"mount": container}
	nodes := []Node{device(container)}
	if f.IOMMUGroup >= 0 {
		group := "/dev/vfio/" + strconv.Itoa(f.IOMMUGroup)
		n := device(group)
		if f.NoIOMMU {
			n.HostPath = "/dev/vfio/noiommu-" + strconv.Itoa(f.IOMMUGroup)
		}
		keys["dev-mount"] = group
		nodes = append(nodes, n)
	}
	return "vfio", keys, nodes
}

func uio(f *inventory.Function) (string, map[string]string, []Node) {
	if f.UIO == "" {
		return "uio", map[string]string{}, nil
	}
	n := device("/dev/" + f.UIO)
	return "uio", map[string]string{"mount": n.ContainerPath}, []Node{n}
}

// rdma: every character device of every RDMA device of the function. Of several
// of one kind the last is named, and of several RDMA devices the first.
func rdma(list []inventory.RDMADevice) (string, map[string]string, []Node) {
	keys := map[string]string{}
	var nodes []Node
	for i := range list {
		if i == 0 {
			keys["rdma_dev"] = list[i].Name
		}
		for _, c := range list[i].CharDevs {
			n := device("/dev/" + c)
			name := path.Base(c)
			if name != "rdma_cm" {
				name = strings.TrimRight(name, "0123456789")
			}
			switch name {
			case "uverbs", "umad", "issm", "rdma_cm":
				keys[name] = n.ContainerPath
			}
			nodes = append(nodes, n)
		}
	}
	return "rdma", keys, nodes
}

// noticeRDMACM says that the pool's RDMA devices come without the connection
// manager's node. ibverbs works without it, so that the devices stay healthy;
// what sets up connections with librdmacm does not.
func (p *Pool) noticeRDMACM() {
	n := 0
	for i := range p.Devices {
		keys := p.Devices[i].Info["rdma"]
		if keys["uverbs"] != "" && keys["rdma_cm"] == "" {
			n++
		}
	}
	if n > 0 {
		p.Notices = append(p.Notices, fmt.Sprintf("%d RDMA device(s) are given without /dev/infiniband/rdma_cm: programs that connect with librdmacm "+
			"(perftest -R, UCX, NVMe over RDMA) fail; load the kernel module rdma_ucm by the machine config (%s)", n, loadModule("rdma_ucm")))
	}
}

// vdpa: the character device of vhost; virtio devices are the kernel's.
func vdpa(dev *inventory.VDPADevice, want spec.VDPAType) (string, map[string]string, []Node) {
	if want != spec.VDPAVhost || vdpaType(dev) != want || dev.Path == "" {
		return "vdpa", map[string]string{}, nil
	}
	n := device("/dev/" + dev.Path)
	return "vdpa", map[string]string{"mount": n.ContainerPath}, []Node{n}
}

// deviceInfo is the device-info content of a network function.
func deviceInfo(of *candidate, want extras) *DeviceInfo {
	var pf, representor string
	if of.vf != nil {
		pf, representor = of.pf.Address, of.vf.Representor
	}
	info := &DeviceInfo{Version: DeviceInfoVersion}
	if want.vdpa != "" && vdpaType(of.vdpa) == want.vdpa {
		v := &VDPAInfo{
			ParentDevice: of.vdpa.Name, Driver: string(want.vdpa), PCIAddress: of.fn.Address,
			PFPCIAddress: pf, Representor: representor,
		}
		if of.vdpa.Path != "" {
			v.Path = "/dev/" + of.vdpa.Path
		}
		info.Type, info.VDPA = "vdpa", v
		return info
	}
	p := &PCIInfo{Address: of.fn.Address, PFPCIAddress: pf, Representor: representor}
	if want.rdma {
		var names []string
		for _, r := range of.rdma {
			names = append(names, r.Name)
		}
		p.RDMADevice = strings.Join(names, ",")
	}
	if want.vhostNet {
		p.VhostNet = "/dev/vhost-net"
	}
	info.Type, info.PCI = "pci", p
	return info
}

// missingVhost names the nodes of vhost-net that the machine lacks.
func missingVhost(snap *inventory.Snapshot) string {
	switch {
	case snap.VhostNet:
		return "/dev/net/tun (kernel module tun)"
	case snap.Tun:
		return "/dev/vhost-net (kernel module vhost_net)"
	}
	return "/dev/vhost-net and /dev/net/tun (kernel modules vhost_net and tun)"
}
