package machineconfig_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/talos-sriov/talos-sriov/pkg/machineconfig"
)

const ours = `apiVersion: v1alpha1
kind: ExtensionServiceConfig
name: sriov
configFiles:
  - mountPath: /etc/sriov/config.yaml
    content: |
      # four
      numVFs: 4
`

// TestMerge: config, patch, and what results. A second time nothing changes.
func TestMerge(t *testing.T) {
	for name, c := range map[string]struct{ config, patch, want string }{
		"appended": {
			"machine: {}\n", ours,
			"machine: {}\n---\n" + ours,
		},
		"appended after a document without line break": {
			"machine: {}", ours,
			"machine: {}\n---\n" + ours,
		},
		"appended with its own marker": {
			"machine: {}\n", "# a patch\n--- # of mine\nkind: Later\napiVersion: v2\n",
			"machine: {}\n# a patch\n--- # of mine\nkind: Later\napiVersion: v2\n",
		},
		"appended after an end marker": {
			"machine: {}\n...\n", "kind: Later\napiVersion: v2\n...\n",
			"machine: {}\n...\n---\nkind: Later\napiVersion: v2\n...\n",
		},
		"unknown documents keep their bytes": {
			"# head\nkind:   Later\napiVersion: v2\nx: [ 1,2 ]   # odd\n...\n%YAML 1.1\n---\nmachine: {type: worker, x: 1}\n--- # next\nkind: 'Other'\napiVersion: v2\ntext: >-\n  a\n\n   b\n",
			"machine: {type: controlplane}\n",
			"# head\nkind:   Later\napiVersion: v2\nx: [ 1,2 ]   # odd\n...\n%YAML 1.1\n---\nmachine: {type: controlplane, x: 1}\n--- # next\nkind: 'Other'\napiVersion: v2\ntext: >-\n  a\n\n   b\n",
		},
		"replaced by the patch as it is written": {
			"--- # first\nmachine: {}\n---\n" + strings.ReplaceAll(ours, "numVFs: 4", "numVFs: 2") + "---\nkind: Later\napiVersion: v2\n",
			"# mine\n" + ours,
			"--- # first\nmachine: {}\n---\n# mine\n" + ours + "---\nkind: Later\napiVersion: v2\n",
		},
		"a file beside ours is kept": {
			"apiVersion: v1alpha1\nkind: ExtensionServiceConfig\nname: sriov\nconfigFiles:\n  - mountPath: /etc/other\n    content: x\nenvironment: [A=1]\n",
			"apiVersion: v1alpha1\nkind: ExtensionServiceConfig\nname: sriov\nconfigFiles:\n  - mountPath: /etc/other\n    content: y\n  - mountPath: /etc/sriov/config.yaml\n    content: |\n      z\nenvironment: [B=2, A=1]\n",
			"apiVersion: v1alpha1\nkind: ExtensionServiceConfig\nname: sriov\nconfigFiles:\n    - mountPath: /etc/other\n      content: y\n    - mountPath: /etc/sriov/config.yaml\n      content: |\n        z\nenvironment: [A=1, B=2]\n",
		},
		"keys that nobody knows": {
			"machine:\n  # kept\n  invented: {a: [1, 2]} # here too\n  network:\n    hostname: n1\n",
			"machine:\n  network:\n    interfaces:\n      - deviceSelector: {pciID: 15B3:101E}\n        ignore: true\n",
			"machine:\n  # kept\n  invented: {a: [1, 2]} # here too\n  network:\n    hostname: n1\n    interfaces:\n      - deviceSelector: {pciID: '15B3:101E'}\n        ignore: true\n",
		},
		"interfaces by name and selector": {
			"machine:\n    network:\n        interfaces:\n            - interface: eth0\n              dhcp: true\n            - deviceSelector:\n                busPath: 00*\n                pciID: 15b3:1\n              mtu: 1500\n",
			"machine:\n  network:\n    interfaces:\n    - interface: eth0\n      mtu: 9000\n      vlans: [{vlanId: 5}]\n    - deviceSelector: {pciID: '15b3:1', busPath: 00*}\n      mtu: 9000\n    - deviceSelector: {pciID: '15b3:1'}\n      ignore: true\n",
			"machine:\n    network:\n        interfaces:\n            - interface: eth0\n              dhcp: true\n              mtu: 9000\n              vlans: [{vlanId: 5}]\n            - deviceSelector:\n                busPath: 00*\n                pciID: 15b3:1\n              mtu: 9000\n            - deviceSelector: {pciID: '15b3:1'}\n              ignore: true\n",
		},
		"lists": {
			"cluster:\n    network:\n        podSubnets: [a]\n    apiServer:\n        certSANs: [a]\n        extraArgs: {x: [a], y: b}\nmachine:\n    kernel:\n        modules: [{name: a}]\n",
			"cluster:\n  network: {podSubnets: [b]}\n  apiServer: {certSANs: [a, b], extraArgs: {x: [b], y: [c]}}\nmachine: {kernel: {modules: [{name: b}, {name: a}]}}\n",
			"cluster:\n    network:\n        podSubnets: [b]\n    apiServer:\n        certSANs: [a, b]\n        extraArgs: {x: [b], y: [c]}\nmachine:\n    kernel:\n        modules: [{name: a}, {name: b}]\n",
		},
		"null and empty": {
			"machine:\n    sysctls: null\n    network: {}\n    files: []\n    type: worker\n",
			"machine: {sysctls: {a: b}, network: {hostname: x}, files: [{path: /x}], type: null}\n",
			"machine:\n    sysctls: {a: b}\n    network: {hostname: x}\n    files: [{path: /x}]\n    type: worker\n",
		},
		"a mapping of a kind that nobody knows": {
			"apiVersion: v2\nkind: Later\na: {b: 1}\nlist: [x]\n",
			"apiVersion: v2\nkind: Later\na: {c: 2}\nlist: [x]\n",
			"apiVersion: v2\nkind: Later\na: {b: 1, c: 2}\nlist: [x]\n",
		},
		"document deleted": {
			"machine: {}\n---\n" + ours + "---\nkind: Later\napiVersion: v2\n",
			`{"apiVersion":"v1alpha1","kind":"ExtensionServiceConfig","name":"sriov","$patch":"delete"}`,
			"machine: {}\n---\nkind: Later\napiVersion: v2\n",
		},
		"nothing to delete": {
			"machine: {}\n", "apiVersion: v1alpha1\nkind: ExtensionServiceConfig\nname: sriov\n$patch: delete\n---\napiVersion: v1\nkind: Later\na: {b: {$patch: delete}}\n---\nmachine: {a: {$patch: delete}, b: [{c: d, $patch: delete}]}\n",
			"machine: {}\n",
		},
		"keys deleted": {
			"machine:\n    a:\n        b: 1\n    list:\n        - name: x\n        - name: y\n          z: 1\n",
			"machine:\n  a: {$patch: delete}\n  list: [{name: y, $patch: delete}]\n  c: 1\n",
			"machine:\n    list:\n        - name: x\n    c: 1\n",
		},
		"CRLF": {
			"machine:\r\n    type: worker\r\n    y: 1\r\n---\r\nkind: Later\r\napiVersion: v2\r\n", "machine:\r\n  type: controlplane\r\n  x: |\r\n    a\r\n    b\r\n",
			"machine:\r\n    type: controlplane\r\n    y: 1\r\n    x: |\r\n        a\r\n        b\r\n---\r\nkind: Later\r\napiVersion: v2\r\n",
		},
		"byte order marks": {
			"\ufeffmachine: {}\n", "\ufeff" + ours,
			"\ufeffmachine: {}\n---\n" + ours,
		},
		"nothing but a patch": {"", ours, ours},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := machineconfig.Merge([]byte(c.config), []byte(c.patch))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.Split(c.want, "\n"), strings.Split(string(got), "\n")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			again, err := machineconfig.Merge(got, []byte(c.patch))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(again, got) {
				t.Errorf("a second time:\n%s", again)
			}
		})
	}
}

