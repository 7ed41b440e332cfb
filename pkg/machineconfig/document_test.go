package machineconfig_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/talos-sriov/talos-sriov/pkg/machineconfig"
)

// TestDocuments: what the documents of a text are, as kind/name, "-" for an
// empty one. Whatever they are, joined they are the text.
func TestDocuments(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"nothing":              {"", []string{"-"}},
		"comment":              {"# nothing\n", []string{"-"}},
		"one":                  {"machine: {}\n", []string{"v1alpha1/"}},
		"no line break":        {"machine: {}", []string{"v1alpha1/"}},
		"comment and marker":   {"# a\n---\nkind: A\n", []string{"A/"}},
		"marker with comment":  {"kind: A\n--- # b\nkind: B\n", []string{"A/", "B/"}},
		"marker with content":  {"--- {kind: A, name: a}\n--- {kind: B}\n", []string{"A/a", "B/"}},
		"empty between":        {"kind: A\n---\n---\n# none\n---\nkind: B\n---\n", []string{"A/", "-", "-", "B/", "-"}},
		"null":                 {"kind: A\n--- null\n---\n~\n", []string{"A/", "-", "-"}},
		"end marker":           {"kind: A\n...\n---\nkind: B\n...\n# after\n", []string{"A/", "B/", "-"}},
		"directive":            {"%YAML 1.1\n---\nkind: A\n...\n%YAML 1.1\n---\nkind: B\n", []string{"A/", "B/"}},
		"CRLF":                 {"kind: A\r\n---\r\nkind: B\r\nname: b\r\n", []string{"A/", "B/b"}},
		"CR":                   {"kind: A\r---\rkind: B\r", []string{"A/", "B/"}},
		"byte order mark":      {"\ufeff---\nkind: A\n---\nkind: B\n", []string{"A/", "B/"}},
		"marker in block text": {"kind: A\ntext: |\n  x\n  ---\n  y\n---\nkind: B\n", []string{"A/", "B/"}},
		"no marker":            {"kind: A\ntext: ----\n", []string{"A/"}},
		"dashes":               {"kind: A\n----: 1\n---x: 2\n", []string{"A/"}},
		"JSON":                 {`{"apiVersion":"v1alpha1","kind":"A","name":"a","$patch":"delete"}`, []string{"A/a"}},
		"alias":                {"kind: &k A\nname: *k\n", []string{"A/A"}},
	} {
		t.Run(name, func(t *testing.T) {
			docs, err := machineconfig.Documents([]byte(c.text))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			var joined []byte
			for i := range docs {
				d := &docs[i]
				if line := 1 + strings.Count(strings.ReplaceAll(strings.ReplaceAll(string(joined), "\r\n", "\n"), "\r", "\n"), "\n"); d.Line != line {
					t.Errorf("document %d: line %d, want %d", i, d.Line, line)
				}
				joined = append(joined, d.Raw...)
				if d.Empty() {
					got = append(got, "-")
					continue
				}
				got = append(got, d.Kind+"/"+d.Name)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if !bytes.Equal(joined, []byte(c.text)) {
				t.Errorf("joined: %q", joined)
			}
		})
	}
}

func TestDocumentsRefused(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"list":                {"kind: A\n---\n- 1\n", "line 2 is no mapping"},
		"text":                {"hello\n", "line 1 is no mapping"},
		"no YAML":             {"kind: A\n---\nkind: [\n", "yaml: line"},
		"not UTF-8":           {"kind: \xff\n", "UTF-8"},
		"no marker after end": {"kind: A\n...\nkind: B\n", "document start"},
		"odd breaks":          {"kind: A\u0085---\u0085kind: B\n", "line 1"},
		"odd breaks2":         {"kind: A\u2028---\u2028kind: B\n", "line 1"},
	} {
		_, err := machineconfig.Documents([]byte(c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

func TestAt(t *testing.T) {
	docs, err := machineconfig.Documents([]byte("machine:\n  network: &n\n    interfaces:\n      - {interface: eth0, dhcp: null}\n  other: *n\n  unknown: {a: 1}\n"))
	if err != nil {
		t.Fatal(err)
	}
	n := docs[0].Node()
	for _, key := range []string{"network", "other"} {
		items := machineconfig.Items(machineconfig.At(n, "machine", key, "interfaces"))
		if len(items) != 1 || machineconfig.Text(machineconfig.Child(items[0], "interface")) != "eth0" || machineconfig.Text(machineconfig.Child(items[0], "dhcp")) != "" {
			t.Errorf("%s: %d items", key, len(items))
		}
	}
	if machineconfig.At(n, "machine", "none", "deeper") != nil || machineconfig.Items(n) != nil || machineconfig.At(nil, "x") != nil {
		t.Error("what is not there was found")
	}
}

func FuzzDocuments(f *testing.F) {
	f.Add([]byte("kind: A\n---\n# c\nkind: B\n...\n"))
	f.Add([]byte("\ufeff%YAML 1.1\r\n---\r\nkind: A\r\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		docs, err := machineconfig.Documents(raw)
		if err != nil {
			return
		}
		var joined []byte
		for i := range docs {
			joined = append(joined, docs[i].Raw...)
		}
		if !bytes.Equal(joined, raw) {
			t.Errorf("joined %q, want %q", joined, raw)
		}
	})
}
