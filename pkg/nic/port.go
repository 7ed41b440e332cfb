package nic

import (
	"strconv"
	"strings"
)

// Port is what an interface's phys_port_name says of it.
type Port struct {
	// Representor is true when the interface stands for a function behind the eswitch
	// and is not the PF's own.
	Representor bool
	// VF is the index of the PF's VF that it stands for, -1 when it stands for none.
	// The VFs of the host that a SmartNIC sits in, which the SmartNIC sees with a
	// controller's number, are none of its own.
	VF int
}

// ParsePort reads a phys_port_name: pN or pNsN for the wire, [cN]pfN for a PF,
// [cN]pfNvfN for a VF, [cN]pfNsfN for an SF (kernel:
// __devlink_port_phys_port_name_get). A name that is none of them is the wire's.
func ParsePort(name string) Port {
	switch strings.Map(notDigit, name) {
	case "pfvf":
		if index, err := strconv.Atoi(name[strings.LastIndexByte(name, 'f')+1:]); err == nil {
			return Port{Representor: true, VF: index}
		}
	case "pf", "pfsf", "cpf", "cpfvf", "cpfsf":
		return Port{Representor: true, VF: -1}
	}
	return Port{VF: -1}
}

func notDigit(r rune) rune {
	if r >= '0' && r <= '9' {
		return -1
	}
	return r
}
