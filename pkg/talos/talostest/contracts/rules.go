package contracts

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/siderolabs/talos/pkg/machinery/config/config"
	"github.com/siderolabs/talos/pkg/machinery/config/configpatcher"

	"github.com/talos-sriov/talos-sriov/pkg/machineconfig"
)

// rules compares our table of how documents are merged with the types of the
// linked machinery.
func rules(t *testing.T, linked Release) {
	seen := 0
	for kind, want := range machineconfig.Kinds() {
		doc, err := document(kind)
		if err != nil {
			if linked.Documents {
				t.Errorf("%s: %v", kind, err)
			}
			continue // a kind of a later version
		}
		seen++
		found := make(machineconfig.Rules)
		walk(found, reflect.TypeOf(doc), "", nil)
		got := make(map[string]string)
		for path, r := range found {
			got[path] = ruleKind(r)
		}
		table := make(map[string]string)
		for path, r := range want {
			if _, ok := found[path]; ok || linked.ArgumentLists && !r.Differs {
				table[path] = ruleKind(r)
			}
		}
		if diff := cmp.Diff(got, table); diff != "" {
			t.Errorf("%s (-machinery +our table):\n%s", kind, diff)
		}
	}
	if seen < 25 {
		t.Errorf("only %d kinds were compared", seen)
	}
}

func ruleKind(r machineconfig.Rule) string {
	if r.Replace || r.Differs {
		return "replace"
	}
	return "by key"
}

// document returns an empty document of the kind.
func document(kind string) (config.Document, error) {
	texts := []string{
		fmt.Sprintf("apiVersion: v1alpha1\nkind: %s\nname: x\n", kind),
		fmt.Sprintf("apiVersion: v1alpha1\nkind: %s\n", kind),
	}
	if kind == machineconfig.KindV1Alpha1 {
		texts = []string{"machine: {}\n"}
	}
	var errs []error
	for _, text := range texts {
		patch, err := configpatcher.LoadPatch([]byte(text))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if p, ok := patch.(configpatcher.StrategicMergePatch); ok && len(p.Documents()) == 1 {
			return p.Documents()[0], nil
		}
	}
	return nil, errors.Join(errs...)
}

// walk collects what the type does not merge as usual: fields with the tag, and
// lists and maps with a Merge method. Single values with one are replaced, as all
// are.
func walk(out machineconfig.Rules, typ reflect.Type, path string, within []reflect.Type) {
	if slices.Contains(within, typ) {
		return
	}
	within = append(within, typ)
	if _, ok := reflect.PointerTo(typ).MethodByName("Merge"); ok {
		switch typ.Kind() {
		case reflect.Slice:
			out[path] = machineconfig.Rule{}
			walk(out, typ.Elem(), path+"[]", within)
			return
		case reflect.Map:
			out[path+".*"] = machineconfig.Rule{Replace: true}
			return
		}
	}
	switch typ.Kind() {
	case reflect.Pointer:
		walk(out, typ.Elem(), path, within)
	case reflect.Slice:
		walk(out, typ.Elem(), path+"[]", within)
	case reflect.Map:
		walk(out, typ.Elem(), strings.TrimPrefix(path+".*", "."), within)
	case reflect.Struct:
		for i := range typ.NumField() {
			field := typ.Field(i)
			tag := strings.Split(field.Tag.Get("yaml"), ",")
			at := path
			switch {
			case tag[0] == "-" || tag[0] == "" && !slices.Contains(tag, "inline"):
				continue
			case tag[0] != "":
				at = strings.TrimPrefix(path+"."+tag[0], ".")
			}
			if field.Tag.Get("merge") == "replace" {
				out[at] = machineconfig.Rule{Replace: true}
				continue
			}
			walk(out, field.Type, at, within)
		}
	}
}
