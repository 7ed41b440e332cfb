package talos

import (
	"maps"
	"slices"
	"strings"

	"github.com/talos-sriov/talos-sriov/pkg/nic"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

// Needs is what a node needs beside the document, so that the document can be
// had: things that a service in a container cannot do for itself.
type Needs struct {
	// Modules are kernel modules that nothing loads by itself; a service has no
	// CAP_SYS_MODULE.
	Modules []string
	// VFs select, by PCI id as Talos writes it, the VF interfaces that Talos
	// must not bring up and ask for addresses on.
	VFs []string
	// KernelArgs and Extensions go into the schematic. Each has its reason.
	KernelArgs, Extensions []Reasoned
}

// Reasoned is a value and why it is there.
type Reasoned struct{ Value, Why string }

// Hardware are the ids of a PF that the document is for.
type Hardware struct{ Vendor, Device, Driver string }

// NeedsOf derives the needs of a document. hardware are the PFs it is for, as
// far as they are known; what the document's own matches say is added.
func NeedsOf(c *spec.Config, hardware []Hardware) Needs {
	var n Needs
	modules := make(map[string]bool)
	var rdma, userspace bool
	for i := range c.PhysicalFunctions {
		pf := &c.PhysicalFunctions[i]
		for j := range pf.VirtualFunctions {
			g := &pf.VirtualFunctions[j]
			switch g.Driver {
			case spec.DriverVFIO:
				modules["vfio_pci"], userspace = true, true
			case spec.DriverUIOPCIGeneric:
				modules["uio_pci_generic"] = true
			}
			if g.VDPA != "" {
				modules[string(g.VDPA)+"_vdpa"] = true
			}
			rdma = rdma || g.RDMA
		}
		for _, vendor := range pf.Match.Vendors {
			for _, device := range pf.Match.Devices {
				hardware = append(hardware, Hardware{Vendor: vendor, Device: device})
			}
		}
		for _, driver := range pf.Match.Drivers {
			hardware = append(hardware, Hardware{Driver: driver})
		}
	}
	n.Modules = slices.Sorted(maps.Keys(modules))
	vfs, firmware := make(map[string]bool), make(map[string]string)
	for _, h := range hardware {
		driver := h.Driver
		if m, ok := nic.ByPF(h.Vendor, h.Device); ok {
			driver = m.Driver
			if m.VF != "" {
				vfs[strings.ToUpper(h.Vendor+":"+m.VF)] = true
			}
		}
		if e, ok := firmwareOf[driver]; ok {
			firmware[e.Value] = e.Why
		}
		if modules["vhost_vdpa"] || modules["virtio_vdpa"] {
			if driver == "mlx5_core" && !slices.Contains(n.Modules, "mlx5_vdpa") {
				n.Modules = append(n.Modules, "mlx5_vdpa")
			}
		}
	}
	if HasKernelVFs(c) {
		n.VFs = slices.Sorted(maps.Keys(vfs))
	}
	for _, name := range slices.Sorted(maps.Keys(firmware)) {
		n.Extensions = append(n.Extensions, Reasoned{name, firmware[name]})
	}
	if userspace {
		n.KernelArgs = append(n.KernelArgs, Reasoned{"iommu=pt", "the host's own devices are spared the IOMMU's translation; VFs on vfio-pci are not"})
	}
	if rdma {
		n.KernelArgs = append(n.KernelArgs, Reasoned{"ib_core.netns_mode=0", "RDMA devices belong to one network namespace, so that one can be moved into a pod"})
	}
	return n
}

// HasKernelVFs reports whether any VF of the document has an interface.
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
