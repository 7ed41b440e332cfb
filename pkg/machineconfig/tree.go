package machineconfig

import (
	"fmt"
	"slices"

	"gopkg.in/yaml.v3"
)

// tree merges one document of a patch into the tree of the config's document.
type tree struct {
	patch *Document
	rules Rules
	known bool
}

func (t *tree) merge(have, patch *yaml.Node) error { return t.value(have, patch, "", "") }

// shared reports whether the node has its value from, or gives it to, another
// place: what is merged here would be changed, or missing, there.
func shared(n *yaml.Node) bool { return n.Kind == yaml.AliasNode || n.Anchor != "" }

const sharedMsg = "has a YAML anchor or alias, which cannot be merged here"

// within reports whether is holds for n or anything in it.
func within(n *yaml.Node, is func(*yaml.Node) bool) bool {
	return is(n) || slices.ContainsFunc(n.Content, func(c *yaml.Node) bool { return within(c, is) })
}

func (t *tree) fail(path, msg string) error { return t.patch.fail(path, msg, hintTalos) }

// value merges what the patch has at path into what the config has there. rule is
// the path as the rules know it.
func (t *tree) value(have, patch *yaml.Node, path, rule string) error {
	if isNull(patch) || patch.Kind == yaml.ScalarNode && have.Kind == yaml.ScalarNode && alike(have, patch) {
		return nil
	}
	if shared(have) || shared(patch) {
		return t.fail(path, sharedMsg)
	}
	switch {
	case isNull(have), t.rules[rule].Replace, have.Kind == yaml.ScalarNode && patch.Kind == yaml.ScalarNode:
		put(have, patch)
		return nil
	case have.Kind != patch.Kind:
		return t.fail(path, fmt.Sprintf("is %s in the patch and %s in the machine config", kindName(patch), kindName(have)))
	case have.Kind == yaml.MappingNode:
		return t.mapping(have, patch, path, rule)
	}
	return t.list(have, patch, path, rule)
}

func (t *tree) mapping(have, patch *yaml.Node, path, rule string) error {
	if Child(have, "<<") != nil || Child(patch, "<<") != nil {
		return t.fail(path, "has a YAML merge key (<<), which cannot be merged here")
	}
	for key, value := range Pairs(patch) {
		at := join(path, key.Value)
		j := index(have, key.Value)
		switch {
		case deletes(value):
			if j >= 0 {
				have.Content = slices.Delete(have.Content, j-1, j+1)
			}
			continue
		case j < 0 && within(value, shared):
			return t.fail(at, sharedMsg)
		case j < 0:
			if value = copyOf(value); hasDeletes(value) {
				if prune(value); len(value.Content) == 0 {
					continue
				}
			}
			have.Content = append(have.Content, copyOf(key), value)
			continue
		}
		if err := t.value(have.Content[j], value, at, t.rule(rule, key.Value)); err != nil {
			return err
		}
	}
	return nil
}

// rule is the path in the rules of a key below the path rule.
func (t *tree) rule(rule, key string) string {
	if any := join(rule, "*"); t.rules[any].Replace {
		return any
	}
	return join(rule, key)
}

func (t *tree) list(have, patch *yaml.Node, path, rule string) error {
	if len(have.Content) == 0 && !hasDeletes(patch) {
		put(have, patch)
		return nil
	}
	r := t.rules[rule]
	news := slices.ContainsFunc(patch.Content, func(n *yaml.Node) bool { return !contains(have, n) })
	switch {
	case news && r.Differs:
		return t.fail(path, "is a list that versions of Talos merge differently")
	case news && !t.known:
		return t.fail(path, "is a list, and this program does not know how Talos merges the lists of this kind")
	}
	for _, item := range patch.Content {
		if within(item, shared) {
			return t.fail(path, sharedMsg)
		}
		if deletes(item) {
			if i := selected(have, item); i >= 0 {
				have.Content = slices.Delete(have.Content, i, i+1)
			}
			continue
		}
		i := counterpart(have, item, r.Keys)
		switch {
		case i < 0 && contains(have, item):
			// It is there.
		case i < 0:
			if item = copyOf(item); hasDeletes(item) {
				prune(item)
			}
			have.Content = append(have.Content, item)
		case r.Whole:
			put(have.Content[i], item)
		default:
			if err := t.value(have.Content[i], item, path+"[]", rule+"[]"); err != nil {
				return err
			}
		}
	}
	return nil
}

// counterpart is the index of the entry that an entry of the patch belongs to, -1
// for none.
func counterpart(list, item *yaml.Node, keys []string) int {
	for _, key := range keys {
		want := Child(item, key)
		if want == nil || isNull(want) {
			continue
		}
		return slices.IndexFunc(list.Content, func(c *yaml.Node) bool {
			have := Child(c, key)
			return have != nil && alike(have, want)
		})
	}
	return -1
}

// contains reports whether the list has such an entry.
func contains(list, item *yaml.Node) bool {
	return slices.ContainsFunc(list.Content, func(c *yaml.Node) bool { return alike(c, item) })
}

// alike compares what two trees say, whatever the order of keys.
func alike(a, b *yaml.Node) bool {
	a, b = resolve(a), resolve(b)
	if a.Kind != b.Kind || len(a.Content) != len(b.Content) {
		return false
	}
	switch a.Kind {
	case yaml.ScalarNode:
		return a.Value == b.Value && a.ShortTag() == b.ShortTag()
	case yaml.SequenceNode:
		return slices.EqualFunc(a.Content, b.Content, alike)
	}
	for key, value := range Pairs(a) {
		other := index(b, key.Value)
		if other < 0 || !alike(value, b.Content[other]) {
			return false
		}
	}
	return true
}

// index is the index in Content of the value of a mapping's key, -1 for none.
func index(n *yaml.Node, key string) int {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return i + 1
		}
	}
	return -1
}

// put makes a node say what the other does; its comments stay.
func put(have, value *yaml.Node) {
	c := copyOf(value)
	have.Kind, have.Style, have.Tag, have.Value, have.Content = c.Kind, c.Style, c.Tag, c.Value, c.Content
}

// copyOf is a deep copy.
func copyOf(n *yaml.Node) *yaml.Node {
	c := *n
	c.Content = nil
	for _, child := range n.Content {
		c.Content = append(c.Content, copyOf(child))
	}
	return &c
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

func kindName(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	return "a single value"
}
