package spec

import (
	"fmt"
	"net"
	"path"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"github.com/talos-sriov/talos-sriov/pkg/pci"
)

// format checks one string of the config, and returns it in the one form in
// which the rest of the program compares it. msg is empty when it is right.
type format struct {
	check func(s string) (norm, msg, hint string)
	// unquoted matches plain YAML numbers that are taken as they are written.
	unquoted *regexp.Regexp
}

// formats are the values of the struct tag format.
var formats = map[string]format{
	"ifname":         {check: checkIfname},
	"pci":            {check: checkPCI},
	"hexid":          {check: checkHexID, unquoted: hexID},
	"driver":         {check: checkDriver},
	"mac":            {check: checkMAC},
	"resource":       {check: checkResource},
	"resourceName":   {check: checkPluginName},
	"resourcePrefix": {check: checkPrefix},
	"acpiIndex":      {check: checkACPIIndex},
	"pfName":         {check: checkPFName},
	"rootDevice":     {check: checkRootDevice},
	"pkey":           {check: checkPKey},
	"text":           {check: checkNotEmpty},
	"order":          {check: checkOrder, unquoted: plainOrder},
	"absPath":        {check: checkAbsPath},
	"listen":         {check: checkListen},
}

var (
	hexID      = regexp.MustCompile(`^[0-9a-fA-F]{4}$`)
	driverName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]*$`)
	dnsName    = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)
	namePart   = regexp.MustCompile(`^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$`)
	pluginName = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	plainOrder = regexp.MustCompile(`^[0-9][-0-9T:.Z]*$`) // a number, a date
	pkeyText   = regexp.MustCompile(`^0[xX][0-9a-fA-F]{1,4}$`)
)

func checkNotEmpty(s string) (string, string, string) {
	if s == "" {
		return "", "is empty", "give it a value, or remove it"
	}
	return s, "", ""
}

// checkOrder accepts any short text: it is compared, never read.
func checkOrder(s string) (string, string, string) {
	switch {
	case s == "":
		return "", "is empty", "give it a text that was not used for this PF before, a date for example, or remove it"
	case len(s) > 64:
		return "", fmt.Sprintf("has %d bytes, at most 64 are allowed", len(s)), "any short text will do, a date for example"
	}
	return s, "", ""
}

// checkIfname accepts a name or altname of a netdev, or a glob for one. The
// kernel allows 15 bytes for a name and 127 for an altname (IFNAMSIZ,
// ALTIFNAMSIZ).
func checkIfname(s string) (string, string, string) {
	switch {
	case s == "":
		return "", "is empty", "give an interface name, an altname or a glob"
	case strings.Contains(s, "#"):
		return "", fmt.Sprintf("%s: ranges of VFs are not part of a name", quote(s)), "name the PF here, and the VFs in virtualFunctions[].indexes"
	}
	if msg, hint := noIfname(s); msg != "" {
		return "", msg, hint
	}
	if _, err := path.Match(s, ""); err != nil {
		return "", fmt.Sprintf("%s is not a valid glob", quote(s)), `"[" needs its "]", and a backslash needs a character after it`
	}
	return s, "", ""
}

// noIfname says why no interface has this name: blanks, "/", ":", "." and ".."
// (net/core/dev.c, dev_valid_name), and more than an altname can have.
func noIfname(s string) (msg, hint string) {
	switch {
	case strings.ContainsFunc(s, unicode.IsSpace), strings.ContainsAny(s, "/:"), s == ".", s == "..":
		return fmt.Sprintf("%s cannot be an interface name", quote(s)), `a name has no space, no slash and no colon, and is not "." or ".."`
	case len(s) > 127:
		return fmt.Sprintf("%s cannot be an interface name: %d bytes", quote(s), len(s)), "the kernel allows at most 15 bytes for a name and 127 for an altname"
	}
	return "", ""
}

// IsGlob reports whether a name of match.names is a pattern and not the name of
// one interface.
func IsGlob(s string) bool { return strings.ContainsAny(s, `*?[\`) }

func checkPCI(s string) (string, string, string) {
	low := strings.ToLower(s)
	if pci.Valid(low) {
		return low, "", ""
	}
	hint := `write domain:bus:device.function in hex, such as "0000:01:00.0"`
	if full := "0000:" + low; pci.Valid(full) {
		hint = fmt.Sprintf(`write the domain too: %q`, full)
	}
	return "", fmt.Sprintf("%s is not a PCI address", quote(s)), hint
}

func checkHexID(s string) (string, string, string) {
	if hexID.MatchString(s) {
		return strings.ToLower(s), "", ""
	}
	hint := `write four hex digits in quotes, such as "15b3"`
	if rest := strings.TrimPrefix(strings.ToLower(s), "0x"); len(rest) < len(s) && hexID.MatchString(rest) {
		hint = fmt.Sprintf(`leave out the 0x: "%s"`, rest)
	}
	return "", fmt.Sprintf("%s is not a PCI id", quote(s)), hint
}

func checkDriver(s string) (string, string, string) {
	if driverName.MatchString(s) && len(s) < 64 {
		return s, "", ""
	}
	return "", fmt.Sprintf("%s cannot be a driver name", quote(s)), "write it as /sys/bus/pci/drivers has it, such as mlx5_core"
}

func checkMAC(s string) (string, string, string) {
	if a := parseHardwareAddr(s, 6); a != nil {
		return a.String(), "", ""
	}
	return "", fmt.Sprintf("want a MAC address, found %s", quote(s)), "write 6 pairs of hex digits with colons"
}

// checkResource accepts what the kubelet accepts from a device plugin: an
// extended resource name (k8s.io/kubernetes pkg/apis/core/helper,
// IsExtendedResourceName).
func checkResource(s string) (string, string, string) {
	const hint = `write it as prefix/name, such as "nvidia.com/cx7_qsfp"`
	prefix, name, found := strings.Cut(s, "/")
	switch {
	case s == "":
		return "", "is empty", hint
	case !found:
		return "", fmt.Sprintf("%s has no prefix", quote(s)), fmt.Sprintf(`write prefix/name, such as "example.com/%s"`, short(s))
	case strings.Contains(name, "/"):
		return "", fmt.Sprintf("%s has more than one slash", quote(s)), hint
	}
	if _, msg, hint := checkPrefix(prefix); msg != "" {
		return "", msg, hint
	}
	if msg, hint := checkName(name); msg != "" {
		return "", msg, hint
	}
	return s, "", ""
}

func checkName(s string) (msg, hint string) {
	switch {
	case s == "":
		return "the resource name is empty", `write it as prefix/name, such as "nvidia.com/cx7_qsfp"`
	case len(s) > 63:
		return fmt.Sprintf("the name part of a resource has %d characters; the kubelet allows 63", len(s)), "shorten it"
	case !namePart.MatchString(s):
		return fmt.Sprintf("the kubelet refuses the resource name %s", quote(s)), `use letters, digits, "-", "_" and ".", with a letter or digit at both ends`
	}
	return "", ""
}

// checkPrefix checks the part before the slash. The kubelet builds the name of
// the quota from it, "requests." + prefix, which must still be a DNS name; so 9
// of the 253 characters are taken.
func checkPrefix(s string) (string, string, string) {
	const limit = 253 - len("requests.")
	switch {
	case s == "":
		return "", "the resource prefix is empty", `use a domain that you own, such as "example.com"`
	case len(s) > limit:
		return "", fmt.Sprintf("the resource prefix has %d characters; the kubelet allows %d", len(s), limit), "shorten it"
	case strings.HasSuffix(s, "kubernetes.io"):
		return "", fmt.Sprintf("the resource prefix %s is reserved for Kubernetes", quote(s)), `use a domain that you own, such as "example.com"`
	case strings.HasPrefix(s, "requests."):
		return "", fmt.Sprintf(`the resource prefix %s begins with "requests.", which the kubelet refuses`, quote(s)), "use another prefix"
	}
	if !dnsName.MatchString(s) {
		hint := `use lower-case letters, digits, "-" and ".", as in a domain name`
		if low := strings.ToLower(s); low != s && dnsName.MatchString(low) {
			hint = fmt.Sprintf("write it in lower case: %q", low)
		}
		return "", fmt.Sprintf("the resource prefix %s is not a DNS name", quote(s)), hint
	}
	return s, "", ""
}

// checkPluginName is resourceName of resourceList: the device plugin's rule (no
// dots, no prefix), and the kubelet's, which that plugin leaves to the kubelet.
func checkPluginName(s string) (string, string, string) {
	if prefix, name, found := strings.Cut(s, "/"); found {
		return "", fmt.Sprintf("%s has a prefix", quote(s)), fmt.Sprintf("write resourcePrefix: %s and resourceName: %s", short(prefix), short(name))
	}
	if msg, hint := checkName(s); msg != "" {
		if s == "" {
			hint = `give it a name, such as "intel_sriov_netdevice"`
		}
		return "", msg, hint
	}
	if !pluginName.MatchString(s) {
		return "", fmt.Sprintf("the device plugin's configuration does not allow the resource name %s", quote(s)), `use letters, digits, "-" and "_"`
	}
	return s, "", ""
}

func checkACPIIndex(s string) (string, string, string) {
	if n, err := strconv.ParseUint(s, 10, 32); err == nil && strconv.FormatUint(n, 10) == s {
		return s, "", ""
	}
	return "", fmt.Sprintf("%s is not an ACPI index", quote(s)), "write the decimal number that the device's acpi_index in sysfs shows"
}

func checkPFName(s string) (string, string, string) {
	r, err := ParseRanges(s)
	if err != nil {
		return "", fmt.Sprintf("%s: %v", quote(s), err), `write the PF's interface name, and after "#" the indexes, such as "ens1f0#0-3,6"`
	}
	if msg, hint := noIfname(r.Name); msg != "" {
		return "", msg, hint
	}
	return s, "", ""
}

