package nl

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
)

// BusPCI is the bus of PCI functions, for devlink and vdpa.
const BusPCI = "pci"

// Link is a network interface as rtnetlink describes it.
type Link struct {
	Index    int
	Name     string
	AltNames []string
	MAC      net.HardwareAddr // 6 bytes, 20 for InfiniBand
	PermMAC  net.HardwareAddr // nil when the driver does not report it
	MTU      int              // bytes
	MaxMTU   int              // bytes, 0 when unknown
	Up       bool             // IFF_UP: administratively up
	Carrier  bool             // IFLA_CARRIER
	Loopback bool
	Type     uint16 // ARPHRD_*: 1 Ethernet, 32 InfiniBand
	Kind     string // "bond", "vlan", ...; "" for hardware
	Master   int    // ifindex of the bond, bridge or team, 0 when none
	// Lower is the ifindex of the device below (of a VLAN or macvlan), 0 when
	// none or when it is in another network namespace.
	Lower int
	// ParentDev and ParentBus name the device of the interface
	// ("0000:21:00.0" on "pci"); empty for virtual ones and before Linux 5.14.
	ParentDev, ParentBus string
	PhysSwitchID         string // lower-case hex, "" when the driver has none
	PhysPortName         string // "p0", "pf0vf3", "" when the driver has none
}

// Kinds of ARPHRD in Link.Type.
const (
	TypeEthernet   = 1
	TypeInfiniBand = 32
	TypePPP        = 512
)

// Addr is an address of an interface.
type Addr struct {
	Index  int // ifindex
	Prefix netip.Prefix
}

// Route is a default route (destination of length zero, unicast).
type Route struct {
	IPv6  bool
	Table int
	// Indexes are the interfaces of its next hops, in order.
	Indexes []int
}

// Family is "IPv4" or "IPv6", for people.
func (r Route) Family() string {
	if r.IPv6 {
		return "IPv6"
	}
	return "IPv4"
}

// VFInfo is one entry of IFLA_VFINFO_LIST: what the PF holds for a VF.
type VFInfo struct {
	Index     int
	MAC       net.HardwareAddr // all zero when not set
	VLAN, QoS int
	VLANProto uint16 // 0x8100 or 0x88a8, 0 when the kernel does not report it
	// MinRate and MaxRate are in Mbit/s, 0 for no limit.
	MinRate, MaxRate int
	// SpoofCheck and Trust are nil when the driver does not report them.
	SpoofCheck, Trust *bool
	// QueryRSS is nil when the driver does not report it.
	QueryRSS  *bool
	LinkState LinkState
	// NodeGUID and PortGUID are nil for Ethernet.
	NodeGUID, PortGUID net.HardwareAddr
}

// LinkState is IFLA_VF_LINK_STATE.
type LinkState uint32

// The kernel's values.
const (
	LinkStateAuto    LinkState = 0
	LinkStateEnable  LinkState = 1
	LinkStateDisable LinkState = 2
)

// linkStates are the names of the states.
var linkStates = [...]string{LinkStateAuto: "auto", LinkStateEnable: "enable", LinkStateDisable: "disable"}

func (s LinkState) String() string {
	if s < LinkState(len(linkStates)) {
		return linkStates[s]
	}
	return fmt.Sprintf("state %d", uint32(s))
}

// LinkStateNamed is the state of that name; of any other it is auto, the kernel's own.
func LinkStateNamed(name string) LinkState {
	return LinkState(max(0, slices.Index(linkStates[:], name)))
}

// VLAN protocols (ETH_P_8021Q, ETH_P_8021AD), in host byte order.
const (
	Proto8021Q  uint16 = 0x8100
	Proto8021AD uint16 = 0x88a8
)

// LinkRef names an interface for a request. Index decides when it is not zero;
// Name is for people then.
type LinkRef struct {
	Index int
	Name  string
}

func (r LinkRef) String() string {
	if r.Name != "" {
		return r.Name
	}
	return fmt.Sprintf("interface %d", r.Index)
}

// RDMANetnsMode reports whether RDMA devices follow network namespaces.
type RDMANetnsMode string

// Modes of the RDMA subsystem (ib_core.netns_mode).
const (
	RDMAShared    RDMANetnsMode = "shared"
	RDMAExclusive RDMANetnsMode = "exclusive"
)

// ErrUnsupported is what a question means when neither driver nor kernel knows
// the subject: no devlink device, no eswitch, no vdpa family. Test for it with
// errors.Is; the errno is still there beside it.
var ErrUnsupported = errors.New("not supported by the driver or kernel")

// ErrNoNamespace is what opening a path gives that is no network namespace, or
// not any more.
var ErrNoNamespace = errors.New("no network namespace")

// Error is a netlink request that failed.
type Error struct {
	Op     string // what was asked, for people: "set VF 3 trust"
	Target string // of whom: "enp1s0f0np0", "pci/0000:01:00.0"
	Value  string // what was to be set, "" for reads
	Err    error  // has a syscall.Errno in its chain when the kernel answered
}

func (e *Error) Error() string {
	s := e.Op
	if e.Value != "" {
		s += " to " + e.Value
	}
	if e.Target != "" {
		s += " on " + e.Target
	}
	return s + ": " + e.Err.Error()
}

// Unwrap gives the cause, so that errors.Is(err, syscall.EOPNOTSUPP) holds.
func (e *Error) Unwrap() error { return e.Err }

// Errno is the kernel's answer, 0 when the request never got one.
func (e *Error) Errno() syscall.Errno {
	errno, _ := errors.AsType[syscall.Errno](e.Err)
	return errno
}

// Is reports what a driver answers for a request that it does not implement as
// [ErrUnsupported] too.
func (e *Error) Is(target error) bool {
	if target != ErrUnsupported {
		return false
	}
	errno := e.Errno()
	return errno == syscall.EOPNOTSUPP || errno == syscall.EPROTONOSUPPORT
}
