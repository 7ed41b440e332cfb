package spec

import (
	"bytes"
	"errors"
	"net"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/rogpeppe/go-internal/txtar"
)

const head = "apiVersion: v1alpha1\nkind: SRIOVConfig\n"

// mustLoad is LoadFile of what is valid.
func mustLoad(t testing.TB, doc string) *Config {
	t.Helper()
	c, err := LoadFile("test.yaml", []byte(doc))
	if err != nil {
		t.Fatalf("%v\n%s", err, doc)
	}
	return c
}

var noPos = cmpopts.IgnoreTypes(Pos{})

func TestLoadSmallest(t *testing.T) {
	doc := head + `physicalFunctions:
  - match: {names: [enp1s0f0np0]}
    numVFs: 4
    resourceName: nvidia.com/cx7_qsfp
`
	patch := `version: v1alpha1
machine: {type: worker}
---
apiVersion: v1alpha1
kind: ExtensionServiceConfig
name: sriov
configFiles:
    - content: |-
          ` + strings.ReplaceAll(strings.TrimSuffix(doc, "\n"), "\n", "\n          ") + `
      mountPath: /etc/sriov/config.yaml
environment: [A=B]
`
	four := 4
	want := &Config{
		APIVersion: "v1alpha1", Kind: "SRIOVConfig",
		PhysicalFunctions: []PhysicalFunction{{
			Match:        Match{Names: []string{"enp1s0f0np0"}},
			NumVFs:       &four,
			ResourceName: "nvidia.com/cx7_qsfp",
			Pos:          Pos{4, 5},
		}},
	}
	for _, tc := range []struct {
		name, doc string
		load      func(string, []byte) (*Config, error)
		pos       Pos
	}{
		{"bare", doc, Load, Pos{4, 5}},
		{"bare through LoadFile", doc, LoadFile, Pos{4, 5}},
		{"byte order mark", "\ufeff" + doc, LoadFile, Pos{4, 5}},
		{"CRLF", strings.ReplaceAll(doc, "\n", "\r\n"), LoadFile, Pos{4, 5}},
		{"document markers", "---\n" + doc + "...\n", Load, Pos{5, 5}},
		{"empty second document", doc + "---\n", Load, Pos{4, 5}},
		{"patch", patch, LoadFile, Pos{12, 15}},
		{"patch with CRLF", strings.ReplaceAll(patch, "\n", "\r\n"), LoadFile, Pos{12, 15}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := tc.load("f", []byte(tc.doc))
			if err != nil {
				t.Fatal(err)
			}
			want.PhysicalFunctions[0].Pos = tc.pos
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestGoodDocuments: documents that strictness must not refuse.
func TestGoodDocuments(t *testing.T) {
	pf := "physicalFunctions:\n  - match: {names: [eth0]}\n    numVFs: 4\n"
	group := pf + "    virtualFunctions:\n      - indexes: \"0-1\"\n"
	for name, doc := range map[string]string{
		"nothing":                    head,
		"empty list":                 head + "physicalFunctions: []\n",
		"flow":                       "{apiVersion: v1alpha1, kind: SRIOVConfig, physicalFunctions: [{match: {names: [a]}, numVFs: 0}]}",
		"json with tabs":             "{\n\t\"apiVersion\": \"v1alpha1\",\n\t\"kind\": \"SRIOVConfig\"\n}\n",
		"numbers as PCI ids":         head + "physicalFunctions:\n  - match: {vendors: [8086, 0900], devices: [1521, 1e10, 15B3, 0d58]}\n    numVFs: 1\n",
		"long domain":                head + "physicalFunctions:\n  - match: {pciAddresses: [\"10000:3b:1f.7\"]}\n    numVFs: 1\n",
		"external without numVFs":    head + "physicalFunctions:\n  - match: {names: [eth0]}\n    externallyManaged: true\n    virtualFunctions:\n      - indexes: \"0-100\"\n        trust: true\n",
		"one index":                  head + pf + "    virtualFunctions:\n      - indexes: 3\n",
		"vlan 0 in switchdev":        head + strings.Replace(group, "numVFs: 4", "numVFs: 4\n    eswitchMode: switchdev", 1) + "        vlan: {id: 0}\n        rate: {max: 10}\n        linkState: auto\n        macAddresses: stable\n        vdpa: virtio\n",
		"min without max":            head + group + "        rate: {min: 10}\n",
		"vhostNet with vfio":         head + group + "        driver: vfio-pci\n        vhostNet: true\n        trust: true\n        vlan: {id: 4094, qos: 7, protocol: 802.1ad}\n",
		"optional all":               head + group + "        trust: true\n        optional: true\n",
		"guids, link type open":      head + group + "        guids: [\"11:22:33:44:77:66:77:90\", \"11:22:33:44:77:66:77:91\"]\n",
		"same address, two entries":  head + group + "        macAddresses: [\"02:00:00:00:00:01\", \"02:00:00:00:00:02\"]\n" + "  - match: {names: [eth1]}\n    numVFs: 1\n    virtualFunctions: [{indexes: 0, macAddresses: [\"02:00:00:00:00:03\"]}]\n",
		"one resource, many PFs":     head + "physicalFunctions:\n  - {match: {names: [a]}, numVFs: 1, resourceName: a.b/c}\n  - {match: {names: [b]}, numVFs: 2, resourceName: a.b/c}\n",
		"agreeing entries":           head + "physicalFunctions:\n  - {match: {names: [a]}, numVFs: 8, virtualFunctions: [{indexes: \"0-3\", trust: true}]}\n  - {match: {names: [a]}, numVFs: 8, virtualFunctions: [{indexes: \"4-7\"}]}\n",
		"excluding entries":          head + "physicalFunctions:\n  - {match: {names: [a], vendors: [\"8086\"]}, numVFs: 8}\n  - {match: {names: [a], vendors: [\"15b3\"]}, numVFs: 4}\n",
		"entries that only may meet": head + "physicalFunctions:\n  - {match: {names: [a], vendors: [\"8086\"]}, numVFs: 8}\n  - {match: {names: [a], drivers: [ice]}, numVFs: 4}\n  - {match: {names: [\"a*\"]}, numVFs: 2}\n",
		"longest prefix":             head + "physicalFunctions:\n  - {match: {names: [a]}, numVFs: 1, resourceName: " + strings.Repeat("p", 244) + "/" + strings.Repeat("n", 63) + "}\n",
		"cni":                        head + "cni: {install: false}\nhealth: {link: false, holdDown: 1ms}\nmetrics: {listen: \"[::1]:9808\"}\n",
		"force":                      head + "cni: {install: force}\n",
		"altname":                    head + "physicalFunctions:\n  - {match: {names: [\"größe-日本\"]}, numVFs: 1}\n",
		"surrogates and escapes":     `{"apiVersion": "v1alpha1", "kind": "SRIOVConfig", "resourceList": [{"resourceName": "a", "selectors": {}, "additionalInfo": {"*": {"\ud83d\ude00": "\u00e9\\\/"}}}]}`,
	} {
		t.Run(name, func(t *testing.T) { mustLoad(t, doc) })
	}
}

func TestNormalised(t *testing.T) {
	c := mustLoad(t, head+`physicalFunctions:
  - match:
      names: ["größe-日本", "enp*"]
      pciAddresses: ["0000:3B:0A.1"]
      macAddresses: ["B8:3F:D2:00:00:0A"]
      vendors: [15B3]
      devices: [1e10, "0D58"]
    numVFs: 6
    virtualFunctions:
      - indexes: "5,0-2"
        macAddresses: ["02:00:00:00:00:0A", "02:00:00:00:00:0b", "02:00:00:00:00:0c", "02:00:00:00:00:0d"]
resourceList:
  - resourceName: a
    SELECTORS: {Vendors: [808A], rootDevices: ["0000:3B:00.0#1"], pkeys: ["0X1"], isrdma: true, linkTypes: null}
    additionalInfo: {"0000:3B:00.0": {a: b}}
`)
	pf := c.PhysicalFunctions[0]
	mac := func(last byte) net.HardwareAddr { return net.HardwareAddr{2, 0, 0, 0, 0, last} }
	for _, tc := range []struct {
		what      string
		got, want any
	}{
		{"match", pf.Match, Match{
			Names: []string{"größe-日本", "enp*"}, PCIAddresses: []string{"0000:3b:0a.1"}, MACAddresses: []string{"b8:3f:d2:00:00:0a"},
			Vendors: []string{"15b3"}, Devices: []string{"1e10", "0d58"},
		}},
		{"indexes", pf.VirtualFunctions[0].Indexes, IndexSet{0, 1, 2, 5}},
		{"MACs", pf.VirtualFunctions[0].MACAddresses, MACPolicy{Mode: MACList, List: []net.HardwareAddr{mac(10), mac(11), mac(12), mac(13)}}},
		{"resource", c.ResourceList[0], Resource{
			ResourceName: "a", ResourcePrefix: "intel.com", DeviceType: "netDevice",
			Selectors:      []Selector{{Vendors: []string{"808a"}, RootDevices: []string{"0000:3b:00.0#1"}, PKeys: []string{"0x0001"}, IsRDMA: true}},
			AdditionalInfo: map[string]map[string]string{"0000:3b:00.0": {"a": "b"}},
		}},
	} {
		if diff := cmp.Diff(tc.want, tc.got, noPos); diff != "" {
			t.Errorf("%s: %s", tc.what, diff)
		}
	}
}

func TestLoadResourceList(t *testing.T) {
	const list = `{
	"resourceList": [{
		"resourceName": "intel_sriov_netdevice",
		"selectors": [{"vendors": ["8086"], "drivers": ["iavf"], "ddpProfiles": ["GTPv1-C\/U"], "IsRdma": false}]
	}, {
		"resourceName": "intel_fpga", "deviceType": "accelerator",
		"selectors": {"devices": ["0d90"], "acpiIndexes": ["101"]},
		"additionalInfo": null
	}]
}`
	want := []Resource{
		{ResourceName: "intel_sriov_netdevice", ResourcePrefix: "intel.com", DeviceType: "netDevice", Selectors: []Selector{
			{Vendors: []string{"8086"}, Drivers: []string{"iavf"}, DDPProfiles: []string{"GTPv1-C/U"}},
		}},
		{ResourceName: "intel_fpga", ResourcePrefix: "intel.com", DeviceType: "accelerator", Selectors: []Selector{
			{Devices: []string{"0d90"}, ACPIIndexes: []string{"101"}},
		}},
	}
	configMap := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: sriovdp-config}\ndata:\n  config.json: |\n    " + strings.ReplaceAll(list, "\n", "\n    ") + "\n"
	for name, doc := range map[string]string{"file": list, "ConfigMap": configMap, "upper case": strings.Replace(list, "resourceList", "ResourceList", 1)} {
		c, err := LoadResourceList(name, []byte(doc))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(want, c.ResourceList, noPos); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	// The same inside our document, where it is YAML: no \/, no tabs.
	inner := strings.SplitN(strings.TrimSuffix(list, "}"), ":", 2)[1]
	c := mustLoad(t, head+"resourceList: "+strings.NewReplacer(`\/`, "/", "\t", "  ").Replace(inner))
	if diff := cmp.Diff(want, c.ResourceList, noPos); diff != "" {
		t.Errorf("inside the config: %s", diff)
	}
}

// TestBadInputs are inputs that an archive of text files cannot hold.
func TestBadInputs(t *testing.T) {
	const golden = "testdata/bad-inputs.txtar"
	good := head + "physicalFunctions:\n  - match: {names: [eth0]}\n    numVFs: 4\n"
	deep := strings.Repeat("[", 20000)
	cases := []struct{ name, data string }{
		{"empty", ""},
		{"blank", "\n\n  \n"},
		{"10MB", strings.Repeat("# padding\n", 1<<20)},
		{"1MiB-and-1", head + strings.Repeat("#", 1<<20+1-len(head))},
		{"nul", head + "physicalFunctions: \x00\n"},
		{"elf", "\x7fELF\x02\x01\x01\x00\x00\x00"},
		{"gzip", "\x1f\x8b\x08\x00\x00\x00\x00\x00"},
		{"latin1", head + "# gr\xf6\xdfe\n"},
		{"utf16", "\xff\xfea\x00p\x00i\x00"},
		{"escape", head + "# \x1b[31m\n"},
		{"bom-inside", head + "\ufeffphysicalFunctions: []\n"},
		{"tab-value", head + "physicalFunctions:\n  - match: {names: [eth0]}\n    \tnumVFs: 4\n"},
		{"trailing-space-key", head + "physicalFunctions :\n  - numVFs: 4\n"},
		{"crlf", strings.ReplaceAll(good+"    bogus: 1\n", "\n", "\r\n")},
		{"cr", strings.ReplaceAll(good+"    bogus: 1\n", "\n", "\r")},
		{"crlf-tab", strings.ReplaceAll(good+"\tbogus: 1\n", "\n", "\r\n")},
		{"line-separator", strings.Replace(good, "eth0", "\"eth0\u2028x\"", 1) + "    bogus: 1\n"},
		{"no-final-newline", good + "    numVFs: 5"},
		{"tab-before-caret", "{\"apiVersion\": \"v1alpha1\",\n\t\"kind\":\t\"SRIOVConfig\",\t\"bogus\": 1}\n"},
		{"long-line", head + "physicalFunctions: [" + strings.Repeat("{match: {names: [eth0]}, numVFs: 1}, ", 20) + "{match: {names: [eth0]}, numVFs: x}]\n"},
		{"rtl-override", head + "\"\u202egnp\": 1\n"},
		{"deep-flow", head + "a: " + deep + "\n"},
		{"deep-block", head + "a:\n" + strings.Repeat("- ", 30000) + "x\n"},
		{"patch-crlf", strings.ReplaceAll("apiVersion: v1alpha1\nkind: ExtensionServiceConfig\nname: sriov\nconfigFiles:\n  - mountPath: /etc/sriov/config.yaml\n    content: |\n      "+strings.ReplaceAll(good+"    bogus: 1", "\n", "\n      ")+"\n", "\n", "\r\n")},
		{"150-errors", head + "physicalFunctions:\n" + strings.Repeat("  - {match: {names: [eth0]}, numVFs: x}\n", 150)},
		{"30000-errors", head + "physicalFunctions:\n" + strings.Repeat("  - {match: {}}\n", 30000)},
	}
	out := new(txtar.Archive)
	want := make(map[string]string)
	if arch, err := txtar.ParseFile(golden); err == nil {
		for _, f := range arch.Files {
			want[f.Name] = string(f.Data)
		}
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			c, err := LoadFile("config.yaml", []byte(tc.data))
			if err == nil || c != nil {
				t.Fatalf("was accepted: %v", c)
			}
			got := render(t, err, []byte(tc.data))
			var all *Errors
			errors.As(err, &all)
			if n := len(all.List); n > maxErrors {
				t.Errorf("%d errors", n)
			} else if n > 20 { // the tail says how many there are
				got = got[:strings.Index(got, "\nconfig.yaml:")+1] + "...\n" + got[strings.LastIndex(got, "config.yaml: and"):]
			}
			if strings.ContainsAny(got, "\x00\x1b\r\u202e") {
				t.Errorf("a control character came through: %q", got)
			}
			out.Files = append(out.Files, txtar.File{Name: tc.name, Data: []byte(got)})
			if diff := cmp.Diff(want[tc.name], got); diff != "" && !*update {
				t.Error(diff)
			}
		})
	}
	if *update {
		if err := os.WriteFile(golden, txtar.Format(out), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestErrorText(t *testing.T) {
	_, err := Load("a.yaml", []byte(head+"foo: 1\n"))
	const one = "a.yaml:3:1: foo: unknown key (known here: apiVersion, kind, physicalFunctions, resourceList, devicePlugin, health, cni, metrics)"
	if err.Error() != one {
		t.Errorf("got  %s\nwant %s", err, one)
	}
	_, err = Load("a.yaml", []byte(head+"cNi: 1\nmetric: 2\n"))
	const two = "a.yaml: 2 errors\n  3:1: cNi: unknown key (did you mean \"cni\"?)\n  4:1: metric: unknown key (did you mean \"metrics\"?)"
	if err.Error() != two {
		t.Errorf("got  %s\nwant %s", err, two)
	}
	var single *Error
	if !errors.As(err, &single) || single.Pos != (Pos{3, 1}) {
		t.Errorf("errors.As found %v", single)
	}
	_, err = Load("a.yaml", bytes.Repeat([]byte("x"), maxSize+1))
	const size = "a.yaml: the input has 1048577 bytes; at most 1048576 are read (this is hardly the intended file)"
	if err.Error() != size {
		t.Errorf("got  %s\nwant %s", err, size)
	}
}

// plainPath finds the indexes of a path: a[0].b[12] is the key a[].b[].
var plainPath = regexp.MustCompile(`\[[0-9]+\]`)

// keyPaths lists every key below t: physicalFunctions, physicalFunctions[].mtu.
func keyPaths(t reflect.Type, path string) []string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t {
	case reflect.TypeFor[MACPolicy](), reflect.TypeFor[GUIDPolicy](), reflect.TypeFor[Optional](), reflect.TypeFor[IndexSet]():
		return nil
	}
	switch t.Kind() {
	case reflect.Slice:
		return keyPaths(t.Elem(), path+"[]")
	case reflect.Struct:
		var out []string
		for f := range fields(t) {
			at := join(path, yamlName(f))
			out = append(out, at)
			out = append(out, keyPaths(f.Type, at)...)
		}
		return out
	}
	return nil
}

// TestReference: the config that explains every key is valid and has them
// all, each value read; nothing else in it would show a forgotten key.
func TestReference(t *testing.T) {
	d := &decoder{spans: make(map[string]Pos)}
	n := d.document(Reference())
	if n == nil {
		t.Fatal(d.err("reference.yaml"))
	}
	c := new(Config)
	d.value(n, reflect.ValueOf(c).Elem(), "", "")
	validate(c, d)
	if err := d.err("reference.yaml"); err != nil {
		t.Fatal(err)
	}
	found := make(map[string]bool)
	for p := range d.spans {
		found[plainPath.ReplaceAllString(p, "[]")] = true
	}
	for _, p := range keyPaths(reflect.TypeFor[Config](), "") {
		if !found[p] {
			t.Errorf("reference.yaml does not show %s", p)
		}
	}
	if w := c.Warnings(); len(w) > 0 {
		t.Errorf("reference.yaml causes a warning: %v", w[0])
	}
	// Each key has a comment above it or is explained by its parent's.
	if got := Reference(); &got[0] == &reference[0] {
		t.Error("Reference returns the shared array")
	}
}

func TestHash(t *testing.T) {
	const abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" // FIPS 180-4 example
	if got := Hash([]byte("abc")); got != abc {
		t.Errorf("got %s, want %s", got, abc)
	}
}
