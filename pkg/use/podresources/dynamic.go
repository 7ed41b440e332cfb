package podresources

import (
	"cmp"
	"slices"
	"strings"

	podresourcesv1 "k8s.io/kubelet/pkg/apis/podresources/v1"

	"github.com/talos-sriov/talos-sriov/pkg/pci"
)

// noDriver stands for the driver of a claim that does not name its own.
const noDriver = "dynamic-resources"

// claimed are the PCI functions that a driver of dynamic resources gave out with one
// result of a claim, and whose they are: the driver's name, which has no slash and so
// is the name of no resource of a device plugin.
func claimed(r *podresourcesv1.ClaimResource) (ids []string, driver string) {
	ids = addresses(r.GetDeviceName())
	for _, cdi := range r.GetCdiDevices() {
		ids = append(ids, addresses(cdi.GetName())...)
	}
	slices.Sort(ids)
	return slices.Compact(ids), cmp.Or(strings.ReplaceAll(r.GetDriverName(), "/", "."), noDriver)
}

// addresses are the PCI addresses in the name of a device, in order. The API names a
// device by a DNS label, so that drivers write the address with dashes:
//
//	0000-21-10-0                        dra-driver-sriov
//	pci-0000-21-10-0                    DRANET
//	0000-03-00-0-0x56c0                 Intel's drivers
//	VENDOR/CLASS=UID-0000-21-10-0       the CDI name of any of them
//
// Underscores, and the address as sysfs has it, are understood too. A UID is none: its
// parts have at least four digits.
func addresses(name string) []string {
	name = strings.ToLower(name)
	var out []string
	for i := 0; i < len(name); {
		if !hex(name[i]) {
			i++
			continue
		}
		if a, n := address(name[i:]); n > 0 {
			out = append(out, a)
			i += n
			continue
		}
		for i < len(name) && hex(name[i]) {
			i++
		}
	}
	return out
}

// tail is what follows the domain: a digit of what kind is where.
const tail = "-hh-hh.f"

// address reads one address at the start of s, and how long it is there; 0 for none.
func address(s string) (string, int) {
	domain := 0
	for domain < len(s) && hex(s[domain]) {
		domain++
	}
	end := domain + len(tail)
	if domain < 4 || domain > 8 || len(s) < end || (len(s) > end && alphanumeric(s[end])) {
		return "", 0
	}
	for i := range tail {
		if !fits(s[domain+i], tail[i]) {
			return "", 0
		}
	}
	a, ok := pci.Parse(s[:domain] + ":" + s[domain+1:domain+3] + ":" + s[domain+4:domain+6] + "." + s[end-1:end])
	if !ok {
		return "", 0
	}
	return a.String(), end
}

func fits(c, kind byte) bool {
	switch kind {
	case '-':
		return c == '-' || c == '_' || c == ':'
	case '.':
		return c == '-' || c == '_' || c == '.'
	}
	return hex(c)
}

func hex(c byte) bool { return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' }

func alphanumeric(c byte) bool { return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' }
