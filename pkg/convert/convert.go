package convert

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/talos-sriov/talos-sriov/pkg/network"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

// Options are what the objects do not say themselves.
type Options struct {
	// ResourcePrefix is the operator's RESOURCE_PREFIX; openshift.io when "".
	ResourcePrefix string
	// NodeLabels select the policies of one node, as their nodeSelector does.
	// nil takes all policies.
	NodeLabels map[string]string
	// PFs are a node's PFs. Policies are then merged on each of them, as the
	// operator does; without, on what the policies themselves name.
	PFs []PF
}

// PF is what a policy can select by.
type PF struct {
	Name, Address, Vendor, Device string
	AltNames                      []string
}

// Result is what came of the conversion.
type Result struct {
	// Config is nil when there was nothing for one.
	Config   *spec.Config
	Networks []network.Network
	Findings []Finding
}

// Finding is something that a person has to know.
type Finding struct {
	Object string `json:"object" yaml:"object"` // SriovNetworkNodePolicy policy-1
	Field  string `json:"field,omitempty" yaml:"field,omitempty"`
	Msg    string `json:"msg" yaml:"msg"`
}

func (f Finding) String() string {
	if f.Field == "" {
		return f.Object + ": " + f.Msg
	}
	return f.Object + ": " + f.Field + ": " + f.Msg
}

// Convert reads YAML or JSON: objects, lists of objects as `kubectl get -o yaml`
// prints them, any number of documents, or the device plugin's bare config.json.
func Convert(source string, data []byte, o Options) (*Result, error) {
	c := &converter{source: source, o: o, out: &Result{}}
	c.o.ResourcePrefix = cmp.Or(o.ResourcePrefix, "openshift.io")
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var doc map[string]any
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", source, err)
		}
		if err := c.object(doc); err != nil {
			return nil, err
		}
	}
	if !c.any {
		return nil, fmt.Errorf("%s: it has no SriovNetworkNodePolicy, SriovNetwork, SriovIBNetwork, and no device plugin configuration", source)
	}
	c.mergePolicies()
	if len(c.config.PhysicalFunctions) > 0 || len(c.config.ResourceList) > 0 {
		c.config.APIVersion, c.config.Kind = spec.APIVersion, spec.Kind
		c.out.Config = &c.config
	}
	return c.out, nil
}

type converter struct {
	source   string
	o        Options
	any      bool
	config   spec.Config
	policies []policy
	out      *Result
}

func (c *converter) find(object, field, format string, args ...any) {
	c.out.Findings = append(c.out.Findings, Finding{object, field, fmt.Sprintf(format, args...)})
}

// object takes one document or element of a list.
func (c *converter) object(doc map[string]any) error {
	if len(doc) == 0 {
		return nil
	}
	if _, ok := doc["resourceList"]; ok {
		text, err := json.Marshal(doc)
		if err != nil {
			return fmt.Errorf("%s: %w", c.source, err)
		}
		return c.resourceList(c.source, text)
	}
	kind, _ := doc["kind"].(string)
	if items, ok := doc["items"].([]any); ok && strings.HasSuffix(kind, "List") {
		c.any = true
		for _, item := range items {
			if m, ok := item.(map[string]any); ok {
				if err := c.object(m); err != nil {
					return err
				}
			}
		}
		return nil
	}
	return c.single(kind, doc)
}

// single takes one object.
func (c *converter) single(kind string, doc map[string]any) error {
	meta, _ := doc["metadata"].(map[string]any)
	name, _ := meta["name"].(string)
	id := kind + " " + name
	var err error
	switch kind {
	case "SriovNetworkNodePolicy":
		p := policy{name: name, id: id}
		err = c.decode(doc["spec"], &p, &p.Unknown, id)
		c.policies = append(c.policies, p)
	case "SriovNetwork", "SriovIBNetwork":
		err = c.network(kind, name, meta, doc["spec"])
	case "ConfigMap":
		err = c.configMap(id, doc["data"])
	case "OVSNetwork":
		c.find(id, "", "networks on Open vSwitch have no equivalent")
	case "SriovOperatorConfig", "SriovNetworkPoolConfig", "SriovNetworkNodeState":
		c.find(id, "", "not needed: there is no operator")
	default:
		c.find(id, "", "not an object that is converted")
		return nil
	}
	c.any = true
	return err
}

// configMap takes the device plugin's configurations in a ConfigMap.
func (c *converter) configMap(id string, data any) error {
	values, _ := data.(map[string]any)
	for _, key := range slices.Sorted(maps.Keys(values)) {
		text, _ := values[key].(string)
		if !strings.Contains(text, "resourceList") {
			c.find(id, "data."+key, "it is no device plugin configuration")
			continue
		}
		if len(values) > 1 {
			c.find(id, "data."+key, "the operator writes one entry for each node: all are taken; one config can serve unlike nodes")
		}
		if err := c.resourceList(id+" "+key, []byte(text)); err != nil {
			return err
		}
	}
	return nil
}

// decode fills v, which puts keys that it does not have in unknown: they are
// reported.
func (c *converter) decode(from, v any, unknown *map[string]any, id string) error {
	text, err := yaml.Marshal(from)
	if err == nil {
		err = yaml.Unmarshal(text, v)
	}
	if err != nil {
		return fmt.Errorf("%s: %s: %w", c.source, id, err)
	}
	for _, key := range slices.Sorted(maps.Keys(*unknown)) {
		c.find(id, "spec."+key, "not known, and left out")
	}
	return nil
}

// resourceList takes the device plugin's own configuration as it is.
func (c *converter) resourceList(id string, text []byte) error {
	c.any = true
	list, err := spec.LoadResourceList(id, text)
	if err != nil {
		return err
	}
	for _, r := range list.ResourceList {
		same := slices.ContainsFunc(c.config.ResourceList, func(have spec.Resource) bool {
			return have.ResourceName == r.ResourceName && have.ResourcePrefix == r.ResourcePrefix
		})
		if same {
			c.find(id, r.ResourceName, "there is a resource of that name already: this one is left out")
			continue
		}
		c.config.ResourceList = append(c.config.ResourceList, r)
	}
	return nil
}
