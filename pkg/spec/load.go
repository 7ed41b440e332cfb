package spec

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"reflect"
	"strings"

	"gopkg.in/yaml.v3"
)

// Load reads the bare document, as it is delivered to the node. source is the
// file's name for messages. The error is an [*Errors] with everything that is
// wrong, and then the Config is nil.
func Load(source string, data []byte) (*Config, error) {
	d := &decoder{spans: make(map[string]Pos)}
	return d.load(source, d.document(data))
}

// LoadFile reads what a person keeps: the bare document, or a machine-config
// patch that carries it. Positions, in errors and in the Config, are those of
// the file.
func LoadFile(source string, data []byte) (*Config, error) {
	emb, err := Extract(source, data)
	if err != nil {
		return nil, err
	}
	d := &decoder{spans: make(map[string]Pos), where: emb.where}
	if emb.Bare {
		return d.load(source, d.single(emb.docs, data)) // parsed already
	}
	return d.load(source, d.document(emb.Data))
}

// load judges a parsed document; n is nil when there is none to judge.
func (d *decoder) load(source string, n *yaml.Node) (*Config, error) {
	if n == nil || !d.identity(n) {
		return nil, d.err(source)
	}
	c := new(Config)
	d.value(n, reflect.ValueOf(c).Elem(), "", "")
	return d.judge(source, c)
}

// judge returns the config, or all that is wrong with it.
func (d *decoder) judge(source string, c *Config) (*Config, error) {
	validate(c, d)
	if err := d.err(source); err != nil {
		return nil, err
	}
	return c, nil
}

// document parses data and returns its one document, or nil with the reason
// recorded.
func (d *decoder) document(data []byte) *yaml.Node {
	docs, e := parse(data)
	if e != nil {
		d.fail(e.Pos, e.Path, e.Hint, "%s", e.Msg)
		return nil
	}
	return d.single(docs, data)
}

// single returns the one document of those that data has, or nil with the
// reason recorded.
func (d *decoder) single(docs []*yaml.Node, data []byte) *yaml.Node {
	if len(docs) == 0 {
		d.fail(Pos{Line: 1, Column: 1}, "", "the smallest one has apiVersion: "+APIVersion+" and kind: "+Kind, "the config is empty")
		return nil
	}
	if len(docs) > 1 {
		d.fail(nodePos(docs[1]), "", "join them into one", "a second document begins here; one is read")
		return nil
	}
	d.plainTags = plainTags(bytes.TrimPrefix(data, utf8BOM))
	d.checkTree(docs[0])
	return docs[0]
}

// identity checks apiVersion and kind before anything else, so that a file of
// another kind is not met with a list of its unknown keys.
func (d *decoder) identity(n *yaml.Node) bool {
	if n.Kind != yaml.MappingNode {
		d.wrongType(n, "", "a mapping with apiVersion and kind", "")
		return false
	}
	kind, version := child(n, "kind"), child(n, "apiVersion")
	switch {
	case kind == nil && child(n, "resourceList") != nil && version == nil:
		d.fail(nodePos(n), "kind", "put it below apiVersion: "+APIVersion+" and kind: "+Kind, "is missing; this looks like a configuration of the SR-IOV network device plugin")
		return false
	case kind == nil:
		d.fail(nodePos(n), "kind", "add kind: "+Kind, "is missing")
		return false
	case kind.Kind != yaml.ScalarNode || kind.Value != Kind:
		hint := ""
		switch {
		case kind.Value == ExtensionKind:
			hint = "this is the machine-config patch; the config is its configFiles[].content"
		case strings.EqualFold(kind.Value, Kind):
			hint = "mind upper and lower case"
		}
		d.fail(nodePos(kind), "kind", hint, "want %s, found %s", Kind, describe(kind))
		return false
	case version == nil:
		d.fail(nodePos(n), "apiVersion", "add apiVersion: "+APIVersion, "is missing")
		return false
	case version.Kind != yaml.ScalarNode || version.Value != APIVersion:
		d.fail(nodePos(version), "apiVersion", "this version reads "+APIVersion+" only", "want %s, found %s", APIVersion, describe(version))
		return false
	}
	return true
}

// child returns the value of a key, or nil.
func child(n *yaml.Node, key string) *yaml.Node {
	if n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if k := n.Content[i]; k.Kind == yaml.ScalarNode && k.Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// Hash identifies a document: SHA-256 of its bytes, in hex.
func Hash(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// String returns "line:column".
func (p Pos) String() string { return fmt.Sprintf("%d:%d", p.Line, p.Column) }
