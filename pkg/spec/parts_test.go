package spec

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseRanges(t *testing.T) {
	for _, tc := range []struct {
		in   string
		want Ranges
		has  []int
		not  []int
	}{
		{"ens0", Ranges{Name: "ens0", All: true}, []int{-1, 0, 65535}, nil},
		{"ens2f0#1", Ranges{Name: "ens2f0", List: []Range{{1, 1}}}, []int{1}, []int{-1, 0, 2}},
		{"ens2f1#0,3-5,7", Ranges{Name: "ens2f1", List: []Range{{0, 0}, {3, 5}, {7, 7}}}, []int{0, 3, 4, 5, 7}, []int{-1, 1, 2, 6, 8}},
		{"0000:86:00.1#0-2,5,7", Ranges{Name: "0000:86:00.1", List: []Range{{0, 2}, {5, 5}, {7, 7}}}, []int{0, 2, 5, 7}, []int{3, 4, 6}},
		{"pf#007", Ranges{Name: "pf", List: []Range{{7, 7}}}, []int{7}, []int{0}},
		{"pf#4-4", Ranges{Name: "pf", List: []Range{{4, 4}}}, []int{4}, []int{3, 5}},
	} {
		got, err := ParseRanges(tc.in)
		if err != nil {
			t.Errorf("%s: %v", tc.in, err)
			continue
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s: %s", tc.in, diff)
		}
		for _, i := range tc.has {
			if !got.Contains(i) {
				t.Errorf("%s lacks %d", tc.in, i)
			}
		}
		for _, i := range tc.not {
			if got.Contains(i) {
				t.Errorf("%s has %d", tc.in, i)
			}
		}
	}
}

func TestIndexSet(t *testing.T) {
	s := IndexSet{0, 1, 2, 5, 7, 8}
	if got := s.String(); got != "0-2,5,7-8" {
		t.Errorf("String: %s", got)
	}
	for i := -1; i < 10; i++ {
		if got, want := s.Contains(i), strings.Contains("0 1 2 5 7 8", fmt.Sprint(i)); got != want && i >= 0 || i < 0 && got {
			t.Errorf("Contains(%d) = %v", i, got)
		}
	}
}

