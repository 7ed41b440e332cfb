package netconf

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/talos-sriov/talos-sriov/pkg/cni/fault"
	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
	"github.com/talos-sriov/talos-sriov/pkg/vfrules"
)

// NetConf is the network configuration on stdin, and the head of the cache
// file (package attachment): sriov-cni keeps its configuration there, and both
// must be able to read what the other wrote. Keys are matched without regard to case, unknown ones
// are let pass: Multus and the runtime add their own.
type NetConf struct {
	CNIVersion   string          `json:"cniVersion,omitempty"`
	Name         string          `json:"name,omitempty"`
	Type         string          `json:"type,omitempty"`
	Capabilities map[string]bool `json:"capabilities,omitempty"`
	IPAM         types.IPAM      `json:"ipam"`
	DNS          *types.DNS      `json:"dns,omitempty"`

	MAC string // any form that net.ParseMAC reads
	// MTU in bytes; sriov-cni writes what it saw and honours nothing.
	MTU       *int    `json:",omitempty"`
	VLAN      *int    `json:"vlan"`        // nil: leave as it is; 0 removes the tag
	VLANQoS   *int    `json:"vlanQoS"`     // 0 to 7
	VLANProto *string `json:"vlanProto"`   // 802.1q | 802.1ad
	DeviceID  string  `json:"deviceID"`    // PCI address of the VF
	MinTxRate *int    `json:"min_tx_rate"` // Mbit/s
	MaxTxRate *int    `json:"max_tx_rate"` // Mbit/s, 0 is no limit
	SpoofChk  string  `json:"spoofchk,omitempty"`
	Trust     string  `json:"trust,omitempty"`
	LinkState string  `json:"link_state,omitempty"`
	Runtime   Runtime `json:"runtimeConfig,omitzero"`
	LogLevel  string  `json:"logLevel,omitempty"`
	LogFile   string  `json:"logFile,omitempty"`

	// RDMA moves the VF's RDMA device with it. An addition to sriov-cni's keys.
	RDMA bool `json:"rdma,omitempty"`
	// Trunk, VLANTrunk and VLANTrunkIDs are keys of other plugins and of changes
	// that were proposed for sriov-cni. They are refused: see checkTrunk.
	Trunk        json.RawMessage `json:"trunk,omitempty"`
	VLANTrunk    json.RawMessage `json:"vlanTrunk,omitempty"`
	VLANTrunkIDs json.RawMessage `json:"vlan_trunk,omitempty"`
	// Prev is the result of the plugin before in a chain, or of ADD at CHECK.
	Prev json.RawMessage `json:"prevResult,omitempty"`
	// Valid is what GC is to keep.
	Valid []types.GCAttachment `json:"cni.dev/valid-attachments,omitempty"`
}

// Runtime is what the runtime gives to the capabilities that were declared.
type Runtime struct {
	MAC string `json:"mac,omitempty"`
	// GUID is refused: see check.
	GUID string `json:"infinibandGUID,omitempty"`
}

// guidHint: a VF learns its GUID from the PF when its driver is bound, and never
// again, so a GUID for each pod would mean to take the driver away at each ADD.
// sriovd sets them once, before the first pod.
const guidHint = "a VF's GUIDs are set when it is made: guids in the VF group of the SR-IOV config"

// Values of vlanProto.
const Proto8021Q, Proto8021AD = vfrules.Dot1Q, vfrules.Dot1AD

// Parse decodes and validates a network configuration as ADD needs it. It
// touches nothing.
func Parse(stdin []byte) (*NetConf, error) {
	c, err := Decode(stdin)
	if err != nil {
		return nil, err
	}
	if err := c.checkDevice(); err != nil {
		return nil, err
	}
	return c, c.check()
}

