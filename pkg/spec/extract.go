package spec

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"gopkg.in/yaml.v3"
)

// How Talos delivers a document to an extension service.
const (
	// ExtensionKind is the kind of the machine-config document that carries ours.
	ExtensionKind = "ExtensionServiceConfig"
	// ExtensionName is the name of our extension service.
	ExtensionName = "sriov"
	// MountPath is where the config is to be mounted.
	MountPath = "/etc/sriov/config.yaml"
)

// NodePath is the file of the host in which Talos keeps what is to be mounted at
// MountPath. It is named after the service and the mount path.
func NodePath() string {
	name := strings.ReplaceAll(strings.TrimPrefix(MountPath, "/"), "/", "-")
	return "/system/overlays/extensions/" + ExtensionName + "/" + name
}

// Embedded is our document as found in a file.
type Embedded struct {
	// Data is the bare document.
	Data []byte
	// Bare is true when the file is the config itself.
	Bare bool

	docs  []*yaml.Node // of a bare file
	where *posMap
}

// Extract finds our document in data: the bare document, or the content of the
// [extension service document] named sriov in a machine-config patch of any
// number of documents. What is inside is not judged; the error is an [*Errors].
//
// [extension service document]: https://www.talos.dev/latest/reference/configuration/extensions/extensionserviceconfig/
func Extract(source string, data []byte) (*Embedded, error) {
	x := extractor{decoder: decoder{spans: make(map[string]Pos)}, data: data}
	docs, e := parse(data)
	if e != nil {
		x.add(e)
		return nil, x.err(source)
	}
	var ours, others []*yaml.Node // extension service documents by name
	var specs []*yaml.Node        // our kind at the top level
	machine, talos := false, false
	for _, n := range docs {
		switch kind := child(n, "kind"); {
		case kind != nil && kind.Value == ExtensionKind:
			if name := child(n, "name"); name != nil && name.Value == ExtensionName {
				ours = append(ours, n)
			} else {
				others = append(others, n)
			}
		case kind != nil && kind.Value == Kind:
			specs = append(specs, n)
		case kind == nil:
			machine = machine || child(n, "machine") != nil || child(n, "cluster") != nil
		default:
			// Talos' documents have this one API version.
			version := child(n, "apiVersion")
			talos = talos || version != nil && version.Value == "v1alpha1"
		}
	}
	switch {
	case len(ours)+len(others) == 0 && !machine && (len(docs) <= 1 || len(specs) > 0 && !talos):
		// Load knows what to say about it, also about a second document.
		return &Embedded{Data: data, Bare: true, docs: docs}, nil
	case len(specs) > 0:
		x.fail(nodePos(specs[0]), "", "make it the content of an "+ExtensionKind+" named "+ExtensionName,
			"Talos does not know the kind %s: it cannot stand beside machine-config documents", Kind)
	case len(ours) > 1:
		x.fail(nodePos(ours[1]), "", "join them into one", "a second %s named %s; the first is at line %d", ExtensionKind, ExtensionName, ours[0].Line)
	case len(ours) == 0:
		x.missing(docs, others)
	default:
		if emb := x.extension(ours[0]); emb != nil {
			return emb, nil
		}
	}
	return nil, x.err(source)
}

type extractor struct {
	decoder
	data []byte
}

// missing explains a patch without a document of ours.
func (x *extractor) missing(docs, others []*yaml.Node) {
	for _, n := range others {
		if x.carries(n) >= 0 {
			x.wrong(n, "name", "name", ExtensionName, "go to another service")
			return
		}
	}
	x.fail(nodePos(docs[0]), "", "add it, with a configFiles entry for "+MountPath, "there is no %s named %s in this file", ExtensionKind, ExtensionName)
}

// carries returns the index of the configFiles entry that holds a document of ours,
// -1 when none does.
func (x *extractor) carries(n *yaml.Node) int {
	files := child(n, "configFiles")
	if files == nil || files.Kind != yaml.SequenceNode {
		return -1
	}
	return slices.IndexFunc(files.Content, func(f *yaml.Node) bool {
		if mount := child(f, "mountPath"); mount != nil && mount.Value == MountPath {
			return true
		}
		content := child(f, "content")
		if content == nil || content.Kind != yaml.ScalarNode {
			return false
		}
		// Whether it is ours is asked, not what is wrong with it.
		inner, err := parseText([]byte(content.Value))
		if err != nil || len(inner) == 0 {
			return false
		}
		kind := child(inner[0], "kind")
		return kind != nil && kind.Value == Kind
	})
}

