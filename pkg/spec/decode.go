package spec

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"github.com/talos-sriov/talos-sriov/pkg/vfrules"
)

// decoder walks a node tree against the types, by reflection. It is small
// because the types are: structs, lists, strings, integers, booleans, pointers
// to these, and the few types of scalars.go.
type decoder struct {
	collector
	where     *posMap         // nil: positions are those of the input
	spans     map[string]Pos  // of the value at each path
	indexes   int             // VF indexes expanded so far
	meant     map[string]bool // paths of keys that are there, misspelt
	shapes    map[reflect.Type]*shape
	plainTags map[Pos]bool // where a tag "!" may stand, in positions of the input
}

func (d *decoder) at(p Pos) Pos { return d.where.at(p) }

// has reports whether the user wrote the key at path.
func (d *decoder) has(path string) bool {
	_, found := d.spans[path]
	return found
}

func (d *decoder) fail(p Pos, path, hint, format string, args ...any) {
	if d.full() {
		d.count(path)
		return
	}
	e := &Error{Pos: d.at(p), Path: path, Msg: fmt.Sprintf(format, args...), Hint: hint}
	d.where.note(e, p)
	d.add(e)
}

// checkTree refuses what YAML can do beyond plain data. Every alias belongs to
// an anchor, so that naming the anchors says it all.
func (d *decoder) checkTree(n *yaml.Node) {
	uses := make(map[*yaml.Node]int)
	nodes := countNodes(n, uses)
	d.checkNode(n, uses)
	d.spans = make(map[string]Pos, nodes/2)
}

// countNodes returns the number of nodes below n and counts the aliases of each
// anchor.
func countNodes(n *yaml.Node, uses map[*yaml.Node]int) int {
	if n.Kind == yaml.AliasNode {
		uses[n.Alias]++
	}
	nodes := 1
	for _, c := range n.Content {
		nodes += countNodes(c, uses)
	}
	return nodes
}

func (d *decoder) checkNode(n *yaml.Node, uses map[*yaml.Node]int) {
	if n.Anchor != "" && n.Kind != yaml.AliasNode {
		d.fail(nodePos(n), "", "write the value out at each place",
			"anchors and aliases are not accepted (anchor &%s, used %s)", short(n.Anchor), times(uses[n]))
	}
	tag := ""
	switch {
	case n.Style&yaml.TaggedStyle != 0:
		tag = n.Tag
	case n.Kind != yaml.AliasNode && d.plainTags[nodePos(n)]:
		tag = "!"
	}
	if tag != "" {
		d.fail(nodePos(n), "", "remove the tag; the key says which type its value has", "tags are not accepted (%s)", short(tag))
	}
	for _, c := range n.Content {
		if d.enough() {
			return
		}
		d.checkNode(c, uses)
	}
}

func times(n int) string {
	switch n {
	case 0:
		return "nowhere"
	case 1:
		return "once"
	}
	return strconv.Itoa(n) + " times"
}

// value decodes n into v. path names the place in the config, tag carries
// the rules of the struct field that holds the value.
func (d *decoder) value(n *yaml.Node, v reflect.Value, path string, tag reflect.StructTag) {
	if n.Kind == yaml.AliasNode {
		d.mark(path) // reported with its anchor
		return
	}
	if isNull(n) {
		hint := "give it a value, or remove it"
		if strings.HasSuffix(path, "].selectors") {
			hint = "say which devices are meant; {} takes every device of the type"
		}
		d.fail(nodePos(n), path, hint, "has no value")
		return
	}
	if v.Kind() == reflect.Pointer {
		p := reflect.New(v.Type().Elem())
		d.value(n, p.Elem(), path, tag)
		v.Set(p)
		return
	}
	if d.special(n, v.Addr().Interface(), path, tag) {
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.mapping(n, v, path)
	case reflect.Slice:
		d.sequence(n, v, path, tag)
	case reflect.String:
		if s, ok := d.text(n, path, tag); ok {
			v.SetString(s)
		}
	case reflect.Int:
		if i, ok := d.integer(n, path); ok {
			v.SetInt(int64(i))
		}
	case reflect.Bool:
		if b, ok := d.boolean(n, path); ok {
			v.SetBool(b)
		}
	default:
		// A type was added without a way to read it; a test decodes them all.
		panic("spec: no decoding for " + v.Type().String())
	}
}

func (d *decoder) wrongType(n *yaml.Node, path, want, hint string) {
	d.fail(nodePos(n), path, hint, "want %s, found %s", want, describe(n))
}

func (d *decoder) mapping(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.MappingNode {
		d.wrongType(n, path, "a mapping", "")
		return
	}
	s := d.shape(v.Type())
	if s.pos != nil {
		v.FieldByIndex(s.pos).Set(reflect.ValueOf(d.at(nodePos(n))))
	}
	if len(n.Content) == 0 {
		return
	}
	seen := make(map[string]Pos)
	for k := 0; k+1 < len(n.Content) && !d.enough(); k += 2 {
		key, val := n.Content[k], n.Content[k+1]
		name, ok := d.key(key, path)
		if !ok {
			continue
		}
		i := s.find(name)
		if i >= 0 {
			name = s.names[i]
		}
		at := join(path, name)
		if first, dup := seen[name]; dup {
			d.fail(nodePos(key), at, "keep one of them", "is given twice; the first is at line %d", d.at(first).Line)
			continue
		}
		seen[name] = nodePos(key)
		if i < 0 {
			d.unknownKey(key, path, s.names, s.fold)
			continue
		}
		// The device plugin's vocabulary is JSON of Go origin, where null
		// means absent. A null selector would match everything there, or
		// crash; it stays an error.
		if s.fold && isNull(val) && name != "selectors" && path != "" {
			continue
		}
		d.spans[at] = d.at(nodePos(val))
		d.value(val, v.FieldByIndex(s.fields[i].Index), at, s.fields[i].Tag)
	}
}

