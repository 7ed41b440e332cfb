package registry

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/talos-sriov/talos-sriov/test/lab/internal/arch"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/archive"
)

// Registry is a mirror of all registries that has some images.
type Registry struct {
	server *http.Server
	addr   string
}

// Start serves images of an architecture on a port of the host's loopback; zero means any.
func Start(ctx context.Context, port int, images []archive.Image) (*Registry, error) {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return nil, fmt.Errorf("serve images: %w", err)
	}
	r := &Registry{addr: l.Addr().String()}
	r.server = &http.Server{Handler: registry.New(registry.Logger(log.New(io.Discard, "", 0)))}
	go func() { _ = r.server.Serve(l) }()
	for _, img := range images {
		if err := r.Push(ctx, img); err != nil {
			r.Close()
			return nil, err
		}
	}
	return r, nil
}

// Ref is the name by which the host reaches an image. A mirror is asked for it without
// its registry's name.
func (r *Registry) Ref(image string) string {
	_, path, _ := strings.Cut(image, "/")
	return r.addr + "/" + path
}

// Push adds an image.
func (r *Registry) Push(ctx context.Context, img archive.Image) error {
	out, err := build(img)
	if err != nil {
		return fmt.Errorf("serve image %s: %w", img.Name, err)
	}
	return r.write(ctx, img.Name, out)
}

// PushArchive adds the image of an archive as docker save makes it.
func (r *Registry) PushArchive(ctx context.Context, image, path string) error {
	out, err := tarball.ImageFromPath(path, nil)
	if err != nil {
		return fmt.Errorf("serve image %s: %w", image, err)
	}
	return r.write(ctx, image, out)
}

func (r *Registry) write(ctx context.Context, image string, out v1.Image) error {
	ref, err := name.ParseReference(r.Ref(image), name.Insecure)
	if err != nil {
		return fmt.Errorf("serve image %s: %w", image, err)
	}
	if err := remote.Write(ref, out, remote.WithContext(ctx)); err != nil {
		return fmt.Errorf("serve image %s: %w", image, err)
	}
	return nil
}

func build(img archive.Image) (v1.Image, error) {
	files, err := archive.Layer(img.Files)
	if err != nil {
		return nil, err
	}
	layer := static.NewLayer(files, types.OCIUncompressedLayer)
	if img.Gzip {
		open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(files)), nil }
		if layer, err = tarball.LayerFromOpener(open, tarball.WithMediaType(types.OCILayer), tarball.WithCompressionLevel(gzip.BestSpeed)); err != nil {
			return nil, err
		}
	}
	out := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	if out, err = mutate.AppendLayers(out, layer); err != nil {
		return nil, err
	}
	config, err := out.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.Architecture, config.OS = string(arch.Host), "linux"
	config.Config = v1.Config{Cmd: img.Command, Env: img.Env, WorkingDir: "/"}
	return mutate.ConfigFile(out, config)
}

// Port is the registry's port on the host's loopback.
func (r *Registry) Port() (int, error) {
	addr, err := net.ResolveTCPAddr("tcp", r.addr)
	if err != nil {
		return 0, fmt.Errorf("the registry's address: %w", err)
	}
	return addr.Port, nil
}

// Close ends it.
func (r *Registry) Close() { _ = r.server.Close() }
