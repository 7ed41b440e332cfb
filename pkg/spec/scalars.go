package spec

import (
	"fmt"
	"net"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

const (
	// maxVFs is what PCIe can express: TotalVFs is a 16-bit register (PCI
	// Express base specification, SR-IOV extended capability).
	maxVFs = 65535
	// maxIndexes bounds what ranges of one document may expand to, so that a
	// small document cannot take much memory.
	maxIndexes = 1 << 20
)

// special decodes the types whose YAML is not the shape of their Go value. It
// reports whether v was one.
func (d *decoder) special(n *yaml.Node, v any, path string, tag reflect.StructTag) bool {
	switch v := v.(type) {
	case *Duration:
		d.duration(n, v, path)
	case *IndexSet:
		d.indexSet(n, v, path)
	case *MACPolicy:
		v.Mode, v.List = d.addresses(n, path, 6)
	case *GUIDPolicy:
		v.Mode, v.List = d.addresses(n, path, 8)
	case *Optional:
		d.optional(n, v, path)
	case *[]Selector:
		if n.Kind == yaml.MappingNode {
			// One object stands for a list of one.
			*v = make([]Selector, 1)
			at := index(path, 0)
			d.spans[at] = d.spans[path]
			d.value(n, reflect.ValueOf(v).Elem().Index(0), at, tag)
			return true
		}
		if n.Kind != yaml.SequenceNode {
			d.wrongType(n, path, "a selector object or a list of them", "")
			return true
		}
		return false
	case *AdditionalInfo:
		d.additionalInfo(n, v, path)
	default:
		return false
	}
	return true
}

func (d *decoder) duration(n *yaml.Node, v *Duration, path string) {
	t, err := time.ParseDuration(n.Value)
	if err != nil || n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" {
		d.wrongType(n, path, "a duration", "write a number with a unit, such as 2s, 500ms or 1m30s")
		return
	}
	*v = Duration(t)
}

// indexSet reads "0-3,6", or a single index without quotes.
func (d *decoder) indexSet(n *yaml.Node, v *IndexSet, path string) {
	const want, hint = "VF indexes", `write indexes and ranges from 0, such as "0-3,6"`
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" && n.ShortTag() != "!!int" {
		d.wrongType(n, path, want, hint)
		return
	}
	ranges, err := parseIndexRanges(n.Value)
	if err != nil {
		d.fail(nodePos(n), path, hint, "%v", err)
		return
	}
	if a, b, found := overlap(ranges); found {
		d.fail(nodePos(n), path, "name each VF once", "%s and %s overlap", a, b)
		return
	}
	for _, r := range ranges {
		if d.indexes += r.Last - r.First + 1; d.indexes > maxIndexes {
			d.fail(nodePos(n), path, "", "the config names more than %d VFs", maxIndexes)
			return
		}
		for i := r.First; i <= r.Last; i++ {
			*v = append(*v, i)
		}
	}
	slices.Sort(*v)
	*v = slices.Compact(*v)
}

// addresses reads the value of macAddresses (size 6) or guids (size 8).
func (d *decoder) addresses(n *yaml.Node, path string, size int) (MACMode, []net.HardwareAddr) {
	if n.Kind == yaml.ScalarNode {
		if n.ShortTag() == "!!str" && parseHardwareAddr(n.Value, size) != nil {
			d.wrongType(n, path, "stable, kernel or a list", "one address is a list too: ["+n.Value+"]")
			return MACDefault, nil
		}
		if !d.oneOf(n, path, []string{string(MACStable), string(MACKernel)}) {
			return MACDefault, nil
		}
		return MACMode(n.Value), nil
	}
	if n.Kind != yaml.SequenceNode {
		d.wrongType(n, path, "stable, kernel or a list", "")
		return MACDefault, nil
	}
	if len(n.Content) == 0 {
		d.fail(nodePos(n), path, "list one for each index, or remove the key", "the list is empty")
	}
	list := make([]net.HardwareAddr, len(n.Content))
	word := "a MAC address"
	if size == 8 {
		word = "a GUID"
	}
	d.scalars(n, path, word, func(i int, c *yaml.Node, at string) {
		if list[i] = parseHardwareAddr(c.Value, size); list[i] == nil {
			d.fail(nodePos(c), at, fmt.Sprintf("write %d pairs of hex digits with colons", size),
				"want %s, found %s", word, quote(c.Value))
		}
	})
	return MACList, list
}

