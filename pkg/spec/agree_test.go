package spec

import (
	"reflect"
	"strings"
	"testing"

	"github.com/talos-sriov/talos-sriov/pkg/vfrules"
)

// TestDifferencesKnowsEveryKey fails when a key is added to the config that
// two entries could disagree about unnoticed.
func TestDifferencesKnowsEveryKey(t *testing.T) {
	no := map[string]bool{"Match": true, "Required": true, "Pos": true}
	typ := reflect.TypeFor[PhysicalFunction]()
	for i := range typ.NumField() {
		f := typ.Field(i)
		var a, b PhysicalFunction
		v := reflect.ValueOf(&b).Elem().Field(i)
		switch v.Kind() {
		case reflect.Pointer:
			v.Set(reflect.New(v.Type().Elem()))
		case reflect.String:
			v.SetString("x")
		case reflect.Bool:
			v.SetBool(true)
		case reflect.Slice:
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		case reflect.Struct:
		default:
			t.Fatalf("%s: kind %v is new to this test", f.Name, v.Kind())
		}
		got := Differences(&a, &b)
		if no[f.Name] {
			if len(got) != 0 {
				t.Errorf("%s: got %q, want agreement", f.Name, got)
			}
			continue
		}
		if want := []string{yamlName(f)}; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %q, want %q", f.Name, got, want)
		}
	}
}

// TestAgreedKeysInOrder: the order in which differences are reported is that of
// the config.
func TestAgreedKeysInOrder(t *testing.T) {
	var want, got []string
	typ := reflect.TypeFor[PhysicalFunction]()
	for f := range fields(typ) {
		switch name := yamlName(f); name {
		case "match", "required", "virtualFunctions":
		default:
			want = append(want, name)
		}
	}
	for _, k := range agreed {
		got = append(got, k.key)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestPairsCompareEveryAgreedKey: two entries that name one PF and differ in one
// key are refused while the config is read, whichever key it is.
func TestPairsCompareEveryAgreedKey(t *testing.T) {
	values := map[string][2]string{
		"numVFs": {"1", "2"}, "mtu": {"1500", "9000"}, "linkType": {"ethernet", "infiniband"}, "eswitchMode": {"legacy", "switchdev"},
		"externallyManaged": {"true", "false"}, "allowUplink": {"true", "false"}, "force": {"a", "b"},
		"resourceName": {"a.b/c", "a.b/d"}, "allocationPolicy": {"packed", "spread"},
	}
	for _, k := range agreed {
		v, known := values[k.key]
		if !known {
			t.Errorf("%s: no values in this test", k.key)
			continue
		}
		entry := func(value string) string {
			out := "  - match: {names: [eth0]}\n    " + k.key + ": " + value + "\n"
			if k.key != "numVFs" {
				out += "    numVFs: 1\n"
			}
			return out
		}
		_, err := Load("f", []byte(head+"physicalFunctions:\n"+entry(v[0])+entry(v[1])))
		want := "physicalFunctions[1]." + k.key + ": is " + v[1] + " here and " + v[0] + " at line 5"
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", k.key, err, want)
		}
	}
}

func TestGroup(t *testing.T) {
	pf := &PhysicalFunction{VirtualFunctions: []VFGroup{{Indexes: IndexSet{0, 1, 5}}, {Indexes: IndexSet{2}}}}
	for index, want := range map[int]*VFGroup{0: &pf.VirtualFunctions[0], 5: &pf.VirtualFunctions[0], 2: &pf.VirtualFunctions[1], 3: nil, -1: nil} {
		if got := pf.Group(index); got != want {
			t.Errorf("VF %d: got %v, want %v", index, got, want)
		}
	}
}

func TestIndexSetString(t *testing.T) {
	for want, in := range map[string][]int{"": nil, "3": {3}, "0-2,5,7-8": {0, 1, 2, 5, 7, 8}} {
		if got := IndexSet(in).String(); got != want {
			t.Errorf("%v: got %q, want %q", in, got, want)
		}
	}
}

func TestNodePath(t *testing.T) {
	if got, want := NodePath(), "/system/overlays/extensions/sriov/etc-sriov-config.yaml"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestRulesKnowTheEnums: a tag of a type can only be a literal; the rules that
// other formats share have the same values, and say the same of others.
func TestRulesKnowTheEnums(t *testing.T) {
	vlan, _ := reflect.TypeFor[VLAN]().FieldByName("Protocol")
	link, _ := reflect.TypeFor[VFGroup]().FieldByName("LinkState")
	for _, tc := range []struct {
		field reflect.StructField
		want  []string
		text  string
		group string
	}{
		{vlan, vfrules.Protocols(), vfrules.VLAN(1, 0, "x")[0].Text, "vlan: {id: 1, protocol: x}"},
		{link, vfrules.LinkStates(), vfrules.LinkState("x")[0].Text, "linkState: x"},
	} {
		if got := tc.field.Tag.Get("enum"); got != strings.Join(tc.want, ",") {
			t.Errorf("%s: the enum is %s, the rules have %q", tc.field.Name, got, tc.want)
		}
		_, err := Load("f", []byte(head+"physicalFunctions: [{match: {names: [a]}, numVFs: 1, virtualFunctions: [{indexes: 0, "+tc.group+"}]}]\n"))
		if err == nil || !strings.Contains(err.Error(), tc.text) {
			t.Errorf("%s: got %v, want %s", tc.field.Name, err, tc.text)
		}
	}
}

func TestEnvName(t *testing.T) {
	for resource, want := range map[string]string{
		"nvidia.com/cx7_qsfp": "PCIDEVICE_NVIDIA_COM_CX7_QSFP", "intel.com/a-b": "PCIDEVICE_INTEL_COM_A-B", "a.b.c/D": "PCIDEVICE_A_B_C_D",
	} {
		if got := EnvName(resource); got != want {
			t.Errorf("%s: got %s, want %s", resource, got, want)
		}
	}
}
