package nodenet

import (
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/talos-sriov/talos-sriov/pkg/machineconfig"
)

// Finding is something about the node's interfaces that a person has to know, mostly a
// place of the machine config that selects some that it must not.
type Finding struct {
	// Refuse: what Talos would do with the interfaces can cost the node its
	// network, and it is sure that it would.
	Refuse bool
	// Msg says what it is (what is selected where, and what Talos does with it), Hint
	// what to write.
	Msg, Hint string
}

// Check says what of a machine config (or of a patch, or of both) selects
// interfaces that are not there yet. present are the interfaces that are, without
// the VFs of the node's PFs.
func Check(docs []machineconfig.Document, toBe, present []Link) []Finding {
	if len(toBe) == 0 {
		return nil
	}
	c := &check{toBe: toBe, present: present}
	for i := range docs {
		d := &docs[i]
		if d.Empty() {
			continue
		}
		c.prefix, c.kind = "", d.Kind
		if d.Kind != machineconfig.KindV1Alpha1 {
			c.prefix = strings.TrimSpace(d.Kind+" "+d.Name) + ": "
		} else {
			c.interfaces(machineconfig.At(d.Node(), "machine", "network", "interfaces"))
		}
		c.walk(d.Node(), nil)
	}
	return c.found
}

type check struct {
	toBe, present []Link
	prefix, kind  string
	found         []Finding
}

// interfaces checks the entries of machine.network.interfaces, in whose order
// Talos goes through them.
func (c *check) interfaces(list *yaml.Node) {
	heard := slices.Clone(c.toBe) // what no entry so far ignores
	for i, entry := range machineconfig.Items(list) {
		where := fmt.Sprintf("machine.network.interfaces[%d]", i)
		selector := machineconfig.Child(entry, "deviceSelector")
		if selector == nil {
			continue
		}
		if isTrue(machineconfig.Child(entry, "ignore")) {
			heard = slices.DeleteFunc(heard, func(l Link) bool { return DeviceSelector(selector, &l) == Yes })
			continue
		}
		effect, grave := effectOf(entry)
		links := c.toBe
		if onlyDHCP(entry) {
			// No DHCP runs on what an entry before this one ignores.
			links = heard
		}
		c.add(where+".deviceSelector", links, deviceSelector{selector}, effect, grave)
	}
}

// walk finds selectors wherever a document has them, also in documents that are
// newer than this program: by the names of their keys.
func (c *check) walk(n *yaml.Node, path []string) {
	for i, item := range machineconfig.Items(n) {
		c.walk(item, appended(path, fmt.Sprintf("[%d]", i)))
	}
	for node, value := range machineconfig.Pairs(n) {
		key := node.Value
		if value.Kind == yaml.AliasNode {
			value = value.Alias
		}
		here := appended(path, "."+key)
		where := c.prefix + strings.TrimPrefix(strings.Join(here, ""), ".")
		switch {
		case key == "deviceSelector" && isInterfaces(path):
			// interfaces looked at it.
		case key == "deviceSelector":
			c.add(where, c.toBe, deviceSelector{value}, "takes each of them for an interface of its own", true)
		case key == "deviceSelectors":
			c.members(value, where)
		case key == "selector" && c.isLinkDocument():
			c.linkSelector(value, where)
		case key == "match" && strings.Contains(machineconfig.Text(value), "link."):
			c.add(where, c.toBe, celExpression(machineconfig.Text(value)), "takes each of them for the link that is meant", true)
		case slices.Contains(linkKeys, key) && (c.isLinkDocument() || len(path) > 3 && isInterfaces(path[:4])):
			c.named(n, value, where)
			c.walk(value, here)
		default:
			c.walk(value, here)
		}
	}
}

// linkKeys are the keys under which documents name links.
var linkKeys = []string{"name", "link", "links", "parent", "interface", "interfaces"}

// named notes where the machine config names an interface that a VF will bring.
// Whoever writes such a name means it; but a VF is for one user.
func (c *check) named(parent, value *yaml.Node, where string) {
	if isTrue(machineconfig.Child(parent, "ignore")) {
		return
	}
	for _, name := range append(texts(value), machineconfig.Text(value)) {
		i := slices.IndexFunc(c.toBe, func(l Link) bool { return name != "" && (l.Name == name || slices.Contains(l.AltNames, name)) })
		if i < 0 {
			continue
		}
		c.found = append(c.found, Finding{
			Msg:  fmt.Sprintf("%s names %s, which is or will be an interface of %s: Talos configures it, and a pod that gets it takes it away", where, name, names(c.toBe[i:i+1])),
			Hint: "a VF is for the node or for pods: name one that is in no resource, or leave this VF to the pods",
		})
	}
}

// members checks the selectors of a bond's ports.
func (c *check) members(list *yaml.Node, where string) {
	for i, selector := range machineconfig.Items(list) {
		c.add(fmt.Sprintf("%s[%d]", where, i), c.toBe, deviceSelector{selector}, "makes each of them a port of the node's bond", true)
	}
	if list.Kind != yaml.SequenceNode {
		c.add(where, c.toBe, deviceSelector{nil}, "makes each of them a port of the node's bond", true)
	}
}

// linkSelector checks the selector of a document for links. LinkAliasConfig is the
// one that Talos has in 1.12 to 1.14; every other document names its links.
func (c *check) linkSelector(selector *yaml.Node, where string) {
	match := machineconfig.Text(machineconfig.Child(selector, "match"))
	switch {
	case match != "" && c.kind == "LinkAliasConfig":
		c.add(where+".match", c.toBe, celExpression(match), "then gives the alias to another link than the one that is meant, or to none, and with it every document that names the alias", true)
	case match != "":
		c.add(where+".match", c.toBe, celExpression(match), "takes each of them for the link that is meant", true)
	default:
		c.add(where, c.toBe, deviceSelector{selector}, "takes each of them for the link that is meant", true)
	}
}

// isLinkDocument reports whether the document is about links, going by its kind:
// Talos' names for these begin with the kind of link, or name the protocol.
func (c *check) isLinkDocument() bool {
	return slices.ContainsFunc([]string{"Link", "Bond", "Bridge", "VLAN", "VRF", "DHCP", "Ethernet", "VIP", "Wireguard", "Veth", "BGP", "Device", "Interface", "Network", "Address", "Route"},
		func(part string) bool { return strings.Contains(c.kind, part) })
}

func isInterfaces(path []string) bool {
	return len(path) == 4 && strings.HasPrefix(strings.Join(path, ""), ".machine.network.interfaces[")
}

func appended(path []string, s string) []string { return append(slices.Clone(path), s) }

func isTrue(n *yaml.Node) bool {
	var b bool
	return n != nil && n.Decode(&b) == nil && b
}
