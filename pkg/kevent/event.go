package kevent

import (
	"bytes"
	"slices"
	"strconv"
	"strings"

	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
)

// Kind says where an event comes from.
type Kind string

const (
	// Device is a uevent: Subsystem, Action, Path, Name, Device, Driver.
	Device Kind = "device"
	// Link is a change of a network interface: Action "new" or "del", Name,
	// Index, Up, Carrier.
	Link Kind = "link"
	// Addr is an address that came or went: Action, Index.
	Addr Kind = "addr"
	// Route is a default route that came or went: Action.
	Route Kind = "route"
	// Lost says that announcements were dropped: read everything again.
	Lost Kind = "lost"
)

// Actions of rtnetlink events. Those of uevents are the kernel's words: add,
// remove, change, move, online, offline, bind, unbind.
const (
	New = "new"
	Del = "del"
)

// Event is one announcement.
type Event struct {
	Kind   Kind
	Action string
	// Subsystem is the uevent's ("pci", "net", "infiniband", ...); for Lost,
	// the socket ("uevent", "rtnetlink").
	Subsystem string
	// Path is the device's folder below the root of sysfs, without a leading
	// slash; Name is its last element, or the interface's name.
	Path, Name string
	// Device is the address of the PCI function that the device is or lies
	// below, "" when there is none.
	Device string
	// Driver is the uevent's DRIVER: what the device is, or was, bound to.
	Driver string
	// Index is the interface's index.
	Index int
	// Up and Carrier are the interface's state after a Link event.
	Up, Carrier bool

	class string // PCI_CLASS of a pci uevent
}

// ParseUevent parses one message of the kernel's uevent group: "ACTION@PATH"
// and KEY=VALUE strings, each ended by a zero byte (lib/kobject_uevent.c). ok
// is false for anything else, udev's own messages among them.
func ParseUevent(b []byte) (e Event, ok bool) {
	head, rest, found := bytes.Cut(b, []byte{0})
	if !found {
		return Event{}, false
	}
	action, path, found := strings.Cut(string(head), "@")
	if !found || action == "" || !strings.HasPrefix(path, "/") {
		return Event{}, false
	}
	e = Event{Kind: Device, Action: action, Path: strings.TrimLeft(path, "/")}
	e.Name, e.Device = sysfs.Base(e.Path), sysfs.PCIAddress(e.Path)
	for len(rest) > 0 {
		var field []byte
		field, rest, _ = bytes.Cut(rest, []byte{0})
		key, value, _ := strings.Cut(string(field), "=")
		switch key {
		case "SUBSYSTEM":
			e.Subsystem = value
		case "DRIVER":
			e.Driver = value
		case "PCI_CLASS":
			e.class = value
		case "INTERFACE":
			e.Name = value
		case "IFINDEX":
			if n, err := strconv.Atoi(value); err == nil {
				e.Index = n
			}
		}
	}
	return e, true
}

// interesting reports whether a uevent can concern an SR-IOV device.
func (e *Event) interesting() bool {
	switch e.Subsystem {
	case "pci":
		// PCI_CLASS has no leading zero: 20000 is a network device. Functions
		// without a class (none is known) are let through.
		return e.class == "" || len(e.class) == 5 && e.class[0] == '2' ||
			len(e.class) == 6 && strings.HasPrefix(e.class, "12")
	case "net", "infiniband", "infiniband_verbs", "infiniband_mad", "auxiliary", "uio":
		return e.Device != "" || e.Subsystem != "net" && e.Subsystem != "uio"
	case "vdpa", "vhost-vdpa", "vfio", "vfio-dev":
		return true
	case "misc":
		// Nodes that pods are given beside the device.
		return slices.Contains([]string{"rdma_cm", "vhost-net", "tun", "vfio"}, e.Name)
	case "module":
		return e.Name == "vfio_iommu_type1" // vfio devices need it
	case "drivers":
		// A driver that VFs wait for was loaded or is gone.
		return strings.HasPrefix(e.Path, "bus/pci/") || strings.HasPrefix(e.Path, "bus/vdpa/")
	}
	return false
}
