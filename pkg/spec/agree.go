package spec

import (
	"reflect"
	"slices"
)

// agreed are the keys of an entry in which two entries that select one PF must
// not differ, in the order of the config, without virtualFunctions. A key that
// is not here, and not virtualFunctions, says how an entry finds its PFs. value
// is comparable, and nil for what the user did not write where that is not the
// same as zero.
var agreed = []struct {
	key   string
	value func(*PhysicalFunction) any
}{
	{"numVFs", func(pf *PhysicalFunction) any { return pointee(pf.NumVFs) }},
	{"mtu", func(pf *PhysicalFunction) any { return pointee(pf.MTU) }},
	{"linkType", func(pf *PhysicalFunction) any { return pf.LinkType }},
	{"eswitchMode", func(pf *PhysicalFunction) any { return pf.EswitchMode }},
	{"externallyManaged", func(pf *PhysicalFunction) any { return pf.ExternallyManaged }},
	{"allowUplink", func(pf *PhysicalFunction) any { return pf.AllowUplink }},
	{"force", func(pf *PhysicalFunction) any { return pf.Force }},
	{"resourceName", func(pf *PhysicalFunction) any { return pf.ResourceName }},
	{"allocationPolicy", func(pf *PhysicalFunction) any { return pf.AllocationPolicy }},
}

func pointee(p *int) any {
	if p == nil {
		return nil
	}
	return *p
}

// disagreement is a key in which two entries differ, and what each has.
type disagreement struct {
	key  string
	a, b any
}

// disagreements compares two entries in the keys of agreed.
func disagreements(a, b *PhysicalFunction) []disagreement {
	var out []disagreement
	for _, k := range agreed {
		if va, vb := k.value(a), k.value(b); va != vb {
			out = append(out, disagreement{key: k.key, a: va, b: vb})
		}
	}
	return out
}

// Differences returns the keys in which two entries want different things of a
// PF that both select, in the order of the config; empty means that they agree.
// How they select it and whether it is required is no difference.
func Differences(a, b *PhysicalFunction) []string {
	var keys []string
	for _, d := range disagreements(a, b) {
		keys = append(keys, d.key)
	}
	same := slices.EqualFunc(a.VirtualFunctions, b.VirtualFunctions, func(x, y VFGroup) bool {
		x.Pos, y.Pos = Pos{}, Pos{}
		return reflect.DeepEqual(x, y)
	})
	if !same {
		keys = append(keys, "virtualFunctions")
	}
	return keys
}
