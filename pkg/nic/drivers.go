package nic

import (
	"slices"
	"strings"
)

// Userspace reports whether a program drives the functions that the kernel
// driver (its name in sysfs) is bound to, through device nodes: they have no
// netdev. "" and every driver of the kernel's own network stack are false.
func Userspace(driver string) bool { return VFIO(driver) || UIO(driver) }

// VFIO reports whether the driver is vfio-pci or one of its vendor variants,
// which a program uses alike. The variants are named by one rule, the maker and
// vfio_pci (drivers/vfio/pci/*): mlx5_vfio_pci, hisi_acc_vfio_pci, pds_vfio_pci,
// virtio_vfio_pci, qat_vfio_pci, xe-vfio-pci, and those to come.
func VFIO(driver string) bool { return hasPart(driver, "vfio") }

// UIO reports whether the driver is one of the uio family: uio_pci_generic,
// other uio_* drivers, and igb_uio and uio, which are built out of tree.
func UIO(driver string) bool { return hasPart(driver, "uio") }

// hasPart reports whether the part is one of those that make up the name. It is asked
// for every VF several times a look, and nearly always the name does not even have it.
func hasPart(name, part string) bool {
	return strings.Contains(name, part) && slices.Contains(strings.FieldsFunc(name, func(r rune) bool { return r == '_' || r == '-' }), part)
}