func TestMergeRefused(t *testing.T) {
	for name, c := range map[string]struct {
		config, patch, want string
		line                int
	}{
		"a list of a kind that nobody knows": {"apiVersion: v2\nkind: Later\nlist: [x]\n", "machine: {}\n---\napiVersion: v2\nkind: Later\nlist: [y]\n", "Later: list: is a list", 3},
		"a list that versions differ on":     {"apiVersion: v1alpha1\nkind: ResolverConfig\nsearchDomains: {domains: [x]}\n", "apiVersion: v1alpha1\nkind: ResolverConfig\nsearchDomains: {domains: [y]}\n", "merge differently", 1},
		"another kind of value":              {"machine: {a: [1]}\n", "machine: {a: {b: 1}}\n", "v1alpha1: machine.a: is a mapping in the patch and a list", 1},
		"alias in the config":                {"machine: {a: &x {b: 1}, c: *x}\n", "machine: {c: {b: 2}}\n", "machine.c: has a YAML anchor", 1},
		"anchor in the config":               {"machine: {a: &x {b: 1}, c: *x}\n", "machine: {a: {b: 2}}\n", "machine.a: has a YAML anchor", 1},
		"alias in the patch":                 {"machine: {a: 1}\n", "machine: {b: &x {c: 1}, d: *x}\n", "machine.b: has a YAML anchor", 1},
		"merge key":                          {"x: &x {a: 1}\nmachine:\n  <<: *x\n", "machine: {a: 2}\n", "merge key", 1},
		"no kind":                            {"machine: {}\n", "apiVersion: v1alpha1\nname: x\n", "has no kind", 1},
		"no apiVersion":                      {"machine: {}\n", "# x\n---\nkind: A\n", "A: has no apiVersion", 3},
		"twice":                              {"machine: {}\n", "machine:\n  a: 1\n  a: 2\n", "machine.a: is given twice", 1},
		"root deleted":                       {"machine: {}\n", "machine: {}\n$patch: delete\n", "cannot be deleted", 1},
		"another directive":                  {"machine: {}\n", "machine: {a: {$patch: replace}}\n", `machine.a.$patch: want delete, found "replace"`, 1},
		"an entry without a name":            {"machine: {}\n", "machine: {a: [{$patch: delete}]}\n", "does not say which entry", 1},
		"YAML directive":                     {"machine: {}\n", "%YAML 1.1\n---\nmachine: {}\n", "directive", 3},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := machineconfig.Merge([]byte(c.config), []byte(c.patch))
			e, ok := errors.AsType[*machineconfig.Error](err)
			if !ok || !strings.Contains(err.Error(), c.want) || e.Line != c.line {
				t.Errorf("got %v, want line %d: %s", err, c.line, c.want)
			}
		})
	}
	for config, patch := range map[string]string{"a: [": "machine: {}", "machine: {}": "a: ["} {
		if _, err := machineconfig.Merge([]byte(config), []byte(patch)); err == nil {
			t.Errorf("%q with %q: no error", config, patch)
		}
	}
}

