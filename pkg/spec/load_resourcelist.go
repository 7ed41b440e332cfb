package spec

import (
	"reflect"
	"strings"

	"gopkg.in/yaml.v3"
)

// resourceListDocument is a configuration file of the device plugin.
type resourceListDocument struct {
	ResourceList []Resource `yaml:"resourceList"`
}

// LoadResourceList reads a whole configuration of the SR-IOV network device
// plugin, {"resourceList": [...]}, in JSON or YAML, or a ConfigMap that carries
// one, and returns it as the config that says the same. Positions are those
// of data; the error is an [*Errors].
func LoadResourceList(source string, data []byte) (*Config, error) {
	d := &decoder{spans: make(map[string]Pos)}
	n := d.document(data)
	if n == nil {
		return nil, d.err(source)
	}
	if kind := child(n, "kind"); kind != nil && kind.Value == "ConfigMap" {
		content := d.configMap(n)
		if content == nil {
			return nil, d.err(source)
		}
		d.where = newPosMap(data, content)
		if n = d.document([]byte(content.Value)); n == nil {
			return nil, d.err(source)
		}
	}
	var doc resourceListDocument
	d.value(n, reflect.ValueOf(&doc).Elem(), "", "")
	if n.Kind == yaml.MappingNode && d.ok("resourceList") && !d.has("resourceList") && !d.meant["resourceList"] {
		d.fail(nodePos(n), "resourceList", "a configuration of the device plugin is {resourceList: [...]}", "is missing")
	}
	return d.judge(source, &Config{APIVersion: APIVersion, Kind: Kind, ResourceList: doc.ResourceList})
}

// configMap returns the one value of a ConfigMap's data that is a
// configuration of the device plugin.
func (d *decoder) configMap(n *yaml.Node) *yaml.Node {
	values := child(n, "data")
	if values == nil || values.Kind != yaml.MappingNode {
		d.fail(nodePos(n), "data", "", "is missing")
		return nil
	}
	var found []*yaml.Node
	var keys []string
	for i := 0; i+1 < len(values.Content); i += 2 {
		v := values.Content[i+1]
		if v.Kind != yaml.ScalarNode || !strings.Contains(strings.ToLower(v.Value), "resourcelist") {
			continue
		}
		found, keys = append(found, v), append(keys, short(values.Content[i].Value))
	}
	switch len(found) {
	case 0:
		d.fail(nodePos(values), "data", "", "no value holds a resourceList")
		return nil
	case 1:
		return found[0]
	}
	d.fail(nodePos(values), "data", "save the one for this node in a file of its own", "%d values hold a resourceList: %s", len(found), strings.Join(keys, ", "))
	return nil
}
