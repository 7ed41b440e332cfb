package machineconfig

import (
	"bytes"
	"fmt"
	"slices"

	"gopkg.in/yaml.v3"
)

// Error is a patch that cannot be merged, or checked, here.
type Error struct {
	// Document is the document's kind and name; Line is where the patch has it.
	Document string
	Line     int
	// Path is the key in the document, "" for all of it.
	Path string
	Msg  string
	Hint string
}

func (e *Error) Error() string {
	at := e.Document
	if e.Path != "" {
		at += ": " + e.Path
	}
	return fmt.Sprintf("line %d: %s: %s", e.Line, at, e.Msg)
}

// hintTalos is for what only Talos' own tool can do right.
const hintTalos = "talosctl patch machineconfig -p @FILE, in the node's version, can merge it"

// Merge merges a patch into a machine config and returns the config that results;
// it is config itself, byte by byte, when the patch changes nothing. Documents
// that the patch does not name keep their bytes. The package's documentation has
// the rules. An [*Error] is about the patch.
func Merge(config, patch []byte) ([]byte, error) {
	have, err := Documents(config)
	if err != nil {
		return nil, fmt.Errorf("the machine config: %w", err)
	}
	patches, err := load(patch)
	if err != nil {
		return nil, err
	}
	m := merger{docs: have, kinds: Kinds()}
	for i := range patches {
		if err := m.apply(&patches[i]); err != nil {
			return nil, err
		}
	}
	if !m.changed {
		return config, nil
	}
	return m.bytes()
}

// Check reports what is wrong with a patch whatever node it is for. An [*Error]
// has the place.
func Check(patch []byte) error {
	_, err := load(patch)
	return err
}

// load returns the documents of a patch that hold something.
func load(patch []byte) ([]Document, error) {
	docs, err := Documents(patch)
	if err != nil {
		return nil, fmt.Errorf("the patch: %w", err)
	}
	docs = slices.DeleteFunc(docs, func(d Document) bool { return d.Empty() })
	for i := range docs {
		if err := docs[i].check(); err != nil {
			return nil, err
		}
	}
	return docs, nil
}

func (d *Document) check() error {
	switch {
	case d.APIVersion != "" && d.Kind == KindV1Alpha1:
		return d.fail("", "has no kind", "")
	case d.APIVersion == "" && d.Kind != KindV1Alpha1:
		return d.fail("", "has no apiVersion", "add apiVersion: v1alpha1")
	case d.Kind == KindV1Alpha1 && deletes(d.node):
		return d.fail("$patch", "the document with machine and cluster cannot be deleted", "delete keys in it")
	case bytes.HasPrefix(bytes.TrimPrefix(d.Raw, byteOrderMark), []byte("%")):
		return d.fail("", "has a YAML directive", "leave the line with % out")
	}
	return d.checkNode(d.node, "")
}

