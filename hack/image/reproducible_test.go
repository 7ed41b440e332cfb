//go:build guard

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"io/fs"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/talos-sriov/talos-sriov/hack/image/internal/image"
	"github.com/talos-sriov/talos-sriov/hack/image/internal/sbom"
)

// copyTree copies what the binaries and the image are made of.
func copyTree(t *testing.T, to string) {
	t.Helper()
	if err := os.MkdirAll(to, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"go.mod", "go.sum", "manifest.yaml", "extension", "cmd", "pkg"} {
		err := filepath.WalkDir(filepath.Join(repo, part), func(name string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(repo, name)
			if err != nil {
				return err
			}
			if d.IsDir() {
				return os.MkdirAll(filepath.Join(to, rel), 0o755)
			}
			data, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(to, rel), data, 0o644)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// goBuild builds the binaries as the Makefile does.
func goBuild(t *testing.T, root, arch string) {
	t.Helper()
	manifest, err := os.ReadFile(filepath.Join(root, "manifest.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := image.ParseManifest(manifest)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range binaries {
		cmd := exec.Command("go", "build", "-tags", "grpcnotrace", "-trimpath", "-buildvcs=false",
			"-ldflags", "-s -w -buildid= -X main.version="+m.Metadata.Version,
			"-o", filepath.Join("_out/bin/linux-"+arch, name), "./cmd/"+name)
		cmd.Dir = root
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
		}
	}
}

// TestReproducible builds the binaries and the image from two copies of the
// tree in directories of different names and lengths, and compares the bytes.
func TestReproducible(t *testing.T) {
	var digests, tarballs []string
	for _, dir := range []string{"a", "somewhere/else/altogether"} {
		root := filepath.Join(t.TempDir(), dir)
		copyTree(t, root)
		out := filepath.Join(root, "_out")
		for _, arch := range []string{"amd64", "arm64"} {
			goBuild(t, root, arch)
		}
		var stdout bytes.Buffer
		if err := run(context.Background(), []string{"build", "-root", root, "-bin", out + "/bin", "-out", out}, &stdout); err != nil {
			t.Fatal(err)
		}
		digests = append(digests, strings.Fields(stdout.String())[1])
		data, err := os.ReadFile(filepath.Join(out, "sriov-image.tar"))
		if err != nil {
			t.Fatal(err)
		}
		tarballs = append(tarballs, string(data))
		if len(digests) == 1 {
			checkBill(t, out)
			checkPush(t, out, digests[0])
		}
	}
	if digests[0] != digests[1] {
		t.Errorf("digests differ: %s and %s", digests[0], digests[1])
	}
	if tarballs[0] != tarballs[1] {
		t.Error("the tarballs differ")
	}
}

// checkBill holds the SBOM in the image against the binary in the image, and
// fails on a licence that nobody has looked at.
func checkBill(t *testing.T, out string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "sriov")
	err := run(context.Background(), []string{"unpack", "-layout", out + "/image", "-arch", "arm64", dir}, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, image.SBOMPath))
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Packages []struct{ Name, VersionInfo, LicenseConcluded string }
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	listed := make(map[string]string)
	for _, p := range doc.Packages {
		listed[p.Name] = p.VersionInfo
		if p.LicenseConcluded == sbom.NoAssertion {
			t.Errorf("%s: the licence is not known: teach sbom.Classify, or do without the module", p.Name)
		}
	}
	binary, err := os.ReadFile(filepath.Join(dir, image.BinaryDir, "sriovd"))
	if err != nil {
		t.Fatal(err)
	}
	modules, _, err := sbom.Linked(map[string][]byte{"sriovd": binary})
	if err != nil {
		t.Fatal(err)
	}
	if len(modules) == 0 {
		t.Error("sriovd links no module: is the build information stripped?")
	}
	for _, m := range modules {
		if listed[m.Path] != m.Version {
			t.Errorf("%s %s is linked, the SBOM says %q", m.Path, m.Version, listed[m.Path])
		}
	}
}

func checkPush(t *testing.T, out, digest string) {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	// No user and no password from the machine that runs the test.
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	ref := strings.TrimPrefix(server.URL, "http://") + "/you/sriov:v0.1.0"
	var stdout bytes.Buffer
	if err := run(context.Background(), []string{"push", "-layout", out + "/image", ref}, &stdout); err != nil {
		t.Fatal(err)
	}
	if want := ref + "@" + digest + "\n"; stdout.String() != want {
		t.Errorf("printed %q, want %q", stdout.String(), want)
	}
}