func TestWarnings(t *testing.T) {
	for _, tc := range []struct{ name, doc, want string }{
		{"kinds mixed in one resource", `physicalFunctions:
  - match: {names: [a]}
    numVFs: 2
    resourceName: a.b/nics
  - match: {names: [b]}
    numVFs: 2
    virtualFunctions:
      - {indexes: "0-1", driver: vfio-pci, resourceName: a.b/nics}
`, "10:9: physicalFunctions[1].virtualFunctions[0]: resource a.b/nics has VFs for vfio-pci here and for the kernel's own driver at line 4 (a pod cannot tell which kind it will get; use two resources)"},
		{"kinds mixed by inheritance", `physicalFunctions:
  - match: {names: [a]}
    numVFs: 3
    resourceName: a.b/nics
    virtualFunctions:
      - {indexes: "0-1", driver: vfio-pci}
`, "4:5: physicalFunctions[0]: resource a.b/nics has VFs for the kernel's own driver here and for vfio-pci at line 8 (a pod cannot tell which kind it will get; use two resources)"},
		{"not mixed: every VF is grouped", `physicalFunctions:
  - match: {names: [a]}
    numVFs: 2
    resourceName: a.b/nics
    virtualFunctions:
      - {indexes: "0-1", driver: vfio-pci}
`, ""},
		{"not mixed: none is offered to nobody", `physicalFunctions:
  - match: {names: [a]}
    numVFs: 2
    resourceName: a.b/nics
    virtualFunctions:
      - {indexes: "0", driver: none}
`, ""},
		{"environment variable", `physicalFunctions:
  - {match: {names: [a]}, numVFs: 1, resourceName: a.b/nic.1}
  - {match: {names: [b]}, numVFs: 1, resourceName: a.b/nic_1}
`, "5:5: physicalFunctions[1]: resources a.b/nic.1 and a.b/nic_1 have the same environment variable PCIDEVICE_A_B_NIC_1 in a pod that asks for both (rename one of them)"},
		{"VF MTU above the PF's", `physicalFunctions:
  - match: {names: [a]}
    numVFs: 2
    mtu: 1500
    virtualFunctions:
      - indexes: "0"
        mtu: 9000
`, "8:9: physicalFunctions[0].virtualFunctions[0].mtu: is 9000, above the PF's 1500; many drivers refuse that (raise the PF's mtu)"},
		{"nobody can ask", `physicalFunctions:
  - match: {names: [a]}
    numVFs: 2
    virtualFunctions:
      - {indexes: "0", vhostNet: true}
`, "7:9: physicalFunctions[0].virtualFunctions[0]: the group has no resourceName: no pod can ask for its VFs (add resourceName)"},
		{"everything", `resourceList:
  - resourceName: all
    selectors: {}
  - resourceName: some
    selectors: [{linkTypes: [ether, infiniband]}]
`, "5:16: resourceList[0].selectors[0]: selects every device of type netDevice (narrow it by vendors, drivers or pfNames)\n" +
			"7:17: resourceList[1].selectors[0].linkTypes: the resource mixes link types: ether, infiniband (use two resources)"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got []string
			for _, w := range mustLoad(t, head+tc.doc).Warnings() {
				got = append(got, w.Error())
			}
			if diff := cmp.Diff(tc.want, strings.Join(got, "\n")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestEmbeddedPositions: whatever the style of the block scalar, a position in
// the content is found at the same text in the file.
func TestEmbeddedPositions(t *testing.T) {
	inner := []string{"apiVersion: v1alpha1", "kind: SRIOVConfig", "", "# größe", "physicalFunctions:", "  - match: {names: [日本, b]}", "", "", "    numVFs: 4"}
	for _, indicator := range []string{"|", "|-", "|+", ">", ">-", "|2", ">+2", "|2-", "|  # ours"} {
		for _, indent := range []int{6, 7, 11} {
			for _, blanks := range []int{0, 2} {
				for _, eol := range []string{"\n", "\r\n"} {
					if strings.Contains(indicator, "2") && indent != 6 {
						continue // the indicator says two more than the key
					}
					name := fmt.Sprintf("%s indent %d blanks %d %q", indicator, indent, blanks, eol)
					text := "name: sriov\nkind: ExtensionServiceConfig\napiVersion: v1alpha1\nconfigFiles:\n  - mountPath: /etc/sriov/config.yaml\n    content: " + indicator + "\n" + strings.Repeat("\n", blanks)
					for _, l := range inner {
						if l != "" {
							l = strings.Repeat(" ", indent) + l
						}
						text += l + "\n"
					}
					text += "environment: []\n"
					emb, err := Extract("f", []byte(strings.ReplaceAll(text, "\n", eol)))
					if err != nil {
						t.Errorf("%s: %v", name, err)
						continue
					}
					outer := strings.Split(text, "\n")
					found := 0
					for i, l := range splitLines(emb.Data) {
						for j := range []rune(l) {
							p := emb.where.at(Pos{i + 1, j + 1})
							want := []rune(l)[j]
							if p.Line > len(outer) || p.Column > len([]rune(outer[p.Line-1])) {
								// A folded line break is a space that stands nowhere.
								if want != ' ' {
									t.Fatalf("%s: %d:%d (%c) is at %v, which is not there", name, i+1, j+1, want, p)
								}
								continue
							}
							if got := []rune(outer[p.Line-1])[p.Column-1]; got != want && want != ' ' {
								t.Fatalf("%s: %d:%d is %c, and %v is %c", name, i+1, j+1, want, p, got)
							}
							found++
						}
					}
					if found < 80 {
						t.Errorf("%s: %d characters found", name, found)
					}
				}
			}
		}
	}
}

func TestExtract(t *testing.T) {
	emb, err := Extract("f", []byte("apiVersion: v1\nkind: Whatever\n"))
	if err != nil || !emb.Bare || emb.where.at(Pos{2, 7}) != (Pos{2, 7}) {
		t.Errorf("a bare document: %+v, %v", emb, err)
	}
	emb, err = Extract("f", []byte("apiVersion: v1alpha1\nkind: ExtensionServiceConfig\nname: sriov\nconfigFiles:\n- {mountPath: /etc/sriov/config.yaml, content: 'kind: x'}\n"))
	if err != nil || emb.Bare || string(emb.Data) != "kind: x" {
		t.Fatalf("a quoted content: %+v, %v", emb, err)
	}
	if got, want := emb.where.at(Pos{1, 3}), (Pos{5, 48}); got != want {
		t.Errorf("a quoted content is at %v, want %v", got, want)
	}
	_, err = Extract("f", []byte("a: [\n"))
	var all *Errors
	if !errors.As(err, &all) || all.Source != "f" {
		t.Errorf("a syntax error: %T %v", err, err)
	}
}

func TestMarshalReference(t *testing.T) {
	c := mustLoad(t, string(Reference()))
	doc, err := Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c, mustLoad(t, string(doc)), noPos); diff != "" {
		t.Errorf("%s\n%s", diff, doc)
	}
	for _, text := range []string{"spoofCheck: false", "min: 0", `indexes: "0-3"`, `vendors: ["15b3"]`, "protocol: 802.1q", "selectors:", "install: true"} {
		if strings.Contains(string(Reference()), text) && text != "min: 0" && !strings.Contains(string(doc), text) {
			t.Errorf("%q is missing in\n%s", text, doc)
		}
	}
}

func TestMarshalKeepsWhatIsSetToZero(t *testing.T) {
	doc := head + `physicalFunctions:
  - match: {names: ["12", "true", "1e3", "~"]}
    numVFs: 0
  - match: {names: [b]}
    numVFs: 2
    virtualFunctions:
      - {indexes: 0, trust: false, vlan: {id: 0}, rate: {min: 0}, macAddresses: kernel}
      - {indexes: 1, optional: false, guids: ["00:00:00:00:00:00:00:01"]}
resourceList:
  - {resourceName: "1", selectors: [{}, {vendors: ["1521"], acpiIndexes: ["7"], isRdma: true}], additionalInfo: {"*": {"yes": "no", "": null}}}
  - {resourceName: "2", selectors: {}, additionalInfo: {}}
health: {link: false}
cni: {install: "false"}
`
	doc = strings.Replace(doc, `, "": null`, "", 1)
	c := mustLoad(t, doc)
	out, err := Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c, mustLoad(t, string(out)), noPos); diff != "" {
		t.Errorf("%s\n%s", diff, out)
	}
}

func TestClosest(t *testing.T) {
	words := []string{"names", "numVFs", "virtualFunctions", "vlan"}
	for in, want := range map[string]string{
		"NUMVFS": "numVFs", "numVf": "numVFs", "name": "names", "virtualFunction": "virtualFunctions", "vritualFunctions": "virtualFunctions",
		"vlna": "vlan", "x": "", "": "", "completely": "", strings.Repeat("numVFs", 50): "",
	} {
		if got, ok := closest(in, words); ok && got != want || !ok && want != "" {
			t.Errorf("%q: got %q %v, want %q", in, got, ok, want)
		}
	}
}
