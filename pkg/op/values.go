package op

import (
	"bytes"
	"fmt"
	"net"
	"strconv"

	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

// Value is what an object of the kernel can be, with a type of its own for each
// kind of object.
type Value interface {
	// Equal reports whether the other value has the same type and means the same.
	Equal(Value) bool
	// String is the value for people; it is also what the record has, so it stays.
	String() string
}

// Equal reports whether both are the same, or both are none.
func Equal(a, b Value) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return a.Equal(b)
}

// same is Equal for types that can be compared.
func same[T interface {
	comparable
	Value
}](a T, b Value) bool {
	o, ok := b.(T)
	return ok && a == o
}

// word is yes or no as b is.
func word[T ~bool](b T, yes, no string) string {
	if b {
		return yes
	}
	return no
}

// Count is a number of VFs.
type Count int

func (c Count) Equal(v Value) bool { return same(c, v) }
func (c Count) String() string     { return strconv.Itoa(int(c)) }

// Flag is a switch of sysfs.
type Flag bool

func (f Flag) Equal(v Value) bool { return same(f, v) }

// String is "0" or "1", as sysfs has it.
func (f Flag) String() string { return word(f, "1", "0") }

// Switch is a switch of netlink or ethtool.
type Switch bool

func (s Switch) Equal(v Value) bool { return same(s, v) }

// String is "on" or "off", as `ip link` has it.
func (s Switch) String() string { return word(s, "on", "off") }

// AdminUp is whether an interface is administratively up.
type AdminUp bool

func (u AdminUp) Equal(v Value) bool { return same(u, v) }
func (u AdminUp) String() string     { return word(u, "up", "down") }

// MTU is in bytes.
type MTU int

func (m MTU) Equal(v Value) bool { return same(m, v) }
func (m MTU) String() string     { return strconv.Itoa(int(m)) }

// MAC is the address of an interface: 6 bytes, 20 for InfiniBand.
type MAC net.HardwareAddr

func (m MAC) Equal(v Value) bool {
	o, ok := v.(MAC)
	return ok && bytes.Equal(m, o)
}
func (m MAC) String() string { return net.HardwareAddr(m).String() }

// GUID is an EUI-64.
type GUID net.HardwareAddr

func (g GUID) Equal(v Value) bool {
	o, ok := v.(GUID)
	return ok && bytes.Equal(g, o)
}
func (g GUID) String() string { return net.HardwareAddr(g).String() }

// NoDriver as a driver_override is the name that no driver has: the kernel's own way to
// keep a device from every driver (driver_override in Documentation/ABI/testing/
// sysfs-bus-pci).
const NoDriver Driver = "none"

// Protocol is the protocol of a VLAN tag.
type Protocol string

// The protocols that can be set.
const (
	Protocol8021Q  Protocol = "802.1q"
	Protocol8021AD Protocol = "802.1ad"
)

// VLAN is the tag that a PF puts on what its VF sends; the zero value is none.
type VLAN struct {
	ID, QoS  int
	Protocol Protocol // "" is 802.1q
}

// canonical is the VLAN in the one form that it has: without a tag nothing else
// matters.
func (l VLAN) canonical() VLAN {
	switch {
	case l.ID == 0:
		return VLAN{Protocol: Protocol8021Q}
	case l.Protocol == "":
		l.Protocol = Protocol8021Q
	}
	return l
}

// Is8021AD reports whether there is a tag of that protocol.
func (l VLAN) Is8021AD() bool { return l.canonical().Protocol == Protocol8021AD }

func (l VLAN) Equal(v Value) bool {
	o, ok := v.(VLAN)
	return ok && l.canonical() == o.canonical()
}

func (l VLAN) String() string {
	l = l.canonical()
	return fmt.Sprintf("%d %d %s", l.ID, l.QoS, l.Protocol)
}

// Rate limits what a VF sends, in Mbit/s; 0 is no limit.
type Rate struct{ Min, Max int }

func (r Rate) Equal(v Value) bool { return same(r, v) }
func (r Rate) String() string     { return fmt.Sprintf("%d %d", r.Min, r.Max) }

// LinkState is whether a VF's link follows the port's.
type LinkState spec.LinkState

// LinkAuto is what a new VF has.
const LinkAuto = LinkState(spec.LinkStateAuto)

func (s LinkState) Equal(v Value) bool { return same(s, v) }
func (s LinkState) String() string     { return string(s) }

// EswitchMode is the devlink eswitch mode of a PF.
type EswitchMode spec.EswitchMode

func (m EswitchMode) Equal(v Value) bool { return same(m, v) }
func (m EswitchMode) String() string     { return string(m) }

// SteeringMode is the devlink parameter flow_steering_mode.
type SteeringMode string

func (m SteeringMode) Equal(v Value) bool { return same(m, v) }
func (m SteeringMode) String() string     { return string(m) }

// Driver is the driver that a function or vDPA device is bound to, or that alone
// may bind it (driver_override); "" is none.
type Driver string

func (d Driver) Equal(v Value) bool { return same(d, v) }
func (d Driver) String() string     { return string(d) }

// VDPADevice is a vDPA device by its name, "" for none.
type VDPADevice string

func (d VDPADevice) Equal(v Value) bool {
	if of, ok := v.(VDPAOf); ok {
		return of.Equal(d)
	}
	return same(d, v)
}
func (d VDPADevice) String() string { return string(d) }

// VDPAOf is the vDPA device that is made on a VF. It is named after the VF, whose
// address is not known before the VF is made.
type VDPAOf struct {
	Index   int
	Address string // "" when not known
}

// Equal takes a VF without an address for the one with its index.
func (d VDPAOf) Equal(v Value) bool {
	switch o := v.(type) {
	case VDPAOf:
		return d.Index == o.Index && (d.Address == "" || o.Address == "" || d.Address == o.Address)
	case VDPADevice:
		return d.Address != "" && string(o) == VDPAName(d.Address)
	}
	return false
}

func (d VDPAOf) String() string {
	if d.Address == "" {
		return VDPAName(fmt.Sprintf("<VF %d>", d.Index))
	}
	return VDPAName(d.Address)
}

// VDPAName is the name of the vDPA device that is made on the VF.
func VDPAName(address string) string { return "vdpa:" + address }
