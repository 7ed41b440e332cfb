// Package modelkernel is a model of the kernel's SR-IOV core for tests: a /sys
// whose sriov_numvfs, drivers_probe, driver_override, bind and unbind do what
// the real ones do (drivers/pci/iov.c, drivers/pci/pci-driver.c,
// drivers/base/bus.c), with VFs, drivers and netdevs that come and go, events,
// and faults on demand: errors, slow and stuck writes. A read that takes a lock of the
// device in the kernel waits for such a write, as there.
//
// It also keeps the books that tests need: every write that was made, and every
// VF that was destroyed or unbound while somebody held it.
//
// It may import pkg/sysfs, pkg/inventory, pkg/nl and the standard library. It
// is never linked into a program.
package modelkernel
