package netconf

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/talos-sriov/talos-sriov/pkg/cni/fault"
)

// reservedNames are those that the kernel gives to no interface, because it has
// files of that name beside those of the interfaces: sysctl_dev_name_is_allowed in
// include/linux/netdevice.h, and bonding_masters of drivers/net/bonding.
var reservedNames = []string{"all", "default", "bonding_masters"}

// CheckIfName refuses what the kernel would refuse, or take for another name, only
// when the VF is moved, and what misleads whoever reads it. The CNI library has
// checked length, white space, "/" and ":" before.
func CheckIfName(name string) error {
	bad := func(why string) error {
		return fault.Newf(types.ErrInvalidEnvironmentVariables, "give the network another interface name in the pod's annotation (network@name)",
			"CNI_IFNAME %q: %s", name, why)
	}
	switch {
	case slices.Contains(reservedNames, name):
		return bad("the kernel gives this name to no interface")
	case strings.ContainsRune(name, '%'):
		return bad("the kernel takes % for the place of a number")
	case !utf8.ValidString(name):
		return bad("it is not UTF-8")
	case strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return bad("it has a character that is not printable")
	}
	return nil
}
