package spec_test

import (
	"strings"
	"testing"

	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

// Documents that say what nobody means.
func TestNeverMeant(t *testing.T) {
	pf := func(names string) string { return pfs + "- match: {names: [" + names + "]}\n  numVFs: 4\n" }
	info := func(pair string) string { return list + "{}, additionalInfo: {\"*\": {" + pair + "}}}]\n" }
	for name, tc := range map[string]struct{ doc, want string }{
		"minus zero":               {pfs + "- match: {names: [a]}\n  numVFs: -0\n", "5:11: physicalFunctions[0].numVFs: want a whole number, found the number -0"},
		"plain tag":                {pfs + "- match: {names: [a]}\n  numVFs: ! 4\n", "5:11: tags are not accepted (!)"},
		"plain tag of a list":      {pfs + "- match: {names: ! [a]}\n  numVFs: 4\n", "4:18: tags are not accepted (!)"},
		"plain tag of a block":     {identity + "physicalFunctions: !\n- match: {names: [a]}\n  numVFs: 4\n", "3:20: tags are not accepted (!)"},
		"plain tag of a key":       {pfs + "- match: {names: [a]}\n  ! numVFs: 4\n", "5:3: tags are not accepted (!)"},
		"plain tag of a text":      {pf(`! "a"`), "4:19: tags are not accepted (!)"},
		"NUL":                      {pf(`"a\0"`), "has the control character U+0000 as character 2"},
		"escape":                   {pf(`"\e[31ma"`), "has the control character U+001B"},
		"delete":                   {pf(`"a\x7f"`), "has the control character U+007F"},
		"line separator":           {pf(`"a\u2028b"`), "has the line separator U+2028"},
		"right to left":            {pf(`"a\u202eb"`), "has the invisible character U+202E"},
		"zero width":               {pf(`"a\u200bb"`), "has the invisible character U+200B"},
		"byte order mark":          {pf(`"\ufeffa"`), "has the invisible character U+FEFF"},
		"filler":                   {pf(`"a\u3164"`), "has the invisible character U+3164"},
		"noncharacter":             {pf(`"a\uffff"`), "has the noncharacter U+FFFF"},
		"colon":                    {pf(`"eth0:1"`), `"eth0:1" cannot be an interface name`},
		"dot":                      {pf(`.`), `"." cannot be an interface name`},
		"two dots":                 {pf(`..`), `".." cannot be an interface name`},
		"slash":                    {pf(`a/b`), `"a/b" cannot be an interface name`},
		"no-break space":           {pf(`"a\u00a0b"`), "cannot be an interface name"},
		"PF name with a colon":     {list + `{pfNames: ["eth0:1#0"]}}]`, "cannot be an interface name"},
		"PF name of dots":          {list + `{pfNames: [".."]}}]`, `".." cannot be an interface name`},
		"PF name with a NUL":       {list + `{pfNames: ["a\0"]}}]`, "has the control character U+0000"},
		"PF name that is long":     {list + `{pfNames: [` + strings.Repeat("a", 128) + `]}}]`, "128 bytes"},
		"profile":                  {list + `{ddpProfiles: ["a\u202e"]}}]`, "has the invisible character U+202E"},
		"directory with NUL":       {identity + `cni: {binDir: "/opt/cni\0"}`, "cni.binDir: has the control character U+0000"},
		"directory with LF":        {identity + `cni: {binDir: "/opt/cni\n"}`, "cni.binDir: has the control character U+000A"},
		"directory with RLO":       {identity + `cni: {binDir: "/opt/\u202ecni"}`, "cni.binDir: has the invisible character U+202E"},
		"key of an environment":    {info(`"a\n": b`), "has the control character U+000A"},
		"key that is not seen":     {info(`"a\u200d": b`), "has the invisible character U+200D"},
		"text of an environment":   {info(`a: "\0"`), "has the control character U+0000"},
		"order":                    {pf("a") + "  force: \"1\\u2066\"\n", "has the invisible character U+2066"},
		"one address for two PFs":  {pfs + "- {match: {names: [a]}, numVFs: 1, virtualFunctions: [{indexes: 0, macAddresses: [\"02:00:00:00:00:01\"]}]}\n- {match: {names: [b]}, numVFs: 1, virtualFunctions: [{indexes: 0, macAddresses: [\"02:00:00:00:00:01\"]}]}\n", "physicalFunctions[1].virtualFunctions[0].macAddresses[0]: 02:00:00:00:00:01 is listed twice; the first is at line 4"},
		"one GUID for two PFs":     {pfs + "- {match: {names: [a]}, numVFs: 1, virtualFunctions: [{indexes: 0, guids: [\"02:00:00:00:00:00:00:01\"]}]}\n- {match: {names: [b]}, numVFs: 1, virtualFunctions: [{indexes: 0, guids: [\"02:00:00:00:00:00:00:01\"]}]}\n", "is listed twice"},
		"half of a character":      {"{\"apiVersion\": \"v1alpha1\",\n \"kind\": \"SRIOVConfig\",\n \"a\": \"\\\\\\ud83d\\ude00\\ud83d\"}", `3:22: \ud83d is half of a character`},
		"second half alone":        {"{\"apiVersion\": \"v1alpha1\",\n \"kind\": \"SRIOVConfig\", \"a\": \"\\uDE00\"}", `2:31: \uDE00 is half of a character`},
		"lost line breaks":         {"apiVersion: v1alpha1 kind: SRIOVConfig physicalFunctions:\n  - match: {names: [a]}\n    numVFs: 1\n", `write "content: |" in the machine config`},
		"a second document":        {pf("a") + "---\nfoo: bar\n", "a second document begins here"},
		"a second document of K8s": {pf("a") + "---\napiVersion: v1\nkind: ConfigMap\n", "a second document begins here"},
		"a document of Talos":      {pf("a") + "---\napiVersion: v1alpha1\nkind: LinkConfig\nname: a\n", "Talos does not know the kind SRIOVConfig"},
		"machine config":           {pf("a") + "---\nmachine: {type: worker}\n", "Talos does not know the kind SRIOVConfig"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := spec.LoadFile("f", []byte(tc.doc)); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v\nwant %s\n%s", err, tc.want, tc.doc)
			}
		})
	}
}

