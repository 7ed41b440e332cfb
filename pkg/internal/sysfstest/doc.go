// Package sysfstest makes sysfs trees for tests: from a reviewable text
// archive ([Load]), or many alike for measurements ([Make]).
//
// An archive lists directories below devices/, one at the start of a line, and
// their attributes indented below:
//
//	devices/pci0000:20/0000:20:00.0/0000:21:00.0
//	  vendor = 0x8086
//	  driver -> igb
//	  virtfn0 -> 0000:21:10.0
//	  sriov_numvfs ! EIO
//	  aer_dev_fatal = "Undefined 0\nTOTAL_ERR_FATAL 0"
//
// "=" is a file, a newline is added; a value in double quotes is a Go string.
// "->" is a symbolic link, relative as in sysfs: to a PCI function by its
// address, of "driver" to the bus' driver, of "iommu_group" to the group, of
// anything else to a name below the root. "!" is an attribute whose reading
// fails with the errno, through [Fixture.Tree]. "#" starts a comment line.
//
// What the kernel makes of a device by itself is made here too: the links in
// bus/B/devices and class/C, the physfn of a VF, the uevent of a PCI function
// and of a driver link. Anything may be given to override it.
//
// Only tests import it.
package sysfstest
