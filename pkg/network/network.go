package network

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/talos-sriov/talos-sriov/pkg/vfrules"
)

// Network describes one NetworkAttachmentDefinition. Names of keys are those of
// our document where it has the same thing.
type Network struct {
	Name      string `yaml:"name"`
	Namespace string `yaml:"namespace"` // default
	// ResourceName is the pool that the devices come from, prefix/name.
	ResourceName string `yaml:"resourceName"`
	// Type is the CNI plugin: sriov, ib-sriov or host-device.
	Type string `yaml:"type"`

	VLAN       *VLAN  `yaml:"vlan"`
	SpoofCheck *bool  `yaml:"spoofCheck"`
	Trust      *bool  `yaml:"trust"`
	LinkState  string `yaml:"linkState"` // auto | enable | disable
	Rate       *Rate  `yaml:"rate"`
	MTU        int    `yaml:"mtu"` // bytes
	RDMA       bool   `yaml:"rdma"`

	// IPAM, Capabilities and MetaPlugins go to the CNI as they are.
	IPAM         map[string]any   `yaml:"ipam"`
	Capabilities map[string]bool  `yaml:"capabilities"`
	MetaPlugins  []map[string]any `yaml:"metaPlugins"`

	LogLevel string `yaml:"logLevel"` // panic | error | warning | info | debug
	LogFile  string `yaml:"logFile"`
}

// VLAN is the tag that the PF adds and strips.
type VLAN struct {
	ID       int    `yaml:"id"`       // 0 to 4094
	QoS      int    `yaml:"qos"`      // 0 to 7
	Protocol string `yaml:"protocol"` // 802.1q | 802.1ad
}

// Rate is in Mbit/s, 0 for no limit.
type Rate struct {
	Min int `yaml:"min"`
	Max int `yaml:"max"`
}

// File is a file with networks.
type File struct {
	Networks []Network `yaml:"networks"`
}

// Load reads a description: `networks:` with a list. Every error is reported.
func Load(source string, data []byte) ([]Network, error) {
	var f File
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&f); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%s: the file is empty: want a list networks", source)
		}
		return nil, fmt.Errorf("%s: %w", source, err)
	}
	if err := dec.Decode(new(any)); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: it has more than one document", source)
	}
	if len(f.Networks) == 0 {
		return nil, fmt.Errorf("%s: it describes no network: networks: is empty", source)
	}
	var errs []error
	seen := make(map[string]bool)
	for i := range f.Networks {
		n := &f.Networks[i]
		n.Namespace = cmp.Or(n.Namespace, "default")
		n.Type = cmp.Or(n.Type, "sriov")
		if err := n.Check(); err != nil {
			errs = append(errs, fmt.Errorf("%s: networks[%d]: %w", source, i, err))
		}
		if seen[n.key()] {
			errs = append(errs, fmt.Errorf("%s: networks[%d]: a second network %s", source, i, n.key()))
		}
		seen[n.key()] = true
	}
	return f.Networks, errors.Join(errs...)
}

// key is how pods name the network.
func (n *Network) key() string { return n.Namespace + "/" + n.Name }

