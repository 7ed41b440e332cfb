package talos_test

import (
	"os"
	"strings"
	"testing"

	"github.com/talos-sriov/talos-sriov/pkg/talos/talostest/contracts"
	"github.com/talos-sriov/talos-sriov/pkg/talos/versions"
)

// TestReleases: the patches are tested with every version that there is, by tests
// that know the same of it.
func TestReleases(t *testing.T) {
	all, releases := versions.All(), contracts.Releases()
	if len(all) != len(releases) {
		t.Fatalf("%d versions, %d releases", len(all), len(releases))
	}
	for i, v := range all {
		if r := releases[i]; r.Version != v.Version || r.Documents != v.RepeatableLists {
			t.Errorf("version %+v, release %+v", v, r)
		}
	}
}

func TestManifestDeclaresOldest(t *testing.T) {
	manifest, err := os.ReadFile("../../manifest.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if want := `version: ">= v` + versions.All()[0].Version + `.0"`; !strings.Contains(string(manifest), want) {
		t.Errorf("manifest.yaml does not say %s", want)
	}
}

// docs/install.md has the table of versions as the program knows it.
func TestVersionsDocument(t *testing.T) {
	text, err := os.ReadFile("../../docs/install.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := []string{
		"| | ", "| kernel modules, inline manifests | ", "| patches for these | ", "| `/etc/cni` | ",
		"| containerd's NRI | ", "| InfiniBand core | ", "| how it is tested | ",
	}
	for _, v := range versions.All() {
		pick := func(yes bool, a, b string) string {
			if yes {
				return a
			}
			return b
		}
		for i, cell := range []string{
			v.Version,
			pick(v.RepeatableLists, "documents with a name", "lists that each patch appends to"),
			pick(v.RepeatableLists, "`v1.14/`", "`once/`"),
			pick(v.EtcCNIKept, "kept over a reboot", "empty at each boot"),
			pick(v.NRI, "on", "off"),
			pick(v.InfiniBandModule, "a module", "built in"),
			v.Tested,
		} {
			rows[i] += cell + " | "
		}
	}
	for _, row := range rows {
		if row = strings.TrimSpace(row); !strings.Contains(string(text), row+"\n") {
			t.Errorf("docs/install.md has no row\n%s", row)
		}
	}
}
