package machineconfig

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"iter"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// KindV1Alpha1 is the kind of the document that has none: the one with the keys
// machine and cluster.
const KindV1Alpha1 = "v1alpha1"

// Document is one document of a machine config or of a patch.
type Document struct {
	// APIVersion, Kind and Name are what Talos tells documents apart by, "" when
	// a document has no such key. A document without kind is of [KindV1Alpha1].
	APIVersion, Kind, Name string
	// Raw are the document's bytes: its separator, its comments, everything up to
	// the next document. All documents of a config joined are the config.
	Raw []byte
	// Line is the line of the config at which Raw begins, from 1.
	Line int

	node *yaml.Node
}

// Node is the document's mapping, nil when the config is empty. Lines in it
// count from the first line of Raw. It must not be changed.
func (d *Document) Node() *yaml.Node { return d.node }

// Empty reports whether the document holds nothing but comments.
func (d *Document) Empty() bool { return d.node == nil }

// Documents splits a machine config, or a patch, into its documents, empty ones
// among them. Only what Talos itself demands of every document is demanded: that
// it is YAML and a mapping. An error says at which line of raw.
func Documents(raw []byte) ([]Document, error) {
	if !utf8.Valid(raw) {
		return nil, errors.New("the machine config is not UTF-8")
	}
	whole, err := decodeAll(raw)
	if err != nil {
		return nil, err
	}
	var out []Document
	line, found := 1, 0
	for _, part := range split(raw) {
		d := Document{Raw: part, Line: line}
		line += lineBreaks(part)
		roots, err := decodeAll(part)
		// The splitting by lines is right only where a YAML decoder that is given
		// the whole sees the same documents.
		if err != nil || len(roots) > 1 || len(roots) > len(whole)-found || len(roots) == 1 && !equal(roots[0], whole[found]) {
			return nil, fmt.Errorf("where the document at line %d begins or ends is ambiguous: write a line --- before and after it", d.Line)
		}
		if len(roots) == 1 {
			if err := d.fill(roots[0]); err != nil {
				return nil, err
			}
			found++
		}
		out = append(out, d)
	}
	if found < len(whole) {
		return nil, fmt.Errorf("where the document at line %d begins is ambiguous: write a line --- before it", whole[found].Line)
	}
	return out, nil
}

// fill takes from the document's tree what it is told apart by.
func (d *Document) fill(root *yaml.Node) error {
	if root.Kind != yaml.MappingNode {
		return fmt.Errorf("the document at line %d is no mapping", d.Line)
	}
	d.node = root
	d.APIVersion, d.Name = text(root, "apiVersion"), text(root, "name")
	d.Kind = cmp.Or(text(root, "kind"), KindV1Alpha1)
	return nil
}

// decodeAll returns the roots of all documents that hold more than null.
func decodeAll(raw []byte) ([]*yaml.Node, error) {
	var out []*yaml.Node
	for dec := yaml.NewDecoder(bytes.NewReader(raw)); ; {
		var doc yaml.Node
		if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
			return out, nil
		} else if err != nil {
			return nil, err
		}
		for _, root := range doc.Content {
			if root.Kind != yaml.ScalarNode || root.ShortTag() != "!!null" {
				out = append(out, root)
			}
		}
	}
}

// split cuts raw into documents by the markers of YAML: a line that begins with
// --- starts one, a line that begins with ... ends one. Comments and directives
// before the first marker belong to the document that it starts. The parts
// joined are raw.
//
// Source: YAML 1.2.2, 9.1.2 and 9.2: no text inside a document can begin a line
// with a marker.
func split(raw []byte) [][]byte {
	var out [][]byte
	start, pos := 0, 0 // of the part, of the line
	begun := false     // the part has its --- or its first content
	for line := range lines(raw) {
		end := pos + len(line)
		switch {
		case marker(line, "---"):
			if begun {
				out, start = append(out, raw[start:pos]), pos
			}
			begun = true
		case marker(line, "..."):
			out, start = append(out, raw[start:end]), end
			begun = false
		case !prologue(line):
			begun = true
		}
		pos = end
	}
	if start < len(raw) || len(out) == 0 {
		out = append(out, raw[start:])
	}
	return out
}

// marker reports whether the line is a marker: the three characters, and then
// white space or nothing.
func marker(line []byte, mark string) bool {
	line = bytes.TrimPrefix(line, byteOrderMark)
	rest, ok := bytes.CutPrefix(line, []byte(mark))
	return ok && (len(rest) == 0 || bytes.IndexByte([]byte(" \t\r\n"), rest[0]) >= 0)
}

// prologue reports whether the line may stand before a document's marker.
func prologue(line []byte) bool {
	line = bytes.TrimPrefix(line, byteOrderMark)
	if len(line) > 0 && line[0] == '%' {
		return true
	}
	line = bytes.TrimLeft(line, " \t\r\n")
	return len(line) == 0 || line[0] == '#'
}

var byteOrderMark = []byte("\ufeff")

// lines are the lines of raw, each with its line break.
func lines(raw []byte) iter.Seq[[]byte] {
	return func(yield func(line []byte) bool) {
		for len(raw) > 0 {
			end := len(raw)
			if i := bytes.IndexAny(raw, "\r\n"); i >= 0 {
				end = i + 1
				if bytes.HasPrefix(raw[i:], []byte("\r\n")) {
					end++
				}
			}
			if !yield(raw[:end]) {
				return
			}
			raw = raw[end:]
		}
	}
}

func lineBreaks(raw []byte) int {
	count := func(s string) int { return bytes.Count(raw, []byte(s)) }
	return count("\n") + count("\r") - count("\r\n")
}
