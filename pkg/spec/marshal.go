package spec

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"

	"gopkg.in/yaml.v3"
)

// Marshal writes the config that [Load] reads as c, without positions. Keys
// stand in the order of the types, and those that say nothing are left out.
func Marshal(c *Config) ([]byte, error) {
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(encode(reflect.ValueOf(*c), "")); err != nil {
		return nil, fmt.Errorf("write the config: %w", err)
	}
	if err := enc.Close(); err != nil {
		return nil, fmt.Errorf("write the config: %w", err)
	}
	return b.Bytes(), nil
}

// encode returns the node for v, or nil when v says nothing.
func encode(v reflect.Value, enum string) *yaml.Node {
	switch x := v.Interface().(type) {
	case Duration:
		if x == 0 {
			return nil
		}
		return scalar("!!str", x.String())
	case IndexSet:
		if len(x) == 0 {
			return nil
		}
		return quoted(x.String())
	case MACPolicy:
		return encodePolicy(x.Mode, len(x.List), func(i int) string { return x.List[i].String() })
	case GUIDPolicy:
		return encodePolicy(x.Mode, len(x.List), func(i int) string { return x.List[i].String() })
	case Optional:
		if x.All {
			return scalar("!!bool", "true")
		}
		return encode(reflect.ValueOf(x.Keys), "")
	case map[string]map[string]string:
		return encodeInfo(x)
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		if n := encode(v.Elem(), enum); n != nil {
			return n
		}
		return zeroOf(v.Elem()) // written, and zero: not the same as absent
	case reflect.Struct:
		return encodeStruct(v)
	case reflect.Slice:
		return encodeSlice(v, enum)
	case reflect.String, reflect.Int, reflect.Bool:
		if v.IsZero() {
			return nil
		}
		return encodeScalar(v, enum)
	}
	panic("spec: no encoding for " + v.Type().String())
}

func encodeSlice(v reflect.Value, enum string) *yaml.Node {
	if v.Len() == 0 {
		return nil
	}
	n := &yaml.Node{Kind: yaml.SequenceNode}
	if v.Type().Elem().Kind() == reflect.String {
		n.Style = yaml.FlowStyle
	}
	for i := range v.Len() {
		e := encode(v.Index(i), enum)
		if e == nil {
			e = zeroOf(v.Index(i))
		}
		if e.Kind == yaml.ScalarNode && enum == "" {
			e.Style = yaml.DoubleQuotedStyle // ids such as 1521 and 1e10
		}
		n.Content = append(n.Content, e)
	}
	return n
}

// encodeScalar is the node for a string, int or bool that is not zero.
func encodeScalar(v reflect.Value, enum string) *yaml.Node {
	switch v.Kind() {
	case reflect.Int:
		return scalar("!!int", strconv.FormatInt(v.Int(), 10))
	case reflect.Bool:
		return scalar("!!bool", "true")
	}
	if s := v.String(); enum == "" || s != "true" && s != "false" {
		return scalar("!!str", s)
	}
	return scalar("!!bool", v.String())
}

// mandatory are the keys that are written even when they are zero.
var mandatory = map[string]bool{"id": true, "max": true, "selectors": true}

func encodeStruct(v reflect.Value) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for f := range fields(v.Type()) {
		key := yamlName(f)
		val := encode(v.FieldByIndex(f.Index), f.Tag.Get("enum"))
		if val == nil && mandatory[key] {
			val = zeroOf(v.FieldByIndex(f.Index))
		}
		if val != nil {
			n.Content = append(n.Content, scalar("!!str", key), val)
		}
	}
	if len(n.Content) == 0 {
		return nil
	}
	return n
}

func zeroOf(v reflect.Value) *yaml.Node {
	switch v.Kind() {
	case reflect.Struct:
		return &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle}
	case reflect.Slice:
		return &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
	case reflect.Int:
		return scalar("!!int", "0")
	case reflect.Bool:
		return scalar("!!bool", "false")
	}
	return scalar("!!str", "")
}

func scalar(tag, value string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: value}
}

func encodePolicy(mode MACMode, n int, at func(int) string) *yaml.Node {
	if mode != MACList {
		if mode == MACDefault {
			return nil
		}
		return scalar("!!str", string(mode))
	}
	list := &yaml.Node{Kind: yaml.SequenceNode}
	for i := range n {
		list.Content = append(list.Content, quoted(at(i)))
	}
	return list
}

func encodeInfo(m map[string]map[string]string) *yaml.Node {
	if m == nil {
		return nil
	}
	// Written, and empty: a container is told of an empty provider "extra".
	out := &yaml.Node{Kind: yaml.MappingNode}
	for _, id := range sortedKeys(m) {
		info := &yaml.Node{Kind: yaml.MappingNode}
		for _, k := range sortedKeys(m[id]) {
			info.Content = append(info.Content, quoted(k), quoted(m[id][k]))
		}
		out.Content = append(out.Content, quoted(id), info)
	}
	return out
}

func quoted(s string) *yaml.Node {
	n := scalar("!!str", s)
	n.Style = yaml.DoubleQuotedStyle
	return n
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
