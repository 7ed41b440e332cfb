package spec

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

var selectorType = reflect.TypeFor[Selector]()

// Warnings are things in a valid document that are probably not meant. They
// never keep it from being applied. Sorted by position. Of very many the first
// that are found are returned, and one without a position that says how many
// are left out.
func (c *Config) Warnings() []*Error {
	w := &warner{c: c, resources: make(map[string]offered), envs: make(map[string]string)}
	for i := range c.PhysicalFunctions {
		w.entry(&c.PhysicalFunctions[i], index("physicalFunctions", i))
	}
	for i := range c.ResourceList {
		w.resource(&c.ResourceList[i], index("resourceList", i))
	}
	slices.SortStableFunc(w.out, byPosition)
	if w.more > 0 {
		w.out = append(w.out, &Error{Msg: fmt.Sprintf("and %d more warnings", w.more)})
	}
	return w.out
}

// warner collects warnings.
type warner struct {
	c         *Config
	out       []*Error
	more      int
	resources map[string]offered // the first place of each resource
	envs      map[string]string  // environment variable -> resource
}

// offered is a place of the config that gives devices to a resource.
type offered struct {
	pos    Pos
	path   string
	driver string // "" when it is not known
}

func (w *warner) warn(p Pos, path, hint, format string, args ...any) {
	if len(w.out) == maxErrors {
		w.more++
		return
	}
	w.out = append(w.out, &Error{Pos: p, Path: path, Msg: fmt.Sprintf(format, args...), Hint: hint})
}

func (w *warner) entry(pf *PhysicalFunction, at string) {
	grouped := 0
	for i := range pf.VirtualFunctions {
		g := &pf.VirtualFunctions[i]
		path := index(at+".virtualFunctions", i)
		grouped += len(g.Indexes)
		w.group(pf, g, path)
		if g.Driver != DriverNone { // such VFs are offered to nobody
			w.offer(cmp.Or(g.ResourceName, pf.ResourceName), offered{g.Pos, path, purpose(g.Driver)})
		}
	}
	if pf.NumVFs == nil || grouped < *pf.NumVFs {
		w.offer(pf.ResourceName, offered{pf.Pos, at, purpose(DriverDefault)})
	}
}

func (w *warner) resource(r *Resource, at string) {
	w.offer(r.FullName(), offered{r.Pos, at, ""})
	for i := range r.Selectors {
		w.selector(r, &r.Selectors[i], index(at+".selectors", i))
	}
}

func (w *warner) offer(resource string, o offered) {
	if resource == "" {
		return
	}
	w.mixedDrivers(resource, o)
	w.sameVariable(resource, o)
}

func (w *warner) group(pf *PhysicalFunction, g *VFGroup, path string) {
	if pf.MTU != nil && g.MTU != nil && *g.MTU > *pf.MTU {
		w.warn(g.Pos, path+".mtu", "raise the PF's mtu", "is %d, above the PF's %d; many drivers refuse that", *g.MTU, *pf.MTU)
	}
	if cmp.Or(g.ResourceName, pf.ResourceName) == "" && (g.VhostNet || g.VDPA != "") {
		w.warn(g.Pos, path, "add resourceName", "the group has no resourceName: no pod can ask for its VFs")
	}
}

func (w *warner) mixedDrivers(resource string, o offered) {
	first, found := w.resources[resource]
	switch {
	case !found:
		w.resources[resource] = o
	case first.driver != o.driver && o.driver != "" && first.driver != "":
		w.warn(o.pos, o.path, "a pod cannot tell which kind it will get; use two resources",
			"resource %s has VFs for %s here and for %s at line %d", resource, o.driver, first.driver, first.pos.Line)
	}
}

func (w *warner) sameVariable(resource string, o offered) {
	env := EnvName(resource)
	other, found := w.envs[env]
	switch {
	case !found:
		w.envs[env] = resource
	case other != resource:
		w.warn(o.pos, o.path, "rename one of them", "resources %s and %s have the same environment variable %s in a pod that asks for both", other, resource, env)
	}
}

func (w *warner) selector(r *Resource, s *Selector, path string) {
	if s.empty() {
		w.warn(s.Pos, path, "narrow it by vendors, drivers or pfNames", "selects every device of type %s", r.DeviceType)
	}
	if len(s.LinkTypes) > 1 {
		w.warn(s.Pos, path+".linkTypes", "use two resources", "the resource mixes link types: %s", strings.Join(s.LinkTypes, ", "))
	}
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
	for key := range fields(v.Type()) {
		f := v.FieldByIndex(key.Index)
		if f.Kind() == reflect.Slice && f.Len() > 0 || f.Kind() != reflect.Slice && !f.IsZero() {
			return false
		}
	}
	return true
}
