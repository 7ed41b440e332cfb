package netname

import (
	"fmt"
	"strconv"
	"strings"
)

// Device is what the name is made of.
type Device struct {
	Address       string // dddd:bb:ss.f of the device, or of its PF for a VF
	MultiFunction bool   // the slot has more than this function
	VF            int    // VF index, or -1
	PortName      string // phys_port_name, empty when there is none
}

// Name gives the predictable name.
func (d Device) Name() (string, error) {
	var domain, bus, slot, fn uint64
	parts := strings.FieldsFunc(d.Address, func(r rune) bool { return r == ':' || r == '.' })
	if len(parts) != 4 {
		return "", fmt.Errorf("PCI address %q: want dddd:bb:ss.f", d.Address)
	}
	for i, p := range []*uint64{&domain, &bus, &slot, &fn} {
		v, err := strconv.ParseUint(parts[i], 16, 32)
		if err != nil {
			return "", fmt.Errorf("PCI address %q: %w", d.Address, err)
		}
		*p = v
	}
	var b strings.Builder
	b.WriteString("en")
	if domain > 0 {
		fmt.Fprintf(&b, "P%d", domain)
	}
	fmt.Fprintf(&b, "p%ds%d", bus, slot)
	if fn > 0 || d.MultiFunction {
		fmt.Fprintf(&b, "f%d", fn)
	}
	if d.PortName != "" {
		fmt.Fprintf(&b, "n%s", d.PortName)
	}
	if d.VF >= 0 {
		fmt.Fprintf(&b, "v%d", d.VF)
	}
	return b.String(), nil
}
