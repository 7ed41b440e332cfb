package nodenet

import (
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/talos-sriov/talos-sriov/pkg/machineconfig"
)

// effects are the keys of an entry that act on a link by being there.
var effects = []struct{ key, effect string }{
	{"vlans", "makes the VLANs of the entry on each of them"},
	{"vip", "may put the virtual address on any of them"},
	{"routes", "adds the routes of the entry on each of them"},
	{"bond", "makes a bond of each of them"},
	{"bridge", "makes a bridge of each of them"},
	{"bridgePort", "makes each of them a port of the bridge"},
	{"wireguard", "configures WireGuard on each of them"},
}

// hasEffect reports whether the key is one of effects.
func hasEffect(key string) bool {
	return slices.ContainsFunc(effects, func(e struct{ key, effect string }) bool { return e.key == key })
}

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
	for _, k := range effects {
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

// entryKeys are the other keys of an entry that are known: they do nothing to the
// node's network by themselves, or effectOf has a text for them.
var entryKeys = []string{
	"interface", "deviceSelector", "ignore", "mtu", "dhcpOptions", "dummy", "addresses", "cidr", "dhcp",
}

func unknownKeys(entry *yaml.Node) []string {
	var out []string
	for key := range machineconfig.Pairs(entry) {
		if !slices.Contains(entryKeys, key.Value) && !hasEffect(key.Value) {
			out = append(out, key.Value)
		}
	}
	return out
}

// onlyDHCP reports whether all that the entry does to a link's network is DHCP,
// which Talos does not run on links that it ignores.
func onlyDHCP(entry *yaml.Node) bool {
	for key := range machineconfig.Pairs(entry) {
		if hasEffect(key.Value) || key.Value == "addresses" || key.Value == "cidr" {
			return false
		}
	}
	return len(unknownKeys(entry)) == 0 && isTrue(machineconfig.Child(entry, "dhcp"))
}

func texts(list *yaml.Node) []string {
	var out []string
	for _, n := range machineconfig.Items(list) {
		out = append(out, machineconfig.Text(n))
	}
	return out
}
