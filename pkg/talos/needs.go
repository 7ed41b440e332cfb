package talos

import (
	"maps"
	"slices"

	"github.com/talos-sriov/talos-sriov/pkg/nic"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/talos/nodenet"
)

// Needs is what a node needs beside the config, so that the config can be
// had: things that a service in a container cannot do for itself.
type Needs struct {
	// Modules are kernel modules that nothing loads by itself, sorted; a service
	// has no CAP_SYS_MODULE.
	Modules []string
	// VFs select, by PCI id as Talos writes it (15B3:101E), the VF interfaces that
	// Talos must not bring up and ask for addresses on. Only ids that no other
	// function can have are among them.
	VFs []string
	// Unselected say which VFs Talos is not kept off, why, and what to write.
	Unselected []nodenet.Finding
	// KernelArgs and Extensions go into the schematic. Each has its reason.
	KernelArgs, Extensions []Reasoned
}

// Reasoned is a value and why it is there.
type Reasoned struct{ Value, Why string }

// Hardware are the ids of a PF that the config is for, as in sysfs.
type Hardware struct{ Vendor, Device, Driver string }

// NeedsOf derives the needs of a document. hardware are the PFs it is for, nil when
// no node was looked at; what the config's own matches say is added.
func NeedsOf(c *spec.Config, hardware []Hardware) Needs {
	var n Needs
	modules := modulesOf(c)
	all := append(slices.Clone(hardware), matched(c)...)
	firmware := make(map[string]string)
	for _, h := range all {
		driver := h.Driver
		if m, ok := nic.ByPF(h.Vendor, h.Device); ok {
			driver = m.Driver
		}
		if e, ok := firmwareOf[driver]; ok {
			firmware[e.Value] = e.Why
		}
		if driver == "mlx5_core" && (modules["vhost_vdpa"] || modules["virtio_vdpa"]) {
			modules["mlx5_vdpa"] = true
		}
	}
	n.Modules = slices.Sorted(maps.Keys(modules))
	if HasKernelVFs(c) {
		n.selectVFs(all, hardware)
	}
	for _, name := range slices.Sorted(maps.Keys(firmware)) {
		n.Extensions = append(n.Extensions, Reasoned{name, firmware[name]})
	}
	if modules["vfio_pci"] {
		n.KernelArgs = append(n.KernelArgs, Reasoned{"iommu=pt", "the host's own devices are spared the IOMMU's translation; VFs on vfio-pci are not"})
	}
	if groupsWithRDMA(c) {
		n.KernelArgs = append(n.KernelArgs, Reasoned{"ib_core.netns_mode=0", "RDMA devices belong to one network namespace, so that one can be moved into a pod"})
	}
	return n
}

// modulesOf are the modules that the config's VFs need. Talos loads what it is
// asked for with its dependencies, but knows no soft dependencies: vfio_pci comes
// without the IOMMU backend that every user of it asks for (VFIO_SET_IOMMU), and
// an RDMA driver without the connection manager's device (/dev/infiniband/rdma_cm).
// All are modules in Talos 1.12 to 1.14 (its hack/modules-amd64.txt).
func modulesOf(c *spec.Config) map[string]bool {
	modules := make(map[string]bool)
	for i := range c.PhysicalFunctions {
		for j := range c.PhysicalFunctions[i].VirtualFunctions {
			g := &c.PhysicalFunctions[i].VirtualFunctions[j]
			switch g.Driver {
			case spec.DriverVFIO:
				modules["vfio_pci"], modules["vfio_iommu_type1"] = true, true
			case spec.DriverUIOPCIGeneric:
				modules["uio_pci_generic"] = true
			}
			if g.VDPA != "" {
				modules[string(g.VDPA)+"_vdpa"] = true
			}
		}
	}
	if groupsWithRDMA(c) || slices.ContainsFunc(c.ResourceList, func(r spec.Resource) bool { return listsRDMA(&r) }) {
		modules["rdma_ucm"] = true
	}
	return modules
}

func groupsWithRDMA(c *spec.Config) bool {
	return slices.ContainsFunc(c.PhysicalFunctions, func(pf spec.PhysicalFunction) bool {
		return slices.ContainsFunc(pf.VirtualFunctions, func(g spec.VFGroup) bool { return g.RDMA })
	})
}

func listsRDMA(r *spec.Resource) bool {
	return slices.ContainsFunc(r.Selectors, func(s spec.Selector) bool { return s.IsRDMA })
}

// matched is the hardware that the config's own matches name.
func matched(c *spec.Config) []Hardware {
	var out []Hardware
	for i := range c.PhysicalFunctions {
		m := &c.PhysicalFunctions[i].Match
		for _, vendor := range m.Vendors {
			for _, device := range m.Devices {
				out = append(out, Hardware{Vendor: vendor, Device: device})
			}
		}
		for _, driver := range m.Drivers {
			out = append(out, Hardware{Driver: driver})
		}
	}
	return out
}

// HasKernelVFs reports whether any VF of the config has an interface.
func HasKernelVFs(c *spec.Config) bool {
	for i := range c.PhysicalFunctions {
		pf := &c.PhysicalFunctions[i]
		covered := 0
		for j := range pf.VirtualFunctions {
			g := &pf.VirtualFunctions[j]
			covered += len(g.Indexes)
			if !g.Driver.Userspace() && g.Driver != spec.DriverNone {
				return true
			}
		}
		if pf.NumVFs == nil || covered < *pf.NumVFs {
			return true
		}
	}
	return false
}

// firmwareOf are the extensions of siderolabs/extensions with the firmware that
// a driver loads. Without its own, ice runs in safe mode, which has no SR-IOV.
var firmwareOf = map[string]Reasoned{
	"ice":   {"siderolabs/intel-ice-firmware", "the DDP package of the ice driver: without it the card runs in safe mode, which has no SR-IOV"},
	"bnx2x": {"siderolabs/bnx2-bnx2x", "firmware of the bnx2x driver"},
	"qede":  {"siderolabs/qlogic-firmware", "firmware of the qed driver"},
	"cxgb4": {"siderolabs/chelsio-firmware", "firmware of the cxgb4 driver"},
}
