package spec

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/talos-sriov/talos-sriov/pkg/vfrules"
)

// Defaults of resourceList, as the device plugin has them.
const (
	DefaultResourcePrefix = "intel.com"
	DeviceTypeNet         = "netDevice"
	DeviceTypeAccelerator = "accelerator"
	DeviceTypeAux         = "auxNetDevice"
)

// EnvName is the environment variable that lists a container's devices of the
// resource (prefix/name). Dots become underscores, hyphens stay: that is what
// every consumer of the SR-IOV network device plugin computes, although a shell
// cannot name such a variable.
func EnvName(resource string) string {
	return strings.ToUpper("PCIDEVICE_" + strings.NewReplacer("/", "_", ".", "_").Replace(resource))
}

// FullName is prefix/name, with the default prefix where none is given.
func (r *Resource) FullName() string {
	return cmp.Or(r.ResourcePrefix, DefaultResourcePrefix) + "/" + r.ResourceName
}

// selectorKeysOfAll are the selectors that every device type has.
var selectorKeysOfAll = []string{"vendors", "devices", "drivers"}

// selectorKeys are the selectors of each device type, apart from
// selectorKeysOfAll. acpiIndexes works for accelerators
// because the device plugin documents it; there it is ignored.
var selectorKeys = map[string][]string{
	DeviceTypeNet: {"pciAddresses", "acpiIndexes", "pfNames", "rootDevices", "linkTypes", "ddpProfiles", "pKeys",
		"isRdma", "needVhostNet", "vdpaType"},
	DeviceTypeAccelerator: {"pciAddresses", "acpiIndexes"},
	DeviceTypeAux:         {"pfNames", "rootDevices", "linkTypes", "isRdma", "needVhostNet", "auxTypes"},
}

// resources sets the defaults of resourceList and checks it.
func (v *validator) resources() {
	first := make(map[string]string) // full name -> path
	for i := range v.c.ResourceList {
		r := &v.c.ResourceList[i]
		at := index("resourceList", i)
		if v.enough() {
			return
		}
		if !v.isMapping(at) {
			continue
		}
		if !v.has(at + ".resourceName") {
			v.missing(at, "resourceName", "add resourceName, without a prefix")
		}
		if r.ResourcePrefix == "" && !v.has(at+".resourcePrefix") {
			r.ResourcePrefix = DefaultResourcePrefix
		}
		if r.DeviceType == "" && !v.has(at+".deviceType") {
			r.DeviceType = DeviceTypeNet
		}
		v.selectors(r, at)
		if r.ResourceName == "" || r.ResourcePrefix == "" {
			continue
		}
		name, path := r.FullName(), at+".resourceName"
		if other, found := first[name]; found {
			v.complain(path, "join the two with a list of selectors", name+" is defined twice; the first is at "+v.line(other))
			continue
		}
		first[name] = path
	}
	v.resourceOfBoth(first)
}

// resourceOfBoth refuses a resource that both vocabularies define: which
// devices it has would depend on the order in which they are read.
func (v *validator) resourceOfBoth(list map[string]string) {
	if len(list) == 0 {
		return
	}
	check := func(name, path string) {
		if other, found := list[name]; found && name != "" {
			v.complain(other, "use another name in one of the places", name+" is the resource of VFs too, at "+v.line(path))
			delete(list, name)
		}
	}
	for i := range v.c.PhysicalFunctions {
		pf := &v.c.PhysicalFunctions[i]
		at := index("physicalFunctions", i)
		check(pf.ResourceName, at+".resourceName")
		for g := range pf.VirtualFunctions {
			check(pf.VirtualFunctions[g].ResourceName, index(at+".virtualFunctions", g)+".resourceName")
		}
	}
}

func (v *validator) selectors(r *Resource, at string) {
	path := at + ".selectors"
	if !v.has(path) {
		v.missing(at, "selectors", "say which devices are meant; selectors: {} takes every device of the type")
		return
	}
	if len(r.Selectors) == 0 {
		v.complain(path, "give at least one selector; {} takes every device of the type", "the list is empty")
		return
	}
	allowed, known := selectorKeys[r.DeviceType]
	for i := range r.Selectors {
		if v.enough() {
			return
		}
		s := &r.Selectors[i]
		sel := index(path, i)
		for _, key := range v.shape(selectorType).names {
			if !known || slices.Contains(allowed, key) || slices.Contains(selectorKeysOfAll, key) || !v.has(sel+"."+key) {
				continue
			}
			hint := "remove it"
			if types := typesWith(key); len(types) > 0 {
				hint = "remove it; it is for " + vfrules.OrList(types)
			}
			v.complain(sel+"."+key, hint, "has no meaning for deviceType "+r.DeviceType)
		}
		if s.IsRDMA && s.VDPAType != "" {
			v.complain(sel+".vdpaType", "remove one of the two, or use two selectors",
				fmt.Sprintf("vdpaType and isRdma (%s) are not supported together", v.line(sel+".isRdma")))
		}
		if r.DeviceType == DeviceTypeAux && len(s.AuxTypes) == 0 {
			if v.has(sel + ".auxTypes") {
				v.complain(sel+".auxTypes", "write auxTypes: [sf]", "the list is empty")
			} else if !v.badSelf(sel) {
				v.missing(sel, "auxTypes", "write auxTypes: [sf]; deviceType auxNetDevice needs it")
			}
		}
	}
}

func typesWith(key string) []string {
	var out []string
	for _, t := range []string{DeviceTypeNet, DeviceTypeAccelerator, DeviceTypeAux} {
		if slices.Contains(selectorKeys[t], key) {
			out = append(out, t)
		}
	}
	return out
}