var (
	// A Kubernetes object's name (DNS-1123 subdomain).
	namePattern = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)
	// An extended resource, as the kubelet wants it.
	resourcePattern = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$`)
)

// Check reports everything in a network that the CNI plugin, Multus or
// Kubernetes would refuse, or silently take for something else.
func (n *Network) Check() error {
	var errs []error
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	bad(!namePattern.MatchString(n.Name) || len(n.Name) > 253, "name %q: lower-case letters, digits and '-' are allowed", n.Name)
	bad(!namePattern.MatchString(n.Namespace) || len(n.Namespace) > 63, "namespace %q: lower-case letters, digits and '-' are allowed", n.Namespace)
	bad(!resourcePattern.MatchString(n.ResourceName), "resourceName %q: want prefix/name, like nvidia.com/cx7", n.ResourceName)
	bad(!slices.Contains([]string{"sriov", "ib-sriov", "host-device"}, n.Type), "type %q: want sriov, ib-sriov or host-device", n.Type)
	broken := func(key string, list []vfrules.Problem) {
		for _, p := range list {
			at := key
			if p.Part != "" {
				at += "." + string(p.Part)
			}
			bad(p.Hint == "", "%s: %s", at, p.Text)
			bad(p.Hint != "", "%s: %s (%s)", at, p.Text, p.Hint)
		}
	}
	if v := n.VLAN; v != nil {
		broken("vlan", vfrules.VLAN(v.ID, v.QoS, v.Protocol))
	}
	if n.LinkState != "" {
		broken("linkState", vfrules.LinkState(n.LinkState))
	}
	if r := n.Rate; r != nil {
		broken("rate", vfrules.Rate(r.Min, r.Max))
	}
	if n.MTU != 0 {
		broken("mtu", vfrules.MTU(n.MTU))
	}
	bad(!slices.Contains([]string{"", "panic", "error", "warning", "info", "debug"}, n.LogLevel), "logLevel %q: want panic, error, warning, info or debug", n.LogLevel)
	if n.Type != "sriov" {
		for key, set := range map[string]bool{
			"vlan": n.VLAN != nil, "spoofCheck": n.SpoofCheck != nil, "trust": n.Trust != nil,
			"rate": n.Rate != nil, "mtu": n.MTU != 0, "rdma": n.RDMA,
			"linkState": n.LinkState != "" && n.Type == "host-device",
		} {
			bad(set, "%s: the plugin %s has no such setting", key, n.Type)
		}
	}
	for i, m := range n.MetaPlugins {
		typ, _ := m["type"].(string)
		bad(typ == "", "metaPlugins[%d]: it has no type", i)
	}
	// Map order must not decide the order of the messages.
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

// member is a key of a JSON object; objects keep the order that they are given.
type member struct {
	key   string
	value any
}

type object []member

// MarshalJSON writes the members in order.
func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		key, err := json.Marshal(m.key)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(m.value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.key, err)
		}
		b.Write(key)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

func onOff(v bool) string {
	if v {
		return "on"
	}
	return "off"
}

// plugin is the main plugin's configuration without cniVersion and name.
func (n *Network) plugin() object {
	o := object{{"type", n.Type}}
	add := func(is bool, key string, value any) {
		if is {
			o = append(o, member{key, value})
		}
	}
	if v := n.VLAN; v != nil {
		add(true, "vlan", v.ID)
		add(v.QoS != 0, "vlanQoS", v.QoS)
		add(v.Protocol != "", "vlanProto", v.Protocol)
	}
	if n.SpoofCheck != nil {
		add(true, "spoofchk", onOff(*n.SpoofCheck))
	}
	if n.Trust != nil {
		add(true, "trust", onOff(*n.Trust))
	}
	if r := n.Rate; r != nil {
		add(true, "min_tx_rate", r.Min)
		add(true, "max_tx_rate", r.Max)
	}
	add(len(n.Capabilities) > 0, "capabilities", n.Capabilities)
	add(n.LinkState != "", "link_state", n.LinkState)
	add(n.MTU != 0, "mtu", n.MTU)
	add(n.RDMA, "rdma", true)
	add(n.LogLevel != "", "logLevel", n.LogLevel)
	add(n.LogFile != "", "logFile", n.LogFile)
	ipam := n.IPAM
	if ipam == nil {
		ipam = map[string]any{}
	}
	add(true, "ipam", ipam)
	return o
}

// Config returns the CNI configuration: a flat one, or a list when there are
// meta plugins.
func (n *Network) Config() ([]byte, error) {
	head := object{{"cniVersion", "1.0.0"}, {"name", n.Name}}
	if len(n.MetaPlugins) == 0 {
		return json.Marshal(append(head, n.plugin()...))
	}
	plugins := []any{n.plugin()}
	for _, m := range n.MetaPlugins {
		plugins = append(plugins, m)
	}
	return json.Marshal(append(head, member{"plugins", plugins}))
}

// Manifest returns the NetworkAttachmentDefinition as YAML.
func (n *Network) Manifest() ([]byte, error) {
	config, err := n.Config()
	if err != nil {
		return nil, fmt.Errorf("network %s: %w", n.key(), err)
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, config, "", "  "); err != nil {
		return nil, fmt.Errorf("network %s: %w", n.key(), err)
	}
	pretty.WriteByte('\n')
	return encode(nad{
		APIVersion: "k8s.cni.cncf.io/v1", Kind: "NetworkAttachmentDefinition",
		Metadata: metadata{
			Name: n.Name, Namespace: n.Namespace,
			Annotations: map[string]string{"k8s.v1.cni.cncf.io/resourceName": n.ResourceName},
		},
		Spec: nadSpec{Config: pretty.String()},
	})
}

type nad struct {
	APIVersion string   `yaml:"apiVersion"`
	Kind       string   `yaml:"kind"`
	Metadata   metadata `yaml:"metadata"`
	Spec       nadSpec  `yaml:"spec"`
}

type metadata struct {
	Name        string            `yaml:"name"`
	Namespace   string            `yaml:"namespace,omitempty"`
	Annotations map[string]string `yaml:"annotations,omitempty"`
}

type nadSpec struct {
	Config string `yaml:"config"`
}

func encode(v any) ([]byte, error) {
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
