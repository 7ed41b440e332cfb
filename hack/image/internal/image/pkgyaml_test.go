package image_test

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"text/template"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"

	"github.com/talos-sriov/talos-sriov/hack/image/internal/image"
)

// bldrFile is the part of siderolabs' bldr format that pkg.yaml uses.
type bldrFile struct {
	Name, Variant, Shell string
	Dependencies         []struct{ Stage string }
	Steps                []struct {
		Env        map[string]string
		CachePaths []string `yaml:"cachePaths"`
		Sources    []struct{ URL, Destination, SHA256, SHA512 string }
		Network    string
		Prepare    []string
		Build      []string
		Install    []string
		Test       []string
		SBOM       struct {
			OutputPath string `yaml:"outputPath"`
			Version    string
			Licenses   []string
		}
	}
	Finalize []struct{ From, To string }
}

// render fills a template as bldr does.
func render(t *testing.T, name string, vars map[string]string) []byte {
	t.Helper()
	tmpl, err := template.New(name).Option("missingkey=error").Parse(string(repoFile(t, name)))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := tmpl.Execute(&b, vars); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestPkgYAML runs pkg.yaml's install steps over built binaries and compares
// what they leave, path by path and mode by mode, with the image.
func TestPkgYAML(t *testing.T) {
	vars := map[string]string{"SRIOV_VERSION": "v0.1.0", "SRIOV_SHA256": "aa", "SRIOV_SHA512": "bb"}
	var pkg bldrFile
	dec := yaml.NewDecoder(bytes.NewReader(render(t, "pkg.yaml", vars)))
	dec.KnownFields(true)
	if err := dec.Decode(&pkg); err != nil {
		t.Fatal(err)
	}
	var vs map[string]string
	if err := yaml.Unmarshal(render(t, "vars.yaml", vars), &vs); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"VERSION": "v0.1.0", "TIER": "contrib"}, vs); diff != "" {
		t.Errorf("vars.yaml (-want +got):\n%s", diff)
	}

	in := input(t, "amd64")
	dir := t.TempDir()
	write := func(name string, data []byte, mode os.FileMode) {
		t.Helper()
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, data, mode); err != nil {
			t.Fatal(err)
		}
	}
	// The tree as the build steps leave it, and bldr's directory of the package.
	write("sriov/extension/sriov.yaml", in.Service, 0o600)
	for name, data := range in.Binaries {
		write("sriov/_out/"+name, data, 0o700)
	}
	write("pkg/manifest.yaml", in.Manifest, 0o644)
	for _, step := range pkg.Steps {
		for _, script := range step.Install {
			script = strings.ReplaceAll(script, " /rootfs", " "+dir+"/rootfs")
			cmd := exec.Command("bash", "-euc", script)
			cmd.Dir = dir
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", script, err, out)
			}
		}
		if p := step.SBOM.OutputPath; p != "" {
			write(p, in.SBOM, 0o644)
		}
	}
	got := make(map[string]string)
	for _, f := range pkg.Finalize {
		from := filepath.Join(dir, f.From)
		err := filepath.WalkDir(from, func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(from, name)
			if err != nil {
				return err
			}
			if rel == "." {
				rel = filepath.Base(from)
			}
			data, err := os.ReadFile(name)
			got[strings.TrimPrefix(filepath.Join(f.To, rel), "/")] = info.Mode().String() + " " + string(data)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	want := make(map[string]string)
	for _, f := range in.Files() {
		want[f.Path] = f.Mode.String() + " " + string(f.Data)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("pkg.yaml installs something else than the image has (-image +pkg.yaml):\n%s", diff)
	}
	if filepath.Base(image.SBOMPath) != pkg.Name+".spdx.json" {
		t.Errorf("SBOM %s is not named after %s", image.SBOMPath, pkg.Name)
	}
}
