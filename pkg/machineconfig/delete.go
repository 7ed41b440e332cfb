package machineconfig

import (
	"slices"

	"gopkg.in/yaml.v3"
)

// patchKey with the value delete, in a mapping of a patch, deletes that mapping
// from the config. Source: Talos' documentation, "Patching Machine
// Configuration".
const patchKey = "$patch"

// deletes reports whether the mapping says that it is to be deleted.
func deletes(n *yaml.Node) bool { return n.Kind == yaml.MappingNode && index(n, patchKey) >= 0 }

// hasDeletes is [deletes] for n and everything in it.
func hasDeletes(n *yaml.Node) bool { return within(n, deletes) }

// prune removes what says that it is to be deleted, and what is empty then.
func prune(n *yaml.Node) {
	gone := func(c *yaml.Node) bool {
		if !hasDeletes(c) {
			return false
		}
		if deletes(c) {
			return true
		}
		prune(c)
		return len(c.Content) == 0
	}
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); {
			if gone(n.Content[i+1]) {
				n.Content = slices.Delete(n.Content, i, i+2)
				continue
			}
			i += 2
		}
	case yaml.SequenceNode:
		n.Content = slices.DeleteFunc(n.Content, gone)
	}
}

// selected is the index of the entry in a list that a deleting entry of a patch
// means: the first with the value of its first key, -1 for none.
func selected(list, item *yaml.Node) int {
	for key, value := range Pairs(item) {
		if key.Value == patchKey {
			continue
		}
		return slices.IndexFunc(list.Content, func(c *yaml.Node) bool {
			have := Child(c, key.Value)
			return have != nil && value.Kind == yaml.ScalarNode && have.Kind == yaml.ScalarNode && have.Value == value.Value
		})
	}
	return -1
}
