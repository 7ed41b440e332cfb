package nodenet

import (
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/talos-sriov/talos-sriov/pkg/machineconfig"
)

// effectOf says what Talos does with each link that an entry of
// machine.network.interfaces selects, and whether that can cost the node its
// network.
func effectOf(entry *yaml.Node) (effect string, grave bool) {
	var parts []string
	if addresses := texts(machineconfig.Child(entry, "addresses")); len(addresses) > 0 {
		parts = append(parts, "gives each of them the node's address "+strings.Join(addresses, ", "))
	}
	if a := machineconfig.Text(machineconfig.Child(entry, "cidr")); a != "" {
		parts = append(parts, "gives each of them the node's address "+a)
	}
	if isTrue(machineconfig.Child(entry, "dhcp")) {
		parts = append(parts, "asks for an address on each of them by DHCP")
	}
	for _, k := range []struct{ key, effect string }{
		{"vlans", "makes the VLANs of the entry on each of them"},
		{"vip", "may put the virtual address on any of them"},
		{"routes", "adds the routes of the entry on each of them"},
		{"bond", "makes a bond of each of them"},
		{"bridge", "makes a bridge of each of them"},
		{"bridgePort", "makes each of them a port of the bridge"},
		{"wireguard", "configures WireGuard on each of them"},
	} {
		if machineconfig.Child(entry, k.key) != nil {
			parts = append(parts, k.effect)
		}
	}
	if len(parts) > 0 {
		return strings.Join(parts, ", "), true
	}
	if strange := unknownKeys(entry); len(strange) > 0 {
		return fmt.Sprintf("does on each of them what %s asks for", strings.Join(strange, ", ")), true
	}
	return "brings each of them up, with the MTU of the entry", false
}

// entryKeys are the keys of an entry that do nothing to the node's network by
// themselves, or that effectOf has texts for.
var entryKeys = []string{
	"interface", "deviceSelector", "ignore", "mtu", "dhcpOptions", "dummy", "addresses", "cidr", "dhcp", "vlans", "vip",
	"routes", "bond", "bridge", "bridgePort", "wireguard",
}

func unknownKeys(entry *yaml.Node) []string {
	var out []string
	for i := 0; entry.Kind == yaml.MappingNode && i+1 < len(entry.Content); i += 2 {
		if key := entry.Content[i].Value; !slices.Contains(entryKeys, key) {
			out = append(out, key)
		}
	}
	return out
}

// onlyDHCP reports whether all that the entry does to a link's network is DHCP,
// which Talos does not run on links that it ignores.
func onlyDHCP(entry *yaml.Node) bool {
	if len(unknownKeys(entry)) > 0 {
		return false
	}
	for _, key := range []string{"addresses", "cidr", "vlans", "vip", "routes", "bond", "bridge", "bridgePort", "wireguard"} {
		if machineconfig.Child(entry, key) != nil {
			return false
		}
	}
	return isTrue(machineconfig.Child(entry, "dhcp"))
}

func texts(list *yaml.Node) []string {
	var out []string
	for _, n := range machineconfig.Items(list) {
		out = append(out, machineconfig.Text(n))
	}
	return out
}
