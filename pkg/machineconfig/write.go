package machineconfig

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// tree is the document's YAML document node, to be changed by the caller.
func (d *Document) tree() (*yaml.Node, error) {
	var root yaml.Node
	if err := yaml.NewDecoder(bytes.NewReader(d.Raw)).Decode(&root); err != nil {
		return nil, fmt.Errorf("the document at line %d: %w", d.Line, err)
	}
	return &root, nil
}

// write makes the bytes of a document whose tree was changed. Comments go where
// YAML would be misread with them.
func (d *Document) write(root *yaml.Node) error {
	want := copyOf(root.Content[0])
	for _, comments := range []bool{true, false} {
		if !comments {
			strip(root)
		}
		raw, err := d.encode(root)
		if err != nil {
			return err
		}
		roots, err := decodeAll(raw)
		if err == nil && len(roots) == 1 && equal(roots[0], want) {
			d.replace(roots[0], raw)
			return nil
		}
	}
	return fmt.Errorf("the document %s cannot be written as YAML that reads the same; %s", d.Kind, hintTalos)
}

func (d *Document) encode(root *yaml.Node) ([]byte, error) {
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(indent(root.Content[0]))
	if err := e.Encode(root); err != nil {
		return nil, fmt.Errorf("write the document %s: %w", d.Kind, err)
	}
	if err := e.Close(); err != nil {
		return nil, fmt.Errorf("write the document %s: %w", d.Kind, err)
	}
	raw := b.Bytes()
	if marked(d.Raw) {
		raw = slices.Concat(directives(d.Raw), []byte("---\n"), raw)
	}
	if bytes.Contains(d.Raw, []byte("\r\n")) {
		raw = bytes.ReplaceAll(raw, []byte("\n"), []byte("\r\n"))
	}
	return raw, nil
}

// directives are the lines with a % that stand before the document's marker.
func directives(raw []byte) []byte {
	raw = bytes.TrimPrefix(raw, byteOrderMark)
	var out []byte
	for line := range lines(raw) {
		if !prologue(line) {
			break
		}
		if line[0] == '%' {
			out = append(append(out, bytes.TrimRight(line, "\r\n")...), '\n')
		}
	}
	return out
}

// replace gives the document other bytes, with the tree that they are. Where the
// document was closed by a marker it still is: directives may follow.
func (d *Document) replace(root *yaml.Node, raw []byte) {
	closed := ended(d.Raw) && !ended(raw)
	raw = bytes.Clone(raw)
	if closed {
		if n := len(raw); n > 0 && raw[n-1] != '\n' {
			raw = append(raw, '\n')
		}
		raw = append(raw, "...\n"...)
	}
	d.node, d.Raw = root, raw
}

// ended reports whether the bytes end with the marker that ends a document.
func ended(raw []byte) bool {
	raw = bytes.TrimRight(raw, " \t\r\n")
	return marker(raw[bytes.LastIndexAny(raw, "\r\n")+1:], "...")
}

// indent is the indentation of the document's block mappings in columns. 4 is
// what Talos writes.
func indent(n *yaml.Node) int {
	if n.Kind != yaml.MappingNode || n.Style&yaml.FlowStyle != 0 {
		return 4
	}
	for key, value := range Pairs(n) {
		if value.Kind == yaml.MappingNode && value.Style&yaml.FlowStyle == 0 && len(value.Content) > 0 && value.Line > key.Line {
			if columns := value.Column - key.Column; columns > 1 && columns < 10 {
				return columns
			}
		}
	}
	return 4
}

// strip removes all comments.
func strip(n *yaml.Node) {
	n.HeadComment, n.LineComment, n.FootComment = "", "", ""
	for _, c := range n.Content {
		strip(c)
	}
}

// Indent writes a text as the content of a block scalar.
func Indent(b *bytes.Buffer, text []byte, indent string) {
	for line := range strings.Lines(string(text)) {
		if strings.TrimSpace(line) != "" {
			b.WriteString(indent)
		}
		b.WriteString(line)
	}
}
