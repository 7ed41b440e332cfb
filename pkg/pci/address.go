package pci

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// Address is where a function is: domain, bus, device and function number. The
// domain has more than 16 bits behind a VMD controller.
type Address struct {
	Domain           uint32
	Bus              uint8
	Device, Function uint8 // 5 and 3 bits
}

// Valid reports whether s is an address as sysfs writes it, DDDD:BB:DD.F in
// lower case with four to eight digits for the domain.
func Valid(s string) bool {
	_, ok := Parse(s)
	return ok
}

// Parse reads an address as sysfs writes it (drivers/pci/probe.c,
// pci_setup_device: "%04x:%02x:%02x.%d"); false for anything else.
func Parse(s string) (Address, bool) {
	n := len(s)
	if n < len("0000:00:00.0") || n > len("00000000:00:00.0") || s[n-8] != ':' || s[n-5] != ':' || s[n-2] != '.' {
		return Address{}, false
	}
	domain, err1 := strconv.ParseUint(s[:n-8], 16, 32)
	bus, err2 := strconv.ParseUint(s[n-7:n-5], 16, 8)
	device, err3 := strconv.ParseUint(s[n-4:n-2], 16, 5)
	function, err4 := strconv.ParseUint(s[n-1:], 16, 3)
	if cmp.Or(err1, err2, err3, err4) != nil || s != strings.ToLower(s) {
		return Address{}, false
	}
	return Address{Domain: uint32(domain), Bus: uint8(bus), Device: uint8(device), Function: uint8(function)}, true
}

// String writes the address as sysfs does.
func (a Address) String() string {
	return fmt.Sprintf("%04x:%02x:%02x.%d", a.Domain, a.Bus, a.Device, a.Function)
}

// RoutingID is the number by which the bus knows the function: bus, device and
// function in 16 bits. A VF's is that of its PF and a number of steps.
func (a Address) RoutingID() int {
	return int(a.Bus)<<8 | int(a.Device)<<3 | int(a.Function)
}

// Plus is the function n routing IDs further in the same domain; false when the
// domain has none.
func (a Address) Plus(n int) (Address, bool) {
	id := a.RoutingID() + n
	if id < 0 || id > 0xffff {
		return Address{}, false
	}
	return Address{Domain: a.Domain, Bus: uint8(id >> 8), Device: uint8(id >> 3 & 0x1f), Function: uint8(id & 7)}, true
}
