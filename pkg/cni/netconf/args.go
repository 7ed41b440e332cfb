package netconf

import (
	"cmp"
	"strings"

	"github.com/talos-sriov/talos-sriov/pkg/cni/fault"
)

// ParseArgs reads CNI_ARGS ("K=V;K=V") for the only key with a meaning here,
// MAC. Other keys are an error unless IgnoreUnknown is set; a pair without
// a key always is one.
func ParseArgs(args string) (mac string, err error) {
	hint := "keys are MAC and IgnoreUnknown (true or 1), separated by semicolons"
	ignore, unknown := false, ""
	for pair := range strings.SplitSeq(args, ";") {
		if pair == "" {
			continue
		}
		key, value, ok := strings.Cut(pair, "=")
		if !ok {
			return "", fault.Newf(fault.CodeBadArgs, hint, "CNI_ARGS: %q has no value", pair)
		}
		if key == "" {
			return "", fault.Newf(fault.CodeBadArgs, hint, "CNI_ARGS: %q has no key", pair)
		}
		switch key {
		case "MAC":
			if _, err := parseMAC(value); value != "" && err != nil {
				return "", fault.Wrapf(err, fault.CodeBadArgs, "MAC is a unicast Ethernet address, like 02:00:00:00:00:01", "CNI_ARGS")
			}
			mac = value
		case "GUID":
			if value != "" {
				return "", fault.Newf(fault.CodeBadArgs, guidHint, "CNI_ARGS: GUID is %q, and this plugin sets none", value)
			}
		case "IgnoreUnknown":
			switch strings.ToLower(value) {
			case "1", "true":
				ignore = true
			case "0", "false":
			default:
				return "", fault.Newf(fault.CodeBadArgs, hint, "CNI_ARGS: IgnoreUnknown is %q", value)
			}
		default:
			unknown = key
		}
	}
	if unknown != "" && !ignore {
		return "", fault.Newf(fault.CodeBadArgs, hint, "CNI_ARGS: unknown key %q", unknown)
	}
	return mac, nil
}

// WithMAC is the configuration with the MAC that the pod is to have, "" when none
// was asked for: the runtime's before CNI_ARGS' before the configuration's.
func (c *NetConf) WithMAC(argsMAC string) *NetConf {
	out := *c
	out.MAC = strings.ToLower(cmp.Or(c.Runtime.MAC, argsMAC, c.MAC))
	return &out
}
