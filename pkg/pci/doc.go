// Package pci knows how a PCI address is written: the one grammar that the user's
// config, sysfs, the names of device-info files and the CNI plugin share.
//
// It imports only the standard library. It never touches a device.
package pci
