package contracts

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/talos-sriov/talos-sriov/pkg/machineconfig"
)

// Run tests the ready patches, and those that sriovctl generates, with the linked
// machinery, which is of a Talos version such as 1.13. module is the directory of
// the main module.
func Run(t *testing.T, version, module string) {
	root, generated := filepath.Join(module, "machineconfig-patches"), filepath.Join(module, "pkg/talos/testdata/generated")
	releases := upTo(t, version)
	linked := releases[len(releases)-1]
	have := nodes(t, releases)
	t.Run("Patches", func(t *testing.T) { repeatable(t, have, patches(t, root, ".")) })
	t.Run("Once", func(t *testing.T) { once(t, have, patches(t, root, "once")) })
	t.Run("Kubelet", func(t *testing.T) { kubelet(t, have, patches(t, root, "kubelet")) })
	t.Run("Generated", func(t *testing.T) { repeatable(t, have, patches(t, generated, ".")) })
	t.Run("GeneratedOnce", func(t *testing.T) { once(t, have, patches(t, generated, "once")) })
	if linked.Documents {
		t.Run("GeneratedDocuments", func(t *testing.T) { repeatable(t, have, patches(t, generated, "v1.14")) })
		t.Run("Documents", func(t *testing.T) { repeatable(t, have, patches(t, root, "v1.14")) })
		t.Run("Golden", func(t *testing.T) { golden(t, have) })
	}
	t.Run("Remove", func(t *testing.T) { remove(t, have, patches(t, root, ".")) })
	t.Run("Together", func(t *testing.T) { together(t, have, root, linked) })
	t.Run("Rules", func(t *testing.T) { rules(t, linked) })
	t.Run("Merge", func(t *testing.T) { merges(t, have) })
}

// apply merges the patch as Talos does and as we do, and wants of both the same
// good config.
func apply(t *testing.T, n *Node, config, patch []byte) []byte {
	t.Helper()
	theirs, err := talosMerge(config, patch)
	if err != nil {
		t.Fatalf("%s: Talos: %v", n.Name, err)
	}
	if err := validate(theirs); err != nil {
		t.Errorf("%s: Talos refuses its own merge: %v", n.Name, err)
	}
	ours, err := machineconfig.Merge(config, patch)
	if err != nil {
		t.Fatalf("%s: %v", n.Name, err)
	}
	if err := validate(ours); err != nil {
		t.Errorf("%s: Talos refuses our merge: %v", n.Name, err)
	}
	same(t, n, theirs, ours)
	untouched(t, n, config, ours, patch)
	return ours
}

// same compares what Talos reads in two configs.
func same(t *testing.T, n *Node, theirs, ours []byte) {
	t.Helper()
	want, err := decoded(theirs)
	if err != nil {
		t.Fatalf("%s: %v", n.Name, err)
	}
	got, err := decoded(ours)
	if err != nil {
		t.Fatalf("%s: %v", n.Name, err)
	}
	if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("%s: merged (-by Talos +by us):\n%s", n.Name, diff)
	}
}

// untouched wants every document that the patch does not name to have kept its
// bytes.
func untouched(t *testing.T, n *Node, before, after, patch []byte) {
	t.Helper()
	named := documents(t, patch)
	for _, d := range documents(t, before) {
		if !slices.ContainsFunc(named, func(p machineconfig.Document) bool { return p.Kind == d.Kind && p.Name == d.Name }) && !bytes.Contains(after, d.Raw) {
			t.Errorf("%s: document %s %s was changed", n.Name, d.Kind, d.Name)
		}
	}
}

func documents(t *testing.T, raw []byte) []machineconfig.Document {
	t.Helper()
	docs, err := machineconfig.Documents(raw)
	if err != nil {
		t.Fatal(err)
	}
	return docs
}

// repeatable: the patch applies to every config that it is for, and again.
func repeatable(t *testing.T, have []Node, files []Patch) {
	for i := range files {
		p := &files[i]
		t.Run(p.Name, func(t *testing.T) {
			for j := range have {
				n := &have[j]
				if forControlPlane(p) && !n.ControlPlane {
					continue
				}
				again(t, n, p)
			}
		})
	}
}

