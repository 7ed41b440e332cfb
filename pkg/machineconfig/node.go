package machineconfig

import (
	"iter"
	"slices"

	"gopkg.in/yaml.v3"
)

// Pairs are the keys of a mapping with their values, none when n is no mapping.
// Aliases are not followed.
func Pairs(n *yaml.Node) iter.Seq2[*yaml.Node, *yaml.Node] {
	return func(yield func(key, value *yaml.Node) bool) {
		if n == nil || n.Kind != yaml.MappingNode {
			return
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			if !yield(n.Content[i], n.Content[i+1]) {
				return
			}
		}
	}
}

// Child returns the value of a mapping's key, nil when n is no mapping or has no
// such key. An alias is followed.
func Child(n *yaml.Node, key string) *yaml.Node {
	for k, value := range Pairs(resolve(n)) {
		if k.Value == key {
			return resolve(value)
		}
	}
	return nil
}

// At is [Child] along a path of keys.
func At(n *yaml.Node, keys ...string) *yaml.Node {
	n = resolve(n)
	for _, key := range keys {
		n = Child(n, key)
	}
	return n
}

// Items are the entries of a list with aliases followed, nil when n is no list.
func Items(n *yaml.Node) []*yaml.Node {
	n = resolve(n)
	if n == nil || n.Kind != yaml.SequenceNode {
		return nil
	}
	out := make([]*yaml.Node, 0, len(n.Content))
	for _, c := range n.Content {
		out = append(out, resolve(c))
	}
	return out
}

// Text is a scalar's text, "" when n is none or is null.
func Text(n *yaml.Node) string {
	n = resolve(n)
	if n == nil || n.Kind != yaml.ScalarNode || n.ShortTag() == "!!null" {
		return ""
	}
	return n.Value
}

func text(n *yaml.Node, key string) string { return Text(Child(n, key)) }

func resolve(n *yaml.Node) *yaml.Node {
	if n != nil && n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// equal compares what two trees say: kinds, tags, values and the order of keys,
// not style and comments.
func equal(a, b *yaml.Node) bool {
	return a.Kind == b.Kind && a.ShortTag() == b.ShortTag() && a.Value == b.Value && a.Anchor == b.Anchor &&
		slices.EqualFunc(a.Content, b.Content, equal)
}
