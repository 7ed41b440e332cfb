package nic

import (
	"strconv"
	"strings"
)

// PortKind is what a port of an eswitch leads to.
type PortKind uint8

// The kinds of ports. PortOther is the wire, and every name that is not devlink's.
const (
	PortOther PortKind = iota
	PortPF
	PortVF
	PortSF
)

// Port is an interface's phys_port_name taken apart.
type Port struct {
	Kind  PortKind
	Index int // of the VF or SF on its PF
	// External is a port of the host that a SmartNIC sits in, seen from the
	// SmartNIC: what it leads to is no device of this machine.
	External bool
}

// Representor reports whether the interface stands for a function behind the eswitch
// and is not the PF's own.
func (p Port) Representor() bool { return p.Kind != PortOther }

// ParsePort reads a phys_port_name: pN or pNsN for the wire, [cN]pfN for a PF,
// [cN]pfNvfN for a VF, [cN]pfNsfN for an SF (kernel:
// __devlink_port_phys_port_name_get).
func ParsePort(name string) Port {
	var p Port
	rest := name
	if r, ok := strings.CutPrefix(name, "c"); ok {
		if _, r, ok = number(r); !ok {
			return Port{}
		}
		p.External, rest = true, r
	}
	rest, ok := strings.CutPrefix(rest, "pf")
	if !ok {
		return Port{}
	}
	if _, rest, ok = number(rest); !ok {
		return Port{}
	}
	if rest == "" {
		p.Kind = PortPF
		return p
	}
	if r, ok := strings.CutPrefix(rest, "vf"); ok {
		p.Kind, rest = PortVF, r
	} else if r, ok := strings.CutPrefix(rest, "sf"); ok {
		p.Kind, rest = PortSF, r
	} else {
		return Port{}
	}
	if p.Index, rest, ok = number(rest); !ok || rest != "" {
		return Port{}
	}
	return p
}

// number cuts a number off the front.
func number(s string) (n int, rest string, ok bool) {
	end := strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(s)
	}
	n, err := strconv.Atoi(s[:end])
	return n, s[end:], err == nil
}