// Decode only decodes; DEL and GC must not fail over a value that ADD would
// refuse.
func Decode(stdin []byte) (*NetConf, error) {
	var c NetConf
	err := json.Unmarshal(stdin, &c)
	if typ, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return nil, fault.Newf(types.ErrInvalidNetworkConfig, "see docs/networks.md for the keys and their types",
			"network configuration: %s", wrongType(typ))
	}
	if err != nil {
		return nil, fault.Wrapf(err, types.ErrDecodingFailure,
			"the network configuration (spec.config of the NetworkAttachmentDefinition) must be one JSON object",
			"network configuration is not JSON")
	}
	return &c, nil
}

func wrongType(e *json.UnmarshalTypeError) string {
	key := "it"
	if e.Field != "" {
		key = strconv.Quote(e.Field)
	}
	return fmt.Sprintf("%s is a %s, must be %s", key, e.Value, typeName(e.Type.String()))
}

func typeName(goType string) string {
	switch {
	case goType == "int":
		return "a whole number"
	case goType == "string":
		return "a string"
	case goType == "bool":
		return "true or false"
	case strings.HasPrefix(goType, "[]"):
		return "a list"
	}
	return "an object"
}

// checkDevice settles deviceID. Without one the pod did not get a device: the
// commonest mistake there is, and not one that the plugin's reader can see.
func (c *NetConf) checkDevice() error {
	if c.DeviceID == "" {
		return fault.Newf(fault.CodeNoDevice,
			"the NetworkAttachmentDefinition needs the annotation k8s.v1.cni.cncf.io/resourceName with the name of the pool, "+
				"and a container of the pod must request that resource (limits), once for each of its networks of that pool; "+
				"Multus then passes deviceID by itself",
			"network %q: no deviceID: no VF was handed to this pod for this network", c.Name)
	}
	id := strings.ToLower(c.DeviceID)
	if !sysfs.IsPCIAddress(id) && sysfs.IsPCIAddress("0000:"+id) {
		id = "0000:" + id
	}
	if !sysfs.IsPCIAddress(id) {
		return fault.Newf(fault.CodeBadDevice, "deviceID is the PCI address of a VF, like 0000:21:10.0; with Multus leave it out and use resourceName",
			"network %q: deviceID %q is no PCI address", c.Name, c.DeviceID)
	}
	c.DeviceID = id
	return nil
}

// check validates the values and sets the defaults that depend on others.
func (c *NetConf) check() error {
	bad := func(hint, format string, args ...any) error {
		return fault.Newf(types.ErrInvalidNetworkConfig, hint, "network %q: %s", c.Name, fmt.Sprintf(format, args...))
	}
	if err := cmp.Or(c.checkVLAN(bad), c.checkTrunk(bad)); err != nil {
		return err
	}
	for _, s := range []struct{ key, value string }{{"spoofchk", c.SpoofChk}, {"trust", c.Trust}} {
		if !slices.Contains([]string{"", "on", "off"}, s.value) {
			return bad(`"on" or "off"; leave the key out to leave the VF as it is`, "%s is %q", s.key, s.value)
		}
	}
	if c.LinkState != "" {
		if err := broken(bad, "link_state", vfrules.LinkState(c.LinkState)); err != nil {
			return err
		}
	}
	if err := broken(bad, "", vfrules.Rate(Number(c.MinTxRate), Number(c.MaxTxRate))); err != nil {
		return err
	}
	if c.MTU != nil {
		if err := broken(bad, "mtu", vfrules.MTU(*c.MTU)); err != nil {
			return err
		}
	}
	for _, m := range []struct{ key, value string }{{"mac", c.MAC}, {"runtimeConfig.mac", c.Runtime.MAC}} {
		if _, err := parseMAC(m.value); m.value != "" && err != nil {
			return bad("a unicast Ethernet address, like 02:00:00:00:00:01", "%s: %v", m.key, err)
		}
	}
	if c.Runtime.GUID != "" {
		return bad(guidHint, "infinibandGUID is %q, and this plugin sets none", c.Runtime.GUID)
	}
	if strings.ContainsRune(c.IPAM.Type, '/') {
		return bad("the name of a program in the CNI directory, like host-local", "ipam.type is %q", c.IPAM.Type)
	}
	return nil
}

