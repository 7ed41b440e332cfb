package spec

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"

	"gopkg.in/yaml.v3"
)

// YAML writes v as this project writes YAML.
func YAML(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	if err := enc.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// Marshal writes the config that [Load] reads as c, without positions. Keys
// stand in the order of the types, and those that say nothing are left out.
func Marshal(c *Config) ([]byte, error) {
	out, err := YAML(c)
	if err != nil {
		return nil, fmt.Errorf("write the config: %w", err)
	}
	return out, nil
}

// MarshalYAML writes the duration as Go does.
func (d Duration) MarshalYAML() (any, error) { return d.String(), nil }

// MarshalYAML writes the set as ranges.
func (s IndexSet) MarshalYAML() (any, error) { return quoted(s.String()), nil }

// MarshalYAML writes the mode, or the list.
func (p MACPolicy) MarshalYAML() (any, error) {
	if p.Mode != MACList {
		return string(p.Mode), nil
	}
	list := &yaml.Node{Kind: yaml.SequenceNode}
	for _, a := range p.List {
		list.Content = append(list.Content, quoted(a.String()))
	}
	return list, nil
}

// MarshalYAML writes the mode, or the list.
func (p GUIDPolicy) MarshalYAML() (any, error) { return MACPolicy(p).MarshalYAML() }

// MarshalYAML writes true or the list.
func (o Optional) MarshalYAML() (any, error) {
	if o.All {
		return true, nil
	}
	return o.Keys.MarshalYAML()
}

// MarshalYAML writes true and false as the booleans that people write.
func (i CNIInstall) MarshalYAML() (any, error) {
	switch i {
	case CNIInstallOn:
		return true, nil
	case CNIInstallOff:
		return false, nil
	}
	return string(i), nil
}

// MarshalYAML writes the list on one line.
func (t Texts) MarshalYAML() (any, error) {
	n := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
	for _, s := range t {
		n.Content = append(n.Content, quoted(s))
	}
	return n, nil
}

// IsZero reports whether the key is absent.
func (i AdditionalInfo) IsZero() bool { return i == nil }

// MarshalYAML writes keys and texts in quotes.
func (i AdditionalInfo) MarshalYAML() (any, error) {
	out := &yaml.Node{Kind: yaml.MappingNode}
	for _, id := range sortedKeys(i) {
		info := &yaml.Node{Kind: yaml.MappingNode}
		for _, k := range sortedKeys(i[id]) {
			info.Content = append(info.Content, quoted(k), quoted(i[id][k]))
		}
		out.Content = append(out.Content, quoted(id), info)
	}
	return out, nil
}

func quoted(s string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s, Style: yaml.DoubleQuotedStyle}
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
