package convert

import (
	"cmp"
	"encoding/json"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/talos-sriov/talos-sriov/pkg/network"
)

// sriovNetwork is the spec of a SriovNetwork or SriovIBNetwork.
type sriovNetwork struct {
	ResourceName     string `yaml:"resourceName"`
	NetworkNamespace string `yaml:"networkNamespace"`
	IPAM             string `yaml:"ipam"`
	MetaPlugins      string `yaml:"metaPlugins"`
	Capabilities     string `yaml:"capabilities"`
	VLAN             *int   `yaml:"vlan"`
	VLANQoS          int    `yaml:"vlanQoS"`
	VLANProto        string `yaml:"vlanProto"`
	SpoofCheck       string `yaml:"spoofChk"`
	Trust            string `yaml:"trust"`
	LinkState        string `yaml:"linkState"`
	MinTxRate        *int   `yaml:"minTxRate"`
	MaxTxRate        *int   `yaml:"maxTxRate"`
	LogLevel         string `yaml:"logLevel"`
	LogFile          string `yaml:"logFile"`

	Unknown map[string]any `yaml:",inline"`
}

func (c *converter) network(kind, name string, meta map[string]any, from any) error {
	id := kind + " " + name
	var s sriovNetwork
	if err := c.decode(from, &s, &s.Unknown, id); err != nil {
		return err
	}
	namespace, _ := meta["namespace"].(string)
	n := network.Network{
		Name: name, Namespace: cmp.Or(s.NetworkNamespace, namespace, "default"), Type: "sriov",
		ResourceName: c.o.ResourcePrefix + "/" + s.ResourceName,
		LinkState:    s.LinkState, LogLevel: s.LogLevel, LogFile: s.LogFile,
		SpoofCheck: c.onOff(id, "spoofChk", s.SpoofCheck), Trust: c.onOff(id, "trust", s.Trust),
	}
	if kind == "SriovIBNetwork" {
		n.Type = "ib-sriov"
	}
	// vlan 0 is what the operator writes for none.
	if s.VLAN != nil && *s.VLAN != 0 || s.VLANQoS != 0 {
		n.VLAN = &network.VLAN{ID: given(s.VLAN, 0), QoS: s.VLANQoS, Protocol: strings.ToLower(s.VLANProto)}
	}
	if s.MinTxRate != nil || s.MaxTxRate != nil {
		n.Rate = &network.Rate{Min: given(s.MinTxRate, 0), Max: given(s.MaxTxRate, 0)}
	}
	c.text(id, "ipam", s.IPAM, &n.IPAM)
	c.text(id, "capabilities", s.Capabilities, &n.Capabilities)
	if s.MetaPlugins != "" {
		// The operator pastes this into a JSON list, so it is one without brackets.
		c.text(id, "metaPlugins", "["+s.MetaPlugins+"]", &n.MetaPlugins)
	}
	if err := n.Check(); err != nil {
		c.find(id, "", "%v", strings.ReplaceAll(err.Error(), "\n", "; "))
		return nil
	}
	c.out.Networks = append(c.out.Networks, n)
	return nil
}

// given is the number, or what an absent one means.
func given(n *int, absent int) int {
	if n == nil {
		return absent
	}
	return *n
}

// onOff reads on and off; YAML readers make booleans of them, which the operator
// refuses too.
func (c *converter) onOff(id, field, s string) *bool {
	switch s {
	case "":
	case "on":
		return new(true)
	case "off":
		return new(false)
	default:
		c.find(id, field, "%q is neither \"on\" nor \"off\" (quote it), and is left out", s)
	}
	return nil
}

// text parses JSON that an object carries as text.
func (c *converter) text(id, field, s string, to any) {
	if strings.TrimSpace(s) == "" {
		return
	}
	if err := json.Unmarshal([]byte(s), to); err != nil {
		// Some write YAML there, which the operator breaks.
		if yaml.Unmarshal([]byte(s), to) != nil {
			c.find(id, field, "it is no JSON (%v), and is left out", err)
		}
	}
}