// scalars calls f for each scalar of a list that is to hold nothing else.
func (d *decoder) scalars(n *yaml.Node, path, want string, f func(i int, c *yaml.Node, at string)) {
	for i, c := range n.Content {
		at := index(path, i)
		d.spans[at] = d.at(nodePos(c))
		switch {
		case c.Kind == yaml.AliasNode: // reported with its anchor
		case c.Kind != yaml.ScalarNode || isNull(c):
			d.wrongType(c, at, want, "")
		default:
			f(i, c, at)
		}
	}
}

// parseHardwareAddr reads size pairs of hex digits separated by colons, or
// returns nil for the other forms that net.ParseMAC takes.
func parseHardwareAddr(s string, size int) net.HardwareAddr {
	a, err := net.ParseMAC(s)
	if err != nil || len(a) != size || a.String() != strings.ToLower(s) {
		return nil
	}
	return a
}

// OptionalKeys are the keys of a VF group that optional may name.
func OptionalKeys() []string {
	return []string{"trust", "spoofCheck", "queryRSS", "linkState", "vlan", "rate", "mtu", "macAddresses", "guids", "rdma", "vdpa"}
}

func (d *decoder) optional(n *yaml.Node, v *Optional, path string) {
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!bool" {
		v.All = strings.EqualFold(n.Value, "true")
		return
	}
	if n.Kind != yaml.SequenceNode {
		d.wrongType(n, path, "true, false or a list of keys", "")
		return
	}
	d.scalars(n, path, "a key of the group", func(_ int, c *yaml.Node, at string) {
		if d.oneOf(c, at, OptionalKeys()) {
			v.Keys = append(v.Keys, c.Value)
		}
	})
}

// additionalInfo reads device id -> key -> text. A device id is a PCI address,
// or "*" for every device.
func (d *decoder) additionalInfo(n *yaml.Node, v *AdditionalInfo, path string) {
	if n.Kind != yaml.MappingNode {
		d.wrongType(n, path, "a mapping of devices", "")
		return
	}
	*v = make(AdditionalInfo)
	d.pairs(n, path, func(id string, key, val *yaml.Node, at string) {
		if id != "*" {
			norm, msg, hint := checkPCI(id)
			if msg != "" {
				d.fail(nodePos(key), at, hint+`; "*" stands for every device`, "%s", msg)
				return
			}
			id = norm
		}
		if val.Kind != yaml.MappingNode {
			d.wrongType(val, at, "a mapping of texts", "")
			return
		}
		if _, dup := (*v)[id]; dup {
			d.fail(nodePos(key), at, "keep one of them", "the device is given twice")
			return
		}
		info := make(map[string]string)
		(*v)[id] = info
		d.pairs(val, at, func(name string, _, val *yaml.Node, at string) {
			if name == "" {
				d.fail(nodePos(val), at, "", "empty key")
				return
			}
			if s, ok := d.text(val, at, ""); ok {
				info[name] = s
			}
		})
	})
}

// pairs calls f for each key of a mapping with free keys.
func (d *decoder) pairs(n *yaml.Node, path string, f func(name string, key, val *yaml.Node, at string)) {
	seen := make(map[string]Pos)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, val := n.Content[i], n.Content[i+1]
		name, ok := d.key(key, path)
		if !ok || val.Kind == yaml.AliasNode {
			continue
		}
		at := path + "[" + strconv.Quote(short(name)) + "]"
		if first, dup := seen[name]; dup {
			d.fail(nodePos(key), at, "keep one of them", "is given twice; the first is at line %d", d.at(first).Line)
			continue
		}
		seen[name] = nodePos(key)
		d.spans[at] = d.at(nodePos(val))
		f(name, key, val, at)
	}
}