func checkRootDevice(s string) (string, string, string) {
	const hint = `write the PF's PCI address, and after "#" the indexes, such as "0000:01:00.0#0-3,6"`
	r, err := ParseRanges(s)
	if err != nil {
		return "", fmt.Sprintf("%s: %v", quote(s), err), hint
	}
	norm, msg, h := checkPCI(r.Name)
	if msg != "" {
		return "", msg, h
	}
	return norm + s[len(r.Name):], "", ""
}

// checkPKey normalises to what sysfs shows, 0x%04x.
func checkPKey(s string) (string, string, string) {
	n, err := strconv.ParseUint(s, 0, 16)
	if err != nil || !pkeyText.MatchString(s) {
		return "", fmt.Sprintf("%s is not a partition key", quote(s)), `write 0x and up to four hex digits in quotes, such as "0x8001"`
	}
	return fmt.Sprintf("0x%04x", n), "", ""
}

func checkAbsPath(s string) (string, string, string) {
	if !path.IsAbs(s) || path.Clean(s) != s || s == "/" {
		return "", fmt.Sprintf("%s is not an absolute path of a directory", quote(s)), "write it from the root on, without . and .. and without a slash at the end"
	}
	return s, "", ""
}

func checkListen(s string) (string, string, string) {
	const hint = `write address:port, such as "127.0.0.1:9808"; ":9808" listens on every address`
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return "", fmt.Sprintf("%s is not an address to listen on", quote(s)), hint
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", fmt.Sprintf("%s is not a port", quote(port)), "a port is a number from 1 to 65535"
	}
	if host != "" && net.ParseIP(host) == nil {
		return "", fmt.Sprintf("%s is not an IP address", quote(host)), hint
	}
	return s, "", ""
}