// Keys of an ExtensionServiceConfig and of an entry of its configFiles (Talos,
// pkg/machinery/config/types/runtime/extensions). $patch is the directive of
// a strategic merge patch.
var (
	extensionKeys  = []string{"apiVersion", "kind", "name", "configFiles", "environment", "$patch"}
	configFileKeys = []string{"content", "mountPath", "$patch"}
)

// knownKeys reports the keys of a mapping for which Talos refuses the whole
// machine config: unknown ones, and those that are given twice.
func (x *extractor) knownKeys(n *yaml.Node, path string, known []string) {
	first := make(map[string]Pos)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind != yaml.ScalarNode || key.ShortTag() == "!!merge" {
			continue
		}
		at, dup := first[key.Value]
		switch {
		case dup:
			x.fail(nodePos(key), join(path, key.Value), "keep one of them", "is given twice; the first is at line %d", at.Line)
		case !slices.Contains(known, key.Value) && placeOf(key.Value) != "":
			x.fail(nodePos(key), join(path, key.Value), "it is a key of the config; indent it below content: |", "unknown key")
		case !slices.Contains(known, key.Value):
			x.unknownKey(key, path, known, false)
		}
		first[key.Value] = nodePos(key)
	}
}

// extension checks the one document of our name: what concerns us, and that
// Talos takes it. It returns nil where something is wrong.
func (x *extractor) extension(n *yaml.Node) *Embedded {
	x.knownKeys(n, "", extensionKeys)
	if v := child(n, "apiVersion"); v == nil {
		x.fail(nodePos(n), "apiVersion", "add apiVersion: v1alpha1", "is missing")
	} else if v.Value != "v1alpha1" {
		x.fail(nodePos(v), "apiVersion", "", "want v1alpha1, found %s", describe(v))
	}
	files := child(n, "configFiles")
	switch {
	case files == nil:
		x.fail(nodePos(n), "configFiles", "add an entry with mountPath: "+MountPath, "is missing")
		return nil
	case files.Kind != yaml.SequenceNode:
		x.wrongType(files, "configFiles", "a list", "")
		return nil
	}
	var found *yaml.Node
	at := ""
	for i, f := range files.Content {
		if f.Kind == yaml.MappingNode {
			x.knownKeys(f, index("configFiles", i), configFileKeys)
		} else if f.Kind != yaml.AliasNode {
			x.wrongType(f, index("configFiles", i), "a mapping with content and mountPath", "")
		}
		mount := child(f, "mountPath")
		if mount == nil || mount.Value != MountPath {
			continue
		}
		if found != nil {
			x.fail(nodePos(mount), index("configFiles", i)+".mountPath", "keep one of them", "%s is given twice", MountPath)
			continue
		}
		found, at = f, index("configFiles", i)
	}
	if found == nil {
		x.noMount(n, files)
		return nil
	}
	content := child(found, "content")
	at += ".content"
	switch {
	case content == nil:
		x.fail(nodePos(found), at, "add content: | and the config below it", "is missing")
	case content.Kind == yaml.MappingNode:
		x.fail(nodePos(content), at, `write "content: |": Talos wants a text here`, "want a text, found a mapping")
	case content.Kind != yaml.ScalarNode || content.ShortTag() != "!!str" && !isNull(content):
		x.wrongType(content, at, "a text", "")
	}
	if len(x.list) > 0 {
		return nil
	}
	if isNull(content) {
		x.fail(nodePos(content), at, "add the config below content: |", "is empty")
		return nil
	}
	return &Embedded{Data: []byte(content.Value), where: newPosMap(x.data, content)}
}

func (x *extractor) noMount(n, files *yaml.Node) {
	i := x.carries(n)
	if i < 0 {
		x.fail(nodePos(files), "configFiles", "add an entry with this mountPath", "no entry has mountPath %s", MountPath)
		return
	}
	x.wrong(files.Content[i], index("configFiles", i)+".mountPath", "mountPath", MountPath, "not be found there")
}