// What looks like one of these and is meant.
func TestMeant(t *testing.T) {
	for name, doc := range map[string]string{
		"lines of a text":       list + "{}, additionalInfo: {\"*\": {a: \"b\\n\\tc\"}}}]\n",
		"exclamation marks":     list + "{}, additionalInfo: {\"*\": {a: \"! 4\", b: hello !}}}] # ! 4\n",
		"JSON with such a text": `{"apiVersion": "v1alpha1", "kind": "SRIOVConfig", "resourceList": [{"resourceName": "a", "selectors": {}, "additionalInfo": {"*": {"a": "\/! 4"}}}]}`,
		"every script":          pfs + "- match: {names: [größe-日本-نت]}\n  numVFs: 1\n",
		"negated class":         pfs + "- match: {names: [\"eth[!0]\", \"e.h.\"]}\n  numVFs: 1\n",
		"two halves":            `{"apiVersion": "v1alpha1", "kind": "SRIOVConfig", "resourceList": [{"resourceName": "a", "selectors": {}, "additionalInfo": {"*": {"a": "\ud83d\ude00\\ud83d"}}}]}`,
	} {
		if _, err := spec.LoadFile("f", []byte(doc)); err != nil {
			t.Errorf("%s: %v\n%s", name, err, doc)
		}
	}
}

// What Talos refuses in a document that carries the config is not valid here.
func TestPatchThatTalosRefuses(t *testing.T) {
	const content = "  content: |\n    apiVersion: v1alpha1\n    kind: SRIOVConfig\n"
	file := "- mountPath: /etc/sriov/config.yaml\n" + content
	for name, tc := range map[string]struct{ doc, want string }{
		"as it should be":   {patch + file + "environment: [A=B]\n", ""},
		"other file":        {patch + file + "- {mountPath: /etc/other, content: a}\n", ""},
		"patch directive":   {patch + file + "- {mountPath: /etc/other, $patch: delete}\n", ""},
		"second name":       {patch + file + "name: sriov\n", "9:1: name: is given twice; the first is at line 3"},
		"second content":    {patch + file + content, "9:3: configFiles[0].content: is given twice; the first is at line 6"},
		"unknown key":       {patch + file + "enviroment: [A=B]\n", `9:1: enviroment: unknown key (did you mean "environment"?)`},
		"key of ours":       {patch + file + "physicalFunctions: []\n", "9:1: physicalFunctions: unknown key (it is a key of the config"},
		"unknown key below": {patch + file + "  mode: 0644\n", "9:3: configFiles[0].mode: unknown key"},
		"text for a file":   {patch + file + "- /etc/other\n", "9:3: configFiles[1]: want a mapping with content and mountPath"},
	} {
		_, err := spec.LoadFile("f", []byte(tc.doc))
		if tc.want == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want %s\n%s", name, err, tc.want, tc.doc)
		}
	}
}
