package talos_test

import (
	"os"
	"strings"
	"testing"

	"github.com/talos-sriov/talos-sriov/pkg/talos"
	"github.com/talos-sriov/talos-sriov/pkg/talos/talostest/contracts"
)

// TestReleases: the patches are tested with every version that there is, by tests
// that know the same of it.
func TestReleases(t *testing.T) {
	versions, releases := talos.Versions(), contracts.Releases()
	if len(versions) != len(releases) {
		t.Fatalf("%d versions, %d releases", len(versions), len(releases))
	}
	for i, v := range versions {
		if r := releases[i]; r.Version != v.Version || r.Documents != v.RepeatableLists {
			t.Errorf("version %+v, release %+v", v, r)
		}
	}
}

func TestVersionOf(t *testing.T) {
	for version, want := range map[string]string{
		"v1.12.0": "1.12", "1.12": "1.12", "v1.13.9": "1.13", "v1.14.0-rc.1": "1.14", "1.15.0": "1.14", "2.0": "1.14", "v99999999999999999999.1": "1.14",
	} {
		got, err := talos.VersionOf(version)
		if err != nil || got.Version != want {
			t.Errorf("%s: got %s, %v, want %s", version, got.Version, err, want)
		}
	}
	for version, want := range map[string]string{
		"1.11.3": "older than 1.12", "latest": "no Talos version", "": "no Talos version", "v1.13.0.1": "no Talos version", "1.x": "no Talos version",
	} {
		if _, err := talos.VersionOf(version); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", version, err, want)
		}
	}
}

func TestManifestDeclaresOldest(t *testing.T) {
	manifest, err := os.ReadFile("../../manifest.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if want := `version: ">= v` + talos.Versions()[0].Version + `.0"`; !strings.Contains(string(manifest), want) {
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
	for _, v := range talos.Versions() {
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