// checkNode refuses what cannot be merged key by key, and what a YAML decoder
// would refuse later.
func (d *Document) checkNode(n *yaml.Node, path string) error {
	switch n.Kind {
	case yaml.MappingNode:
		seen := make(map[string]bool)
		for key, value := range Pairs(n) {
			at := join(path, key.Value)
			switch {
			case key.Kind != yaml.ScalarNode:
				return d.fail(path, "has a key that is no text", "")
			case seen[key.Value]:
				return d.fail(at, "is given twice", "keep one of them")
			case key.Value == patchKey && Text(value) != "delete":
				return d.fail(at, fmt.Sprintf("want delete, found %q", value.Value), "")
			}
			seen[key.Value] = true
			if err := d.checkNode(value, at); err != nil {
				return err
			}
		}
	case yaml.SequenceNode:
		for _, item := range n.Content {
			if deletes(item) && len(item.Content) == 2 {
				return d.fail(path+"[]."+patchKey, "does not say which entry", "add the key that it is known by, as interface: eth0")
			}
			if err := d.checkNode(item, path+"[]"); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *Document) fail(path, msg, hint string) error {
	name := d.Kind
	if d.Name != "" {
		name += " " + d.Name
	}
	return &Error{Document: name, Line: d.Line + max(d.node.Line-1, 0), Path: path, Msg: msg, Hint: hint}
}

// same reports whether two documents are one for Talos.
func (d *Document) same(other *Document) bool {
	if d.Empty() || other.Empty() || d.Kind != other.Kind {
		return false
	}
	return d.Kind == KindV1Alpha1 || d.APIVersion == other.APIVersion && d.Name == other.Name
}

type merger struct {
	docs    []Document
	kinds   map[string]Rules
	changed bool
}

// apply brings one document of a patch in.
func (m *merger) apply(p *Document) error {
	i := slices.IndexFunc(m.docs, func(d Document) bool { return d.same(p) })
	switch {
	case i < 0 && deletes(p.node):
		return nil
	case i < 0:
		return m.add(p)
	case deletes(p.node):
		m.docs, m.changed = slices.Delete(m.docs, i, i+1), true
		return nil
	}
	target := &m.docs[i]
	root, err := target.tree()
	if err != nil {
		return err
	}
	t := tree{patch: p}
	t.rules, t.known = m.kinds[p.Kind]
	if err := t.merge(root.Content[0], p.node); err != nil {
		return err
	}
	if equal(root.Content[0], target.node) {
		return nil
	}
	m.changed = true
	if equal(root.Content[0], p.node) {
		// The patch has all of it: as it was written, comments and all.
		target.replace(p.node, bytes.TrimPrefix(p.Raw, byteOrderMark))
		return nil
	}
	return target.write(root)
}

// add appends a document that the config does not have.
func (m *merger) add(p *Document) error {
	d := Document{APIVersion: p.APIVersion, Kind: p.Kind, Name: p.Name, node: p.node, Raw: bytes.TrimPrefix(p.Raw, byteOrderMark)}
	if hasDeletes(p.node) {
		// There is nothing to delete yet.
		root, err := d.tree()
		if err != nil {
			return err
		}
		if prune(root.Content[0]); onlyName(root.Content[0]) {
			return nil
		}
		if err := d.write(root); err != nil {
			return err
		}
	}
	m.docs, m.changed = append(m.docs, d), true
	return nil
}

// onlyName reports whether nothing is left of a document but what it is called.
func onlyName(n *yaml.Node) bool {
	for key := range Pairs(n) {
		if !slices.Contains([]string{"apiVersion", "kind", "name", "version"}, key.Value) {
			return false
		}
	}
	return true
}

// bytes joins the documents, and reads them again: what is sent to a node is what
// was meant.
func (m *merger) bytes() ([]byte, error) {
	var out []byte
	var want []*Document
	for i := range m.docs {
		d := &m.docs[i]
		raw := d.Raw
		if len(out) > 0 {
			if last := out[len(out)-1]; last != '\n' && last != '\r' {
				out = append(out, '\n')
			}
			if !marked(raw) {
				out = append(out, "---\n"...)
			}
		}
		out = append(out, raw...)
		if !d.Empty() {
			want = append(want, d)
		}
	}
	got, err := Documents(out)
	if err != nil {
		return nil, fmt.Errorf("the merged machine config cannot be written: %w", err)
	}
	got = slices.DeleteFunc(got, func(d Document) bool { return d.Empty() })
	ok := slices.EqualFunc(got, want, func(a Document, b *Document) bool { return equal(a.node, b.node) })
	if !ok {
		return nil, fmt.Errorf("the merged machine config cannot be written as YAML that reads the same; %s", hintTalos)
	}
	return out, nil
}

// marked reports whether a document's bytes begin, after comments and directives,
// with the marker.
func marked(raw []byte) bool {
	for line := range lines(raw) {
		if marker(line, "---") {
			return true
		}
		if !prologue(line) {
			return false
		}
	}
	return false
}

// join is a path with one more key.
func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
