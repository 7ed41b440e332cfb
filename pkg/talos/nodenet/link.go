package nodenet

import (
	"strings"

	glob "github.com/ryanuber/go-glob"
)

// Certainty is the answer to whether a selector matches a link.
type Certainty int

const (
	No Certainty = iota
	// Maybe: something that the selector asks for is not known of the link, or the
	// selector cannot be evaluated.
	Maybe
	Yes
)

func both(a, b Certainty) Certainty { return min(a, b) }

func either(a, b Certainty) Certainty { return max(a, b) }

func not(c Certainty) Certainty { return Yes - c }

func known(b bool) Certainty {
	if b {
		return Yes
	}
	return No
}

// Link is an interface as Talos' LinkStatus shows it, or will show it.
type Link struct {
	// Name and the other names of the interface. Of an interface to be they are
	// those that udev is likely to give it.
	Name     string
	AltNames []string
	// Driver is the kernel driver, PCIID vendor and device as Talos writes them
	// (15B3:101E), BusPath the PCI address (0000:01:00.2).
	Driver, PCIID, BusPath string
	// MAC and PermMAC are the current and the permanent address (lower case,
	// colons). Where an interface to be has none here, its address is not known,
	// but is a locally administered one.
	MAC, PermMAC string
	// InfiniBand: it is no Ethernet interface, and Talos does not call it physical.
	InfiniBand bool
	// Virtual: it is a bond, VLAN, bridge or the like.
	Virtual bool
	// ToBe: the interface is not there yet, so what is "" is not known. Of one that
	// is there, what is "" is empty.
	ToBe bool
	// Uplink says why the node's own network runs over the interface, "" when it
	// does not.
	Uplink string
	// Node is the node of an interface that is there. VF says that it belongs to a VF of
	// a PF of that node; false also when that is not known.
	Node string
	VF   bool
	// PF is the interface name or PCI address of the PF of an interface to be, and
	// Representor says that it stands for a VF on the host in switchdev mode.
	PF          string
	Representor bool
}

// Physical is Talos' rule for it: Ethernet, and of no software kind. Source:
// Talos, pkg/machinery/resources/network/link_status.go.
func (l *Link) Physical() bool { return !l.InfiniBand && !l.Virtual }

// matches compares a value of the link with a selector's pattern, in which "*"
// stands for any text and case counts (Talos uses the same go-glob).
func (l *Link) matches(pattern, value string) Certainty {
	if value == "" && l.ToBe {
		if strings.Trim(pattern, "*") == "" {
			return Yes
		}
		return Maybe
	}
	return known(glob.Glob(pattern, value))
}

// matchesMAC is matches for one of the link's addresses.
func (l *Link) matchesMAC(pattern, mac string) Certainty {
	if mac != "" || !l.ToBe {
		return known(glob.Glob(pattern, mac))
	}
	switch {
	case strings.Trim(pattern, "*") == "":
		return Yes
	case l.InfiniBand, mayBeLocal(pattern):
		return Maybe
	}
	return No
}

// mayBeLocal reports whether any locally administered unicast address, as Talos
// writes it, can match the pattern: its second digit is 2, 6, a or e.
func mayBeLocal(pattern string) bool {
	if pattern != strings.ToLower(pattern) {
		return false
	}
	first, second := byteAt(pattern, 0), byteAt(pattern, 1)
	if first == '*' || second == '*' {
		return true
	}
	return strings.IndexByte("0123456789abcdef", first) >= 0 && strings.IndexByte("26ae", second) >= 0
}

// byteAt is 0 beyond the end, which no address has.
func byteAt(s string, i int) byte {
	if i < len(s) {
		return s[i]
	}
	return 0
}
