package image_test

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/blang/semver/v4"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/siderolabs/talos/pkg/machinery/extensions"
	"github.com/siderolabs/talos/pkg/machinery/extensions/services"
	"go.yaml.in/yaml/v4"

	"github.com/talos-sriov/talos-sriov/hack/image/internal/image"
)

// executable is the smallest file that passes for a static executable.
func executable(t *testing.T, m elf.Machine, progs ...elf.ProgType) []byte {
	t.Helper()
	h := elf.Header64{
		Type: uint16(elf.ET_EXEC), Machine: uint16(m), Version: 1,
		Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: uint16(len(progs)), Shentsize: 64,
	}
	copy(h.Ident[:], []byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), 1})
	var b bytes.Buffer
	if err := binary.Write(&b, binary.LittleEndian, h); err != nil {
		t.Fatal(err)
	}
	for _, p := range progs {
		if err := binary.Write(&b, binary.LittleEndian, elf.Prog64{Type: uint32(p)}); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func repoFile(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("../../../..", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func input(t *testing.T, arch string) image.Input {
	m := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[arch]
	return image.Input{
		Arch:     arch,
		Manifest: repoFile(t, "manifest.yaml"),
		Service:  repoFile(t, "extension/sriov.yaml"),
		SBOM:     []byte("{}\n"),
		Binaries: map[string][]byte{"sriovd": executable(t, m, elf.PT_LOAD), "sriov-cni": executable(t, m)},
	}
}

func build(t *testing.T) v1.ImageIndex {
	t.Helper()
	index, err := image.Build([]image.Input{input(t, "arm64"), input(t, "amd64")})
	if err != nil {
		t.Fatal(err)
	}
	return index
}

func TestIndex(t *testing.T) {
	index := build(t)
	m, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	var platforms []string
	for _, d := range m.Manifests {
		platforms = append(platforms, d.Platform.String())
		img, err := index.Image(d.Digest)
		if err != nil {
			t.Fatal(err)
		}
		config, err := img.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if got := config.OS + "/" + config.Architecture; got != d.Platform.String() {
			t.Errorf("the config says %s, the index %s", got, d.Platform)
		}
		if diff := cmp.Diff(m.Annotations, config.Config.Labels); diff != "" {
			t.Errorf("labels differ from the index's annotations (-index +image):\n%s", diff)
		}
	}
	if diff := cmp.Diff([]string{"linux/amd64", "linux/arm64"}, platforms); diff != "" {
		t.Errorf("platforms (-want +got):\n%s", diff)
	}
	manifest, err := image.ParseManifest(repoFile(t, "manifest.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"org.opencontainers.image.title":    "sriov",
		"org.opencontainers.image.version":  manifest.Metadata.Version,
		"org.opencontainers.image.licenses": "Apache-2.0",
	} {
		if got := m.Annotations[key]; got != want {
			t.Errorf("annotation %s = %q, want %q", key, got, want)
		}
	}
}

func TestContents(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		img, err := image.ForArch(build(t), arch)
		if err != nil {
			t.Fatal(err)
		}
		files, err := image.Contents(img)
		if err != nil {
			t.Fatal(err)
		}
		got := make(map[string]os.FileMode)
		for _, f := range files {
			got[f.Path] = f.Mode
		}
		want := map[string]os.FileMode{
			"manifest.yaml": 0o644,
			"rootfs/usr/local/etc/containers/sriov.yaml":      0o644,
			"rootfs/usr/local/lib/containers/sriov/sriovd":    0o755,
			"rootfs/usr/local/lib/containers/sriov/sriov-cni": 0o755,
			"rootfs/usr/local/share/spdx/sriov.spdx.json":     0o644,
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: files (-want +got):\n%s", arch, diff)
		}
	}
}

func unpacked(t *testing.T, arch string) string {
	t.Helper()
	layout := filepath.Join(t.TempDir(), "image")
	if err := image.WriteLayout(build(t), layout); err != nil {
		t.Fatal(err)
	}
	index, err := image.ReadLayout(layout)
	if err != nil {
		t.Fatal(err)
	}
	img, err := image.ForArch(index, arch)
	if err != nil {
		t.Fatal(err)
	}
	files, err := image.Contents(img)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "sriov")
	if err := image.Unpack(files, dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestTalosAccepts runs what Talos' imager runs on an extension.
func TestTalosAccepts(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		ext, err := extensions.Load(unpacked(t, arch))
		if err != nil {
			t.Fatalf("%s: load: %v", arch, err)
		}
		for version, accepted := range map[string]bool{
			"1.11.6": false, "1.12.0": true, "1.12.6": true, "1.13.0": true, "1.13.9": true, "1.14.0-rc.1": true, "1.14.0": true,
		} {
			v := semver.MustParse(version)
			err := ext.Validate(extensions.WithValidateConstraints(), extensions.WithValidateContents(), extensions.WithTalosVersion(&v))
			if (err == nil) != accepted {
				t.Errorf("%s: Talos %s: accepted is %v, want %v: %v", arch, version, err == nil, accepted, err)
			}
		}
	}
}

// TestTalosRefuses shows that the validation above can fail.
func TestTalosRefuses(t *testing.T) {
	dir := unpacked(t, "amd64")
	if err := os.MkdirAll(filepath.Join(dir, "rootfs/opt/cni/bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "rootfs/opt/cni/bin/sriov"), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	ext, err := extensions.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	v := semver.MustParse("1.13.0")
	if err := ext.Validate(extensions.WithValidateContents(), extensions.WithTalosVersion(&v)); err == nil {
		t.Error("a file below /opt was accepted")
	}
	manifest := filepath.Join(dir, "manifest.yaml")
	good, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]string{
		"another version": strings.Replace(string(good), "v1alpha1", "v1beta1", 1), "no YAML": "\t",
		"only newer versions of Talos": strings.Replace(string(good), ">= v1.12.0", ">= v1.14.0", 1),
	} {
		if err := os.WriteFile(manifest, []byte(bad), 0o644); err != nil {
			t.Fatal(err)
		}
		ext, err := extensions.Load(dir)
		if err == nil {
			err = ext.Validate(extensions.WithValidateConstraints(), extensions.WithTalosVersion(&v))
		}
		if err == nil {
			t.Errorf("manifest with %s was accepted", name)
		}
	}
	if err := os.WriteFile(manifest, good, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "README"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := extensions.Load(dir); err == nil {
		t.Error("a third top-level entry was accepted")
	}
}

func TestServiceSpec(t *testing.T) {
	var spec services.Spec
	dec := yaml.NewDecoder(bytes.NewReader(repoFile(t, "extension/sriov.yaml")))
	dec.KnownFields(true)
	if err := dec.Decode(&spec); err != nil {
		t.Fatal(err)
	}
	if err := spec.Validate(); err != nil {
		t.Fatal(err)
	}
	// What the design rests on: see docs/architecture.md, "Early start".
	if spec.Restart != services.RestartAlways {
		t.Errorf("restart is %v: anything but always lets a failure stop the boot", spec.Restart)
	}
	if len(spec.Depends) > 0 {
		t.Errorf("depends is %v: VFs would come too late, or never", spec.Depends)
	}
	if !spec.Container.Security.WriteableSysfs {
		t.Error("sysfs is read-only")
	}
	// Sources that exist from the first moment of the boot: Talos makes a
	// missing one, fails for ever on a read-only file system, and never retries.
	existing := []string{"/", "/dev"}
	for _, m := range spec.Container.Mounts {
		if !slices.Contains(existing, m.Source) {
			t.Errorf("mount of %s: does it exist before /var is mounted?", m.Source)
		}
		if m.Type != "bind" || !slices.Contains(m.Options, "rbind") || !slices.Contains(m.Options, "rslave") {
			t.Errorf("mount of %s: %s %v does not show what is mounted below it later", m.Source, m.Type, m.Options)
		}
		if strings.HasPrefix("/etc/sriov/config.yaml", m.Destination+"/") {
			t.Errorf("mount on %s covers the config's mountPath", m.Destination)
		}
	}
}

func TestCheck(t *testing.T) {
	tests := map[string]struct {
		change func(*image.Input)
		want   string
	}{
		"wrong architecture": {func(in *image.Input) {
			in.Binaries["sriovd"] = executable(t, elf.EM_AARCH64)
		}, "sriovd: built for EM_AARCH64, not for amd64: build it with GOARCH=amd64"},
		"dynamic": {func(in *image.Input) {
			in.Binaries["sriov-cni"] = executable(t, elf.EM_X86_64, elf.PT_INTERP)
		}, "sriov-cni: dynamically linked: build it with CGO_ENABLED=0, the extension has no loader"},
		"script": {func(in *image.Input) {
			in.Binaries["sriovd"] = []byte("#!/bin/sh\n")
		}, "sriovd: not an ELF executable"},
		"no entrypoint": {func(in *image.Input) {
			delete(in.Binaries, "sriovd")
		}, `service spec: entrypoint "./sriovd" is not among the binaries of the image`},
		"other name": {func(in *image.Input) {
			in.Service = bytes.Replace(in.Service, []byte("name: sriov\n"), []byte("name: other\n"), 1)
		}, `service spec: name is "other", but the binaries are in`},
		"no such architecture": {func(in *image.Input) { in.Arch = "riscv64" },
			`architecture "riscv64" is not built; Talos runs on amd64 and arm64`},
		"manifest version": {func(in *image.Input) {
			in.Manifest = bytes.Replace(in.Manifest, []byte("v1alpha1"), []byte("v1beta1"), 1)
		}, `manifest.yaml: version is "v1beta1"; Talos knows v1alpha1 only`},
		"manifest without constraint": {func(in *image.Input) {
			in.Manifest = bytes.Replace(in.Manifest, []byte(`">= v1.12.0"`), []byte(`""`), 1)
		}, "manifest.yaml: metadata.compatibility.talos.version is missing"},
		"manifest with unknown key": {func(in *image.Input) {
			in.Manifest = append(in.Manifest, "extra: true\n"...)
		}, "field extra not found"},
		"no SBOM": {func(in *image.Input) { in.SBOM = nil }, "the SBOM is empty"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			in := input(t, "amd64")
			in.Binaries = maps.Clone(in.Binaries)
			tt.change(&in)
			_, err := image.Build([]image.Input{in})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// withPassword is a registry that wants a user.
func withPassword(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		if user != "me" || password != "secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

type keychain struct{ auth authn.Authenticator }

func (k keychain) Resolve(authn.Resource) (authn.Authenticator, error) { return k.auth, nil }

func TestPush(t *testing.T) {
	server := httptest.NewServer(withPassword(registry.New(registry.Logger(log.New(io.Discard, "", 0)))))
	defer server.Close()
	index := build(t)
	ref := strings.TrimPrefix(server.URL, "http://") + "/me/sriov:v0.1.0"
	good := keychain{&authn.Basic{Username: "me", Password: "secret"}}

	pinned, err := image.Push(context.Background(), index, ref, good)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if want := ref + "@" + digest.String(); pinned != want {
		t.Errorf("pinned reference %s, want %s", pinned, want)
	}
	parsed, err := name.ParseReference(pinned)
	if err != nil {
		t.Fatal(err)
	}
	pulled, err := remote.Image(parsed, remote.WithAuthFromKeychain(good), remote.WithPlatform(v1.Platform{OS: "linux", Architecture: "arm64"}))
	if err != nil {
		t.Fatal(err)
	}
	files, err := image.Contents(pulled)
	if err != nil {
		t.Fatal(err)
	}
	if want := input(t, "arm64"); len(files) != len(want.Files()) {
		t.Errorf("%d files pulled, want %d", len(files), len(want.Files()))
	}

	_, err = image.Push(context.Background(), index, ref, keychain{&authn.Basic{Username: "me", Password: "wrong"}})
	if err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("a push with a wrong password: %v", err)
	}
	if _, err = image.Push(context.Background(), index, "ghcr.io/Me/sriov:v1", good); err == nil {
		t.Error("a reference with upper-case letters was accepted")
	}
}
