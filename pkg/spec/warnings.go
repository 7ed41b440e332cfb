package spec

import (
	"fmt"
	"reflect"
	"sort"
	"strings"
)

var selectorType = reflect.TypeFor[Selector]()

// Warnings are things in a valid document that are probably not meant. They
// never keep it from being applied. Sorted by position. Of very many the first
// that are found are returned, and one without a position that says how many
// are left out.
func (c *Config) Warnings() []*Error {
	var out []*Error
	more := 0
	warn := func(p Pos, path, hint, format string, args ...any) {
		if len(out) == maxErrors {
			more++
			return
		}
		out = append(out, &Error{Pos: p, Path: path, Msg: fmt.Sprintf(format, args...), Hint: hint})
	}
	type use struct {
		pos    Pos
		path   string
		driver string
	}
	resources := make(map[string]use) // the first use of each resource
	envs := make(map[string]string)   // environment variable -> resource
	offer := func(name string, u use) {
		if name == "" {
			return
		}
		if first, found := resources[name]; !found {
			resources[name] = u
		} else if first.driver != u.driver && u.driver != "" && first.driver != "" {
			warn(u.pos, u.path, "a pod cannot tell which kind it will get; use two resources",
				"resource %s has VFs for %s here and for %s at line %d", name, u.driver, first.driver, first.pos.Line)
		}
		env := EnvName(name)
		if other, found := envs[env]; !found {
			envs[env] = name
		} else if other != name {
			warn(u.pos, u.path, "rename one of them", "resources %s and %s have the same environment variable %s in a pod that asks for both", other, name, env)
		}
	}
	for i := range c.PhysicalFunctions {
		pf := &c.PhysicalFunctions[i]
		at := index("physicalFunctions", i)
		groups, grouped := at+".virtualFunctions", 0
		for g := range pf.VirtualFunctions {
			vg := &pf.VirtualFunctions[g]
			path := index(groups, g)
			grouped += len(vg.Indexes)
			if pf.MTU != nil && vg.MTU != nil && *vg.MTU > *pf.MTU {
				warn(vg.Pos, path+".mtu", "raise the PF's mtu", "is %d, above the PF's %d; many drivers refuse that", *vg.MTU, *pf.MTU)
			}
			name := vg.ResourceName
			if name == "" {
				name = pf.ResourceName
			}
			if name == "" && (vg.VhostNet || vg.VDPA != "") {
				warn(vg.Pos, path, "add resourceName", "the group has no resourceName: no pod can ask for its VFs")
			}
			if vg.Driver == DriverNone {
				continue // offered to nobody
			}
			offer(name, use{vg.Pos, path, purpose(vg.Driver)})
		}
		if pf.NumVFs == nil || grouped < *pf.NumVFs {
			offer(pf.ResourceName, use{pf.Pos, at, purpose(DriverDefault)})
		}
	}
	for i := range c.ResourceList {
		r := &c.ResourceList[i]
		at := index("resourceList", i)
		offer(r.FullName(), use{r.Pos, at, ""})
		for k := range r.Selectors {
			s := &r.Selectors[k]
			path := index(at+".selectors", k)
			bare := *s
			bare.Pos = Pos{}
			if bare.empty() {
				warn(s.Pos, path, "narrow it by vendors, drivers or pfNames", "selects every device of type %s", r.DeviceType)
			}
			if len(s.LinkTypes) > 1 {
				warn(s.Pos, path+".linkTypes", "use two resources", "the resource mixes link types: %s", strings.Join(s.LinkTypes, ", "))
			}
		}
	}
	sort.SliceStable(out, func(i, j int) bool {
		a, b := out[i].Pos, out[j].Pos
		return a.Line < b.Line || a.Line == b.Line && a.Column < b.Column
	})
	if more > 0 {
		out = append(out, &Error{Msg: fmt.Sprintf("and %d more warnings", more)})
	}
	return out
}

func purpose(d Driver) string {
	if d.Userspace() {
		return string(d)
	}
	return "the kernel's own driver"
}

// empty reports whether the selector restricts nothing.
func (s *Selector) empty() bool {
	v := reflect.ValueOf(s).Elem()
	for i := range v.NumField() {
		f := v.Field(i)
		if f.Kind() == reflect.Slice && f.Len() > 0 || f.Kind() != reflect.Slice && !f.IsZero() {
			return false
		}
	}
	return true
}
