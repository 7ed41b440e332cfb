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

	"github.com/talos-sriov/talos-sriov/pkg/spec"
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

// VLAN is the tag that the PF adds and strips, Rate its limit: as in the config of
// a node.
type (
	VLAN = spec.VLAN
	Rate = spec.Rate
)

// Load reads a description: `networks:` with a list. Every error is reported.
func Load(source string, data []byte) ([]Network, error) {
	var f struct {
		Networks []Network `yaml:"networks"`
	}
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

// plugin is the configuration of a CNI plugin, whose keys are in this order.
type plugin struct {
	head
	Type         string          `json:"type"`
	VLAN         *int            `json:"vlan,omitempty"`
	VLANQoS      int             `json:"vlanQoS,omitempty"`
	VLANProto    string          `json:"vlanProto,omitempty"`
	SpoofCheck   string          `json:"spoofchk,omitempty"`
	Trust        string          `json:"trust,omitempty"`
	MinTxRate    *int            `json:"min_tx_rate,omitempty"`
	MaxTxRate    *int            `json:"max_tx_rate,omitempty"`
	Capabilities map[string]bool `json:"capabilities,omitempty"`
	LinkState    string          `json:"link_state,omitempty"`
	MTU          int             `json:"mtu,omitempty"`
	RDMA         bool            `json:"rdma,omitempty"`
	LogLevel     string          `json:"logLevel,omitempty"`
	LogFile      string          `json:"logFile,omitempty"`
	IPAM         map[string]any  `json:"ipam"`
}

// head is what a configuration begins with, and a plugin in a list does not.
type head struct {
	CNIVersion string `json:"cniVersion,omitempty"`
	Name       string `json:"name,omitempty"`
}

func onOff(v *bool) string {
	switch {
	case v == nil:
		return ""
	case *v:
		return "on"
	}
	return "off"
}

// plugin is the main plugin's configuration without what stands at its head.
func (n *Network) plugin() plugin {
	p := plugin{
		Type: n.Type, SpoofCheck: onOff(n.SpoofCheck), Trust: onOff(n.Trust), Capabilities: n.Capabilities,
		LinkState: n.LinkState, MTU: n.MTU, RDMA: n.RDMA, LogLevel: n.LogLevel, LogFile: n.LogFile, IPAM: n.IPAM,
	}
	if v := n.VLAN; v != nil {
		p.VLAN, p.VLANQoS, p.VLANProto = &v.ID, v.QoS, v.Protocol
	}
	if r := n.Rate; r != nil {
		p.MinTxRate, p.MaxTxRate = &r.Min, &r.Max
	}
	if p.IPAM == nil {
		p.IPAM = map[string]any{}
	}
	return p
}

// Config returns the CNI configuration: a flat one, or a list when there are
// meta plugins.
func (n *Network) Config() ([]byte, error) {
	begin, first := head{"1.0.0", n.Name}, n.plugin()
	if len(n.MetaPlugins) == 0 {
		first.head = begin
		return json.Marshal(first)
	}
	plugins := []any{first}
	for _, m := range n.MetaPlugins {
		plugins = append(plugins, m)
	}
	return json.Marshal(struct {
		head
		Plugins []any `json:"plugins"`
	}{begin, plugins})
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
	return manifest("k8s.cni.cncf.io/v1", "NetworkAttachmentDefinition", metadata{
		Name: n.Name, Namespace: n.Namespace,
		Annotations: map[string]string{"k8s.v1.cni.cncf.io/resourceName": n.ResourceName},
	}, map[string]string{"config": pretty.String()})
}

type metadata struct {
	Name        string            `yaml:"name"`
	Namespace   string            `yaml:"namespace,omitempty"`
	Annotations map[string]string `yaml:"annotations,omitempty"`
}

// manifest renders an object of Kubernetes.
func manifest(api, kind string, meta metadata, content any) ([]byte, error) {
	return spec.YAML(map[string]any{"apiVersion": api, "kind": kind, "metadata": meta, "spec": content})
}