// FuzzMerge: what is merged is read again, has everything that the patch does not
// name with its bytes, and merged again it stays.
func FuzzMerge(f *testing.F) {
	f.Add([]byte("# c\nmachine:\n  a: [1]\n---\nkind: A\napiVersion: v1\n"), []byte(ours))
	f.Add([]byte("machine: {network: {interfaces: [{interface: eth0}]}}\n...\n"), []byte("machine:\n  network:\n    interfaces:\n      - interface: eth0 # x\n        mtu: 1\n"))
	f.Fuzz(func(t *testing.T, config, patch []byte) {
		got, err := machineconfig.Merge(config, patch)
		if err != nil {
			return
		}
		again, err := machineconfig.Merge(got, patch)
		if err != nil || !bytes.Equal(again, got) {
			t.Fatalf("%q with %q is %q, and again %q, %v", config, patch, got, again, err)
		}
		named, err := machineconfig.Documents(patch)
		if err != nil {
			t.Fatal(err)
		}
		docs, err := machineconfig.Documents(config)
		if err != nil {
			t.Fatal(err)
		}
		for i := range docs {
			touched := false
			for j := range named {
				touched = touched || named[j].Kind == docs[i].Kind
			}
			if !touched && !bytes.Contains(got, docs[i].Raw) {
				t.Errorf("%q with %q: %q is not in %q", config, patch, docs[i].Raw, got)
			}
		}
	})
}
