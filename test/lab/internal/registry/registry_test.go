package registry

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/talos-sriov/talos-sriov/test/lab/internal/archive"
)

// TestRegistry pulls an image as a mirror serves it: without the name of its registry.
func TestRegistry(t *testing.T) {
	t.Run("plain", func(t *testing.T) { testRegistry(t, false) })
	t.Run("gzip", func(t *testing.T) { testRegistry(t, true) })
}

func testRegistry(t *testing.T, gzip bool) {
	t.Helper()
	r, err := Start(t.Context(), 0, []archive.Image{{
		Gzip: gzip, Name: "ghcr.io/siderolabs/kubelet:v1.37.2", Command: []string{"/x"}, Env: []string{"A=b"},
		Files: []archive.Entry{{Name: "bin", Mode: archive.ModeDir | 0o755}, {Name: "bin/x", Mode: archive.ModeFile | 0o755, Data: []byte("contents")}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ref, err := name.ParseReference(r.addr+"/siderolabs/kubelet:v1.37.2", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	img, err := remote.Image(ref)
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.OS != "linux" || config.Architecture != "amd64" || strings.Join(config.Config.Cmd, " ") != "/x" || strings.Join(config.Config.Env, " ") != "A=b" {
		t.Errorf("config %+v", config)
	}
	layers, err := img.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%d layers, %v", len(layers), err)
	}
	layer, err := layers[0].Compressed()
	if err != nil {
		t.Fatal(err)
	}
	defer layer.Close()
	if served, err := io.ReadAll(layer); err != nil || bytes.HasPrefix(served, []byte{0x1f, 0x8b}) != gzip {
		t.Errorf("the layer begins with %x, %v", served[:min(4, len(served))], err)
	}
	fs := mutate.Extract(img)
	defer fs.Close()
	files := map[string]string{}
	for tr := tar.NewReader(fs); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		files[h.Name] = string(b)
	}
	if files["bin/x"] != "contents" {
		t.Errorf("files %q", files)
	}
}