func again(t *testing.T, n *Node, p *Patch) {
	t.Helper()
	merged := apply(t, n, n.Config, p.Data)
	if bytes.Equal(merged, n.Config) {
		t.Errorf("%s: the patch changes nothing", n.Name)
	}
	twice, err := talosMerge(merged, p.Data)
	if err != nil {
		t.Fatalf("%s: a second time: %v", n.Name, err)
	}
	same(t, n, twice, merged)
	if ours, err := machineconfig.Merge(merged, p.Data); err != nil || !bytes.Equal(ours, merged) {
		t.Errorf("%s: a second time changes the config (%v)", n.Name, err)
	}
}

// once: these apply to every config, and Talos appends when they are applied
// again, which is why they stand apart. We do not.
func once(t *testing.T, have []Node, files []Patch) {
	for i := range files {
		p := &files[i]
		t.Run(p.Name, func(t *testing.T) {
			for j := range have {
				n := &have[j]
				if forControlPlane(p) && !n.ControlPlane {
					continue
				}
				merged := apply(t, n, n.Config, p.Data)
				twice, err := talosMerge(merged, p.Data)
				if before, after := mustDecode(t, merged), ""; err == nil {
					if after, err = decoded(twice); err == nil && before == after {
						t.Errorf("%s: merging again changes nothing, so the patch may be repeated", n.Name)
					}
				}
				if ours, err := machineconfig.Merge(merged, p.Data); err != nil || !bytes.Equal(ours, merged) {
					t.Errorf("%s: we append again (%v)", n.Name, err)
				}
			}
		})
	}
}

func mustDecode(t *testing.T, data []byte) string {
	t.Helper()
	text, err := decoded(data)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// kubelet: of the two files, each config takes the one that is for its kind and
// refuses the other. That is why there are two.
func kubelet(t *testing.T, have []Node, files []Patch) {
	for i := range files {
		p := &files[i]
		document := strings.HasSuffix(p.Name, "-document.yaml")
		t.Run(p.Name, func(t *testing.T) {
			for j := range have {
				n := &have[j]
				if document == n.documents() {
					again(t, n, p)
					continue
				}
				merged, err := machineconfig.Merge(n.Config, p.Data)
				if err != nil {
					t.Fatalf("%s: %v", n.Name, err)
				}
				if validate(merged) == nil {
					t.Errorf("%s: Talos takes it: it need not stand apart", n.Name)
				}
			}
		})
	}
}

// remove: docs/install.md, how the config is taken away.
func remove(t *testing.T, have []Node, files []Patch) {
	gone := []byte(`{"apiVersion":"v1alpha1","kind":"ExtensionServiceConfig","name":"sriov","$patch":"delete"}`)
	for j := range have {
		n := &have[j]
		with := apply(t, n, n.Config, files[0].Data)
		without := apply(t, n, with, gone)
		if bytes.Contains(without, []byte("ExtensionServiceConfig")) {
			t.Errorf("%s: the config is still there", n.Name)
		}
	}
}

// together: a node may get several, in the course of time. Our config
// is one, so the last one wins, and everything else adds up.
func together(t *testing.T, have []Node, root string, linked Release) {
	dirs := []string{"once", "."}
	if linked.Documents {
		dirs = []string{".", "v1.14"}
	}
	for j := range have {
		n := &have[j]
		config := n.Config
		for _, dir := range dirs {
			for _, p := range patches(t, root, dir) {
				if !forControlPlane(&p) || n.ControlPlane {
					config = apply(t, n, config, p.Data)
				}
			}
		}
		for _, p := range patches(t, root, "kubelet") {
			if strings.HasSuffix(p.Name, "-document.yaml") == n.documents() {
				config = apply(t, n, config, p.Data)
			}
		}
		if got := bytes.Count(config, []byte("kind: ExtensionServiceConfig\n")); got != 1 {
			t.Errorf("%s: %d documents of ours, want 1", n.Name, got)
		}
	}
}

// golden: the config in testdata, with which sriovctl is tested, has the kinds of
// documents that this Talos generates.
func golden(t *testing.T, have []Node) {
	kinds := func(config []byte) []string {
		var out []string
		for _, d := range documents(t, config) {
			out = append(out, d.Kind)
		}
		return out
	}
	i := slices.IndexFunc(have, func(n Node) bool { return n.documents() && !n.ControlPlane })
	if diff := cmp.Diff(kinds(have[i].Config), kinds(Worker114())); diff != "" {
		t.Errorf("(-generated +golden):\n%s", diff)
	}
}
