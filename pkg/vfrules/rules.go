package vfrules

import (
	"fmt"
	"net"
	"slices"
	"strings"
)

// Limits of the kernel and of IEEE 802.1Q.
const (
	MinMTU  = 68    // ETH_MIN_MTU, include/uapi/linux/if_ether.h
	MaxMTU  = 65535 // ETH_MAX_MTU
	MaxVLAN = 4094  // 4095 is reserved
	MaxQoS  = 7     // the 3 bits of the priority
	// MaxRate is in Mbit/s. IFLA_VF_RATE has 32 bits, and drivers are handed an
	// int (ndo_set_vf_rate, include/linux/netdevice.h).
	MaxRate = 1<<31 - 1
)

// VLAN protocols. "" stands for 802.1Q.
const (
	Dot1Q  = "802.1q"
	Dot1AD = "802.1ad"
)

// Protocols are the VLAN protocols that a PF can tag with.
func Protocols() []string { return []string{Dot1Q, Dot1AD} }

// LinkStates are the values of IFLA_VF_LINK_STATE.
func LinkStates() []string { return []string{"auto", "enable", "disable"} }

// Part is a part of a value that has several.
type Part string

// Parts of a VLAN and of a rate.
const (
	ID       Part = "id"
	QoS      Part = "qos"
	Protocol Part = "protocol"
	Min      Part = "min"
	Max      Part = "max"
)

// Problem is a rule that a value breaks.
type Problem struct {
	Part Part   // "" for a value that has no parts
	Text string // continues the name of the key: "4095 is out of range: ..."
	Hint string // what to write instead; "" when the text says it
	// Other is the part that this one contradicts, "" when it is wrong by itself.
	Other Part
}

// MTU checks an MTU in bytes.
func MTU(n int) []Problem { return InRange("", n, MinMTU, MaxMTU, "bytes", "") }

// VLAN checks a tag. protocol is "", or one of [Protocols] in lower case.
func VLAN(id, qos int, protocol string) []Problem {
	hint := "0 removes the tag"
	if id == MaxVLAN+1 {
		hint = "4095 is reserved by IEEE 802.1Q"
	}
	out := InRange(ID, id, 0, MaxVLAN, "", hint)
	out = append(out, InRange(QoS, qos, 0, MaxQoS, "", "")...)
	if protocol != "" {
		out = append(out, oneOf(Protocol, protocol, Protocols())...)
	}
	if id != 0 {
		return out
	}
	if qos != 0 {
		out = append(out, Problem{QoS, "a priority has no effect without a VLAN, and VLAN 0 is none", "give a VLAN from 1 to 4094, or remove the priority", ID})
	}
	if protocol == Dot1AD {
		out = append(out, Problem{Protocol, Dot1AD + " has no effect without a VLAN, and VLAN 0 is none", "give a VLAN from 1 to 4094, or remove the protocol", ID})
	}
	return out
}

// Rate checks limits in Mbit/s, 0 for none.
func Rate(low, high int) []Problem {
	const hint = "0 means no limit"
	out := append(InRange(Min, low, 0, MaxRate, "Mbit/s", hint), InRange(Max, high, 0, MaxRate, "Mbit/s", hint)...)
	if high > 0 && low > high {
		out = append(out, Problem{Min, fmt.Sprintf("the guaranteed rate %d is above the limit %d", low, high), "lower the one or raise the other", Max})
	}
	return out
}

// LinkState checks one of [LinkStates].
func LinkState(s string) []Problem { return oneOf("", s, LinkStates()) }

// Address checks a MAC address (6 bytes) or a GUID (8 bytes) that a VF is to have
// for its own.
func Address(a net.HardwareAddr) []Problem {
	const own = "give every VF an address of its own"
	is := func(b byte) bool { return !slices.ContainsFunc(a, func(x byte) bool { return x != b }) }
	switch {
	case is(0):
		return []Problem{{Text: "the address is all zero", Hint: own}}
	case len(a) == 6 && a[0]&1 != 0:
		return []Problem{{Text: a.String() + " is a multicast address", Hint: "the lowest bit of the first byte must be 0"}}
	case is(0xff):
		return []Problem{{Text: "the address is all ones", Hint: own}}
	}
	return nil
}

// InRange checks low <= n <= high.
func InRange(part Part, n, low, high int, unit, hint string) []Problem {
	if n >= low && n <= high {
		return nil
	}
	if unit != "" {
		unit = " " + unit
	}
	return []Problem{{Part: part, Text: fmt.Sprintf("%d is out of range: %d to %d%s", n, low, high, unit), Hint: hint}}
}

func oneOf(part Part, s string, allowed []string) []Problem {
	if slices.Contains(allowed, s) {
		return nil
	}
	return []Problem{{Part: part, Text: "want " + OrList(allowed) + ", found " + fmt.Sprintf("%q", s)}}
}

// OrList writes alternatives: "a, b or c".
func OrList(names []string) string {
	last := len(names) - 1
	if last <= 0 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:last], ", ") + " or " + names[last]
}
