package registry

import (
	"context"
	"errors"
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
func Start(ctx context.Context, port int, a arch.Arch, images []archive.Image) (*Registry, error) {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return nil, fmt.Errorf("serve images: %w", err)
	}
	r := &Registry{addr: l.Addr().String()}
	r.server = &http.Server{Handler: registry.New(registry.Logger(log.New(io.Discard, "", 0)))}
	go func() { _ = r.server.Serve(l) }()
	for _, img := range images {
		if err := r.push(ctx, a, img); err != nil {
			r.Close()
			return nil, fmt.Errorf("serve image %s: %w", img.Name, err)
		}
	}
	return r, nil
}

// push adds an image. A mirror is asked for an image without its registry's name.
func (r *Registry) push(ctx context.Context, a arch.Arch, img archive.Image) error {
	_, path, ok := strings.Cut(img.Name, "/")
	if !ok {
		return errors.New("the name has no registry")
	}
	ref, err := name.ParseReference(r.addr+"/"+path, name.Insecure)
	if err != nil {
		return err
	}
	layer, err := archive.Layer(img.Files)
	if err != nil {
		return err
	}
	out := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	if out, err = mutate.AppendLayers(out, static.NewLayer(layer, types.OCIUncompressedLayer)); err != nil {
		return err
	}
	config, err := out.ConfigFile()
	if err != nil {
		return err
	}
	config = config.DeepCopy()
	config.Architecture, config.OS = string(a), "linux"
	config.Config = v1.Config{Cmd: img.Command, Env: img.Env, WorkingDir: "/"}
	if out, err = mutate.ConfigFile(out, config); err != nil {
		return err
	}
	return remote.Write(ref, out, remote.WithContext(ctx))
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