func (c *NetConf) checkVLAN(bad func(hint, format string, args ...any) error) error {
	if c.VLAN == nil {
		switch {
		case Number(c.VLANQoS) != 0:
			return bad("set vlan as well; a priority needs a tag", "vlanQoS is set without vlan")
		case c.VLANQoS != nil:
			return bad("set vlan, or leave vlanQoS out", "vlanQoS is set without vlan")
		case c.VLANProto != nil:
			return bad("set vlan, or leave vlanProto out", "vlanProto is set without vlan")
		}
		return nil
	}
	if c.VLANQoS == nil {
		c.VLANQoS = new(int)
	}
	proto := Proto8021Q
	if c.VLANProto != nil {
		proto = strings.ToLower(*c.VLANProto)
	}
	if err := broken(bad, "", vfrules.VLAN(*c.VLAN, *c.VLANQoS, proto)); err != nil {
		return err
	}
	c.VLANProto = &proto
	return nil
}

// keys are the configuration's names of what the rules know by parts.
var keys = map[vfrules.Part]string{
	vfrules.ID: "vlan", vfrules.QoS: "vlanQoS", vfrules.Protocol: "vlanProto",
	vfrules.Min: "min_tx_rate", vfrules.Max: "max_tx_rate",
}

// broken is the error for the first rule that a value breaks, nil when there is
// none. key is that of a value without parts.
func broken(bad func(hint, format string, args ...any) error, key string, list []vfrules.Problem) error {
	if len(list) == 0 {
		return nil
	}
	p := list[0]
	return bad(cmp.Or(p.Hint, "see docs/networks.md for the keys and their values"), "%s: %s", cmp.Or(keys[p.Part], key), p.Text)
}

// checkTrunk refuses lists of VLANs: mainline Linux has no interface by which a
// PF could let a VF have some tags and not others (only some vendors'
// own drivers have, and Talos does not ship those).
func (c *NetConf) checkTrunk(bad func(hint, format string, args ...any) error) error {
	for _, k := range []struct {
		key   string
		value json.RawMessage
	}{{"trunk", c.Trunk}, {"vlanTrunk", c.VLANTrunk}, {"vlan_trunk", c.VLANTrunkIDs}} {
		if len(k.value) > 0 && string(k.value) != "null" {
			return bad("leave it and vlan out: a VF without vlan gets every tag that its driver asks for, and the pod makes its VLAN interfaces itself",
				"%s: the kernel has no way to restrict a VF to a list of VLANs", k.key)
		}
	}
	return nil
}

// CheckInfiniBand refuses what only an Ethernet VF has.
func (c *NetConf) CheckInfiniBand() error {
	for _, k := range []struct {
		key string
		set bool
	}{
		{"mac", c.MAC != ""}, {"vlan", c.VLAN != nil}, {"spoofchk", c.SpoofChk != ""}, {"trust", c.Trust != ""},
		{"min_tx_rate", c.MinTxRate != nil}, {"max_tx_rate", c.MaxTxRate != nil},
	} {
		if k.set {
			return fault.Newf(types.ErrInvalidNetworkConfig, "leave it out; on InfiniBand link_state, mtu, rdma and ipam have a meaning, and GUIDs are set by the SR-IOV config",
				"network %q: %s is for Ethernet, and VF %s is InfiniBand", c.Name, k.key, c.DeviceID)
		}
	}
	return nil
}

// parseMAC reads a unicast Ethernet address.
func parseMAC(s string) (net.HardwareAddr, error) {
	mac, err := net.ParseMAC(s)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%q is no MAC address", s)
	case len(mac) != 6:
		return nil, fmt.Errorf("%q has %d bytes, not 6", s, len(mac))
	}
	if broken := vfrules.Address(mac); len(broken) > 0 {
		return nil, errors.New(broken[0].Text)
	}
	return mac, nil
}

// Number is what an optional number counts as.
func Number(p *int) int {
	if p == nil {
		return 0
	}
	return *p
}
