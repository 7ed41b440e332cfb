package kevent

import (
	"bytes"
	"slices"
	"strings"

	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
)

// Kind is where an event comes from.
type Kind string

const (
	// Device is a uevent: a device, driver or module came, went or changed.
	Device Kind = "device"
	// Link is a change of a network interface.
	Link Kind = "link"
	// Addr is an address that came or went.
	Addr Kind = "addr"
	// Route is a default route that came or went.
	Route Kind = "route"
	// Lost is for announcements that were dropped or could not be decoded.
	Lost Kind = "lost"
)

// Event is one announcement. Whatever it is, the answer is to read again, so it has
// no more than a log needs.
type Event struct {
	Kind Kind
	// Name is the device's or interface's, "" for routes. An address has the number
	// of its interface, a Lost event the socket ("uevent", "rtnetlink").
	Name string
}

// uevent is what the filter looks at in one message of the kernel's uevent group.
type uevent struct {
	action    string
	subsystem string // "pci", "net", "infiniband", ...
	path      string // of the device, below the root of sysfs, without a leading slash
	name      string // the path's last element, or the interface
	device    string // address of the PCI function that it is or lies below, "" when none
	class     string // PCI_CLASS of a PCI function
}

// parseUevent parses "ACTION@PATH" and KEY=VALUE strings, each ended by a zero byte
// (lib/kobject_uevent.c). ok is false for anything else, udev's own messages among
// them.
func parseUevent(b []byte) (e uevent, ok bool) {
	head, rest, found := bytes.Cut(b, []byte{0})
	if !found {
		return uevent{}, false
	}
	action, path, found := strings.Cut(string(head), "@")
	if !found || action == "" || !strings.HasPrefix(path, "/") {
		return uevent{}, false
	}
	e = uevent{action: action, path: strings.TrimLeft(path, "/")}
	e.name, e.device = sysfs.Base(e.path), sysfs.PCIAddress(e.path)
	for len(rest) > 0 {
		var field []byte
		field, rest, _ = bytes.Cut(rest, []byte{0})
		key, value, _ := strings.Cut(string(field), "=")
		switch key {
		case "SUBSYSTEM":
			e.subsystem = value
		case "PCI_CLASS":
			e.class = value
		case "INTERFACE":
			e.name = value
		}
	}
	return e, true
}

// interesting reports whether a uevent can concern an SR-IOV device.
func (e *uevent) interesting() bool {
	switch e.subsystem {
	case "pci":
		// PCI_CLASS has no leading zero: 20000 is a network device. Functions
		// without a class (none is known) are let through.
		return e.class == "" || len(e.class) == 5 && e.class[0] == '2' ||
			len(e.class) == 6 && strings.HasPrefix(e.class, "12")
	case "net", "infiniband", "infiniband_verbs", "infiniband_mad", "auxiliary", "uio":
		return e.device != "" || e.subsystem != "net" && e.subsystem != "uio"
	case "vdpa", "vhost-vdpa", "vfio", sysfs.DirVFIODev:
		return true
	case "misc":
		// Nodes that pods are given beside the device.
		return slices.Contains([]string{sysfs.MiscRDMACM, sysfs.MiscVhostNet, sysfs.MiscTun, sysfs.MiscVFIO}, e.name)
	case "module":
		return e.name == sysfs.ModuleVFIOType1 // vfio devices need it
	case "drivers":
		// A driver that VFs wait for was loaded or is gone.
		return strings.HasPrefix(e.path, sysfs.PCIDrivers+"/") || strings.HasPrefix(e.path, sysfs.VDPADrivers+"/")
	}
	return false
}
