package spec

import (
	"fmt"
	"iter"
	"reflect"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// foldsKeys reports whether the keys of t are matched without regard to case,
// as encoding/json does. Only the device plugin's vocabulary does, because its
// documented examples rely on it.
func foldsKeys(t reflect.Type) bool {
	switch t {
	case reflect.TypeFor[resourceListDocument](), reflect.TypeFor[Resource](), reflect.TypeFor[Selector]():
		return true
	}
	return false
}

func yamlName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	return name
}

// shape is what decoding needs to know of a struct type, found out once for a
// document: asking the type for each of its mappings would cost more than all
// the rest.
type shape struct {
	names  []string // the keys, in the order of the fields
	fields []reflect.StructField
	pos    []int // index of the field Pos; nil: none
	fold   bool
}

func (d *decoder) shape(t reflect.Type) *shape {
	if s := d.shapes[t]; s != nil {
		return s
	}
	s := &shape{fold: foldsKeys(t)}
	for f := range fields(t) {
		s.names, s.fields = append(s.names, yamlName(f)), append(s.fields, f)
	}
	if f, found := t.FieldByName("Pos"); found {
		s.pos = f.Index
	}
	if d.shapes == nil {
		d.shapes = make(map[reflect.Type]*shape)
	}
	d.shapes[t] = s
	return s
}

// find returns the number of the field that key names, or -1.
func (s *shape) find(key string) int {
	return slices.IndexFunc(s.names, func(name string) bool {
		return name == key || s.fold && strings.EqualFold(name, key)
	})
}

// fields yields the fields of t that are keys of the config.
func fields(t reflect.Type) iter.Seq[reflect.StructField] {
	return func(yield func(reflect.StructField) bool) {
		for f := range t.Fields() {
			if name := yamlName(f); name != "" && name != "-" && !yield(f) {
				return
			}
		}
	}
}

// unknownKey reports a key that is none of names, and guesses what was meant.
func (d *decoder) unknownKey(key *yaml.Node, path string, names []string, fold bool) {
	if d.full() {
		d.count(join(path, key.Value))
		return
	}
	var hint string
	best, near := closest(key.Value, names)
	slip := near && editDistance(key.Value, best) == 1 // driver for drivers
	if place := placeOf(key.Value); place != "" && !fold && !slip {
		hint = "this key belongs in " + place
	} else if near {
		hint = fmt.Sprintf("did you mean %q?", best)
		if d.meant == nil {
			d.meant = make(map[string]bool)
		}
		d.meant[join(path, best)] = true
	} else {
		hint = "known here: " + strings.Join(names, ", ")
	}
	what := "unknown key"
	if key.Value == "" {
		what = "empty key"
	}
	d.fail(nodePos(key), join(path, key.Value), hint, "%s", what)
}

// keyPlaces says where keys are at home that may be found elsewhere. Keys that
// exist at several levels are left out, because the guess would be one.
var keyPlaces = []struct {
	place string
	keys  []string
}{
	{"an entry of physicalFunctions", []string{
		"match", "required", "numVFs", "eswitchMode", "externallyManaged", "allowUplink", "virtualFunctions",
		"linkType",
	}},
	{"match", []string{"names", "pciAddresses", "vendors", "devices", "drivers"}},
	{"an entry of virtualFunctions", []string{
		"indexes", "driver", "rdma", "vhostNet", "vdpa", "trust", "spoofCheck", "queryRSS", "linkState", "vlan",
		"rate", "guids",
	}},
	{"the top level of the config", []string{
		"physicalFunctions", "resourceList", "devicePlugin", "health", "cni", "metrics",
	}},
	{"an entry of resourceList", []string{"selectors", "deviceType", "resourcePrefix"}},
	{"a selector of resourceList", []string{"isRdma", "pfNames", "rootDevices"}},
	{"devicePlugin", []string{"cdi"}},
	{"health", []string{"holdDown"}},
	{"cni", []string{"binDir"}},
	{"metrics", []string{"listen"}},
}

// placeOf is where the key is at home, "" when that is not known.
func placeOf(key string) string {
	for _, p := range keyPlaces {
		if slices.Contains(p.keys, key) {
			return p.place
		}
	}
	return ""
}

// closest returns the name that s is most likely a misspelling of.
func closest(s string, names []string) (string, bool) {
	best, dist := "", len(s)
	if len(s) > 40 {
		return "", false
	}
	for _, w := range names {
		if strings.EqualFold(s, w) {
			return w, true
		}
		a, b := strings.ToLower(s), strings.ToLower(w)
		if min(len(a), len(b)) >= 4 && (strings.HasPrefix(a, b) || strings.HasPrefix(b, a)) {
			best, dist = w, 1
			continue
		}
		if d := editDistance(a, b); d < dist {
			best, dist = w, d
		}
	}
	return best, best != "" && dist <= max(1, min(len(s), len(best))/3)
}

// editDistance counts insertions, deletions, replacements and swaps of
// neighbours (optimal string alignment).
func editDistance(a, b string) int {
	prev2, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], prev2[j-2]+1)
			}
		}
		prev2, prev, cur = prev, cur, prev2
	}
	return prev[len(b)]
}
