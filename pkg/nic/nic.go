package nic

import (
	"iter"
	"strings"
)

// Model is a product (or several that behave alike) by its PCI ids.
type Model struct {
	Vendor string // PCI vendor id, 4 hex digits, lower case
	PF     string // PCI device id of the PF
	VF     string // PCI device id of its VFs, "" when it has none
	Name   string // for people: "NVIDIA ConnectX-7"
	Driver string // kernel driver of the PF, a key of ForDriver
}

// ByPF returns the model whose PF has the ids (lower case, as in sysfs).
func ByPF(vendor, device string) (Model, bool) {
	return find(func(m Model) bool { return m.Vendor == vendor && m.PF == device })
}

// ByVF returns a model whose VFs have the ids. Several products share one VF
// id (ConnectX-6 Dx to BlueField-3 do); Name is then only the first of them.
func ByVF(vendor, device string) (Model, bool) {
	return find(func(m Model) bool { return m.Vendor == vendor && m.VF == device })
}

// OnlyVF reports whether the ids (lower case, as in sysfs) are known to be those
// of VFs alone: VFs of some model have them, and no model's PF has. ENA and virtio
// use one id for both, so what has it may as well be a card of its own.
func OnlyVF(vendor, device string) bool {
	_, isVF := ByVF(vendor, device)
	_, isPF := ByPF(vendor, device)
	return isVF && !isPF
}

// Name is what to call the function with the ids: the model's name, with " VF"
// for VFs, or "VVVV:DDDD" when the table does not know it.
func Name(vendor, device string) string {
	if m, ok := ByPF(vendor, device); ok {
		return m.Name
	}
	if m, ok := ByVF(vendor, device); ok {
		vendorName, _, _ := strings.Cut(m.Name, " ")
		return vendorName + " " + ForDriver(m.Driver).VFDriver + " VF"
	}
	return vendor + ":" + device
}

// All are the models of the table, in its order.
func All() iter.Seq[Model] {
	return func(yield func(Model) bool) {
		for _, f := range families {
			for _, p := range f.products {
				for pf := range strings.FieldsSeq(p.pf) {
					if !yield(Model{f.vendor, pf, p.vf, p.name, f.driver}) {
						return
					}
				}
			}
		}
	}
}

func find(match func(Model) bool) (Model, bool) {
	for m := range All() {
		if match(m) {
			return m, true
		}
	}
	return Model{}, false
}

// Order reports when the eswitch mode is set, relative to making VFs.
type Order string

const (
	// OrderVFsFirst makes the VFs in legacy mode, unbinds them, then sets
	// switchdev. mlx5 wants this; it works wherever mode may change with
	// unbound VFs present.
	OrderVFsFirst Order = "vfs-first"
	// OrderModeFirst sets the mode while there are no VFs; ice refuses (EBUSY,
	// EOPNOTSUPP) to change it with VFs.
	OrderModeFirst Order = "mode-first"
	// OrderNone: the driver has no eswitch mode to set.
	OrderNone Order = "none"
)

// Support is what is known of a driver's answer to a request.
type Support int8

// Unknown means: ask the kernel. It is the zero value, so that an unknown
// driver is never refused anything beforehand.
const (
	Unknown Support = iota
	Yes
	No
)

// Behaviour is how a PF driver differs from others. The SR-IOV core's own rules
// are the same for all: sriov_numvfs goes from 0 to N or from N to 0, anything
// else is EBUSY; above sriov_totalvfs is ERANGE (drivers/pci/pci-sysfs.c and
// iov.c).
type Behaviour struct {
	Driver   string // of the PF, as sysfs names it
	VFDriver string // kernel driver of the VFs
	// VFModule is the module that has VFDriver, where it is another one than
	// the PF's and has to be loaded for VFs to get interfaces.
	VFModule string
	Eswitch  Order
	// SteeringMode is the value of devlink's flow_steering_mode that
	// switchdev wants, "" to leave it alone.
	SteeringMode string
	// ResetsVFOnMAC: a new administrative MAC takes effect in the VF by
	// itself, because the PF resets the VF. Elsewhere the VF's driver reads
	// it at probe and has to be bound again.
	ResetsVFOnMAC bool

	// Per-VF requests through the PF (ip link set PF vf N ...).
	MinRate, MaxRate, LinkState, Trust, SpoofCheck, VLAN, VLAN8021AD Support
	// GUIDs: node and port GUID of InfiniBand VFs.
	GUIDs Support
	// RDMA: VFs can have RDMA devices.
	RDMA Support
	// VDPA: the driver offers VFs as vdpa management devices.
	VDPA Support
}

// Generic is the behaviour of a driver that the table does not know.
func Generic(driver string) Behaviour {
	return Behaviour{Driver: driver, Eswitch: OrderVFsFirst}
}

// ForDriver returns how the PF driver behaves, Generic when it is not known.
func ForDriver(driver string) Behaviour {
	for _, b := range behaviours {
		if b.Driver == driver {
			return b
		}
	}
	return Generic(driver)
}