// key returns the text of a mapping key.
func (d *decoder) key(n *yaml.Node, path string) (string, bool) {
	switch {
	case n.Kind == yaml.AliasNode:
		return "", false
	case n.Kind != yaml.ScalarNode:
		d.fail(nodePos(n), path, "a key is a plain name", "%s is used as a key", describe(n))
		return "", false
	case n.ShortTag() == "!!merge":
		d.fail(nodePos(n), path, "write the keys out", "merge keys (<<) are not accepted")
		return "", false
	}
	return n.Value, d.visible(n, path, false)
}

func (d *decoder) sequence(n *yaml.Node, v reflect.Value, path string, tag reflect.StructTag) {
	if n.Kind != yaml.SequenceNode {
		hint := ""
		if n.Kind == yaml.ScalarNode {
			hint = "a list is written [" + short(n.Value) + "]"
		} else if v.Type().Elem().Kind() == reflect.Struct {
			hint = `begin each entry with "- "`
		}
		d.wrongType(n, path, "a list", hint)
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
	for i, c := range n.Content {
		if d.enough() {
			return
		}
		at := index(path, i)
		d.spans[at] = d.at(nodePos(c))
		d.value(c, v.Index(i), at, tag)
	}
}

// text reads a string, checked and normalised as the tags enum and format say.
func (d *decoder) text(n *yaml.Node, path string, tag reflect.StructTag) (string, bool) {
	allowed := tag.Get("enum")
	f, hasFormat := formats[tag.Get("format")]
	if n.Kind != yaml.ScalarNode || isNull(n) {
		d.wrongType(n, path, "a text", "")
		return "", false
	}
	if allowed != "" {
		return n.Value, d.oneOf(n, path, strings.Split(allowed, ","))
	}
	// What is no name is a text of a container, which has lines.
	if !d.visible(n, path, !hasFormat) {
		return "", false
	}
	out := n.Value
	if hasFormat {
		norm, msg, hint := f.check(n.Value)
		if msg != "" {
			d.fail(nodePos(n), path, hint, "%s", msg)
			return "", false
		}
		out = norm
	}
	// The text as it was written is at hand, so that 1521 and 1e10, numbers to
	// YAML, are the PCI ids that were meant.
	if n.ShortTag() != "!!str" && (!hasFormat || f.unquoted == nil || !f.unquoted.MatchString(n.Value)) {
		d.wrongType(n, path, "a text", `put it in quotes: "`+short(n.Value)+`"`)
		return "", false
	}
	return out, true
}

func (d *decoder) oneOf(n *yaml.Node, path string, allowed []string) bool {
	if slices.Contains(allowed, n.Value) {
		return true
	}
	hint := ""
	if best, ok := closest(n.Value, allowed); ok {
		hint = fmt.Sprintf("did you mean %q?", best)
	}
	d.fail(nodePos(n), path, hint, "want %s, found %s", vfrules.OrList(allowed), quote(n.Value))
	return false
}

var decimal = regexp.MustCompile(`^(0|-?[1-9][0-9]*)$`)

func (d *decoder) integer(n *yaml.Node, path string) (int, bool) {
	const want = "a whole number"
	if n.Kind != yaml.ScalarNode {
		d.wrongType(n, path, want, "")
		return 0, false
	}
	if !decimal.MatchString(n.Value) {
		hint := ""
		if tag := n.ShortTag(); tag == "!!int" || tag == "!!float" {
			hint = "write it in plain decimal digits"
		}
		d.wrongType(n, path, want, hint)
		return 0, false
	}
	if n.ShortTag() == "!!str" {
		d.wrongType(n, path, want, "remove the quotes")
		return 0, false
	}
	i, err := strconv.ParseInt(n.Value, 10, 32)
	if err != nil {
		d.fail(nodePos(n), path, "", "the number %s is too large", short(n.Value))
		return 0, false
	}
	return int(i), true
}

func (d *decoder) boolean(n *yaml.Node, path string) (bool, bool) {
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!bool" {
		return strings.EqualFold(n.Value, "true"), true
	}
	hint := ""
	if n.Kind == yaml.ScalarNode {
		switch strings.ToLower(n.Value) {
		case "yes", "on", "y", "1", "true", "enabled":
			hint = "write true, without quotes"
		case "no", "off", "n", "0", "false", "disabled":
			hint = "write false, without quotes"
		}
	}
	d.wrongType(n, path, "true or false", hint)
	return false, false
}

func join(path, key string) string {
	if key == "" {
		return path
	}
	if path == "" {
		return short(key)
	}
	return path + "." + short(key)
}

func index(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

// short keeps a text of the config from flooding or disguising a message.
func short(s string) string {
	tail := ""
	if r := []rune(s[:min(len(s), 200)]); len(r) > 40 {
		s, tail = string(r[:40]), "..."
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return utf8.RuneError
		}
		return r
	}, s) + tail
}