// wrong reports that a key of n is missing, or what would become of the config
// with the value that it has.
func (x *extractor) wrong(n *yaml.Node, path, key, want, would string) {
	v := child(n, key)
	if v == nil {
		x.fail(nodePos(n), path, "add "+key+": "+want, "is missing")
		return
	}
	x.fail(nodePos(v), path, "write "+key+": "+want, "want %s, found %s: the config would %s", want, describe(v), would)
}

// posMap translates positions in an embedded text to positions in its file. A
// nil posMap changes nothing.
type posMap struct {
	start Pos   // of the YAML node that holds the text
	segs  []seg // empty: no exact translation, everything is at start
}

// seg is a piece of the text that stands in one piece in the file.
type seg struct{ inner, outer Pos }

func (m *posMap) at(p Pos) Pos {
	if m == nil || p.Line == 0 {
		return p
	}
	// The last piece that begins at or before p.
	i := sort.Search(len(m.segs), func(i int) bool {
		in := m.segs[i].inner
		return in.Line > p.Line || in.Line == p.Line && in.Column > p.Column
	})
	if i == 0 {
		return m.start
	}
	s := m.segs[i-1]
	if s.inner.Line == p.Line {
		return Pos{Line: s.outer.Line, Column: s.outer.Column + p.Column - s.inner.Column}
	}
	return Pos{Line: s.outer.Line + p.Line - s.inner.Line, Column: p.Column} // a blank line
}

// note adds to e what the position cannot say.
func (m *posMap) note(e *Error, inner Pos) {
	if m != nil && len(m.segs) == 0 && inner.Line > 0 {
		e.Msg += fmt.Sprintf(" (line %d, column %d of the content)", inner.Line, inner.Column)
	}
}

// newPosMap finds the text of a block scalar in the raw source, line by line.
// The lines of the source, less their indentation, follow each other in the
// text, separated by line feeds or, when folded, by spaces.
func newPosMap(data []byte, content *yaml.Node) *posMap {
	m := &posMap{start: nodePos(content)}
	lines := splitLines([]byte(strings.TrimPrefix(string(data), string(utf8BOM))))
	if content.Style&(yaml.LiteralStyle|yaml.FoldedStyle) == 0 || content.Line > len(lines) {
		return m
	}
	header := []rune(lines[content.Line-1])
	if content.Column < 1 || content.Column > len(header) || header[content.Column-1] != '|' && header[content.Column-1] != '>' {
		return m
	}
	text := content.Value
	indent := -1
	var segs []seg
	inner := Pos{Line: 1, Column: 1}
	for i := content.Line; i < len(lines) && text != ""; i++ {
		line := lines[i]
		if strings.TrimLeft(line, " ") == "" {
			continue
		}
		if indent < 0 {
			if indent = blockIndent(line, text); indent < 0 {
				return m
			}
		}
		if len(line) < indent || strings.TrimLeft(line[:indent], " ") != "" {
			break // the end of the block; what is left of text must be blank
		}
		line = line[indent:]
		// Blanks alone stand between the lines; the first other character of the
		// line is the first other one of the text.
		blanks := len(text) - len(strings.TrimLeft(text, " \n")) - (len(line) - len(strings.TrimLeft(line, " ")))
		if blanks < 0 || !strings.HasPrefix(text[blanks:], line) {
			return m
		}
		for _, c := range text[:blanks] {
			if c == '\n' {
				inner = Pos{Line: inner.Line + 1, Column: 1}
			} else {
				inner.Column++
			}
		}
		text = text[blanks:]
		segs = append(segs, seg{inner: inner, outer: Pos{Line: i + 1, Column: indent + 1}})
		inner.Column += len([]rune(line))
		text = text[len(line):]
	}
	if strings.Trim(text, " \n") == "" {
		m.segs = segs
	}
	return m
}

// blockIndent compares the first line that is not blank with the text: what the
// line has more is the indentation of the block.
func blockIndent(line, text string) int {
	first, _, _ := strings.Cut(strings.TrimLeft(text, "\n"), "\n")
	bare := strings.TrimLeft(line, " ")
	own := len(first) - len(strings.TrimLeft(first, " "))
	if !strings.HasPrefix(strings.TrimLeft(first, " "), bare) {
		return -1
	}
	return len(line) - len(bare) - own
}
