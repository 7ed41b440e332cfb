// Command image builds, unpacks and pushes the extension's OCI image.
//
//	image build  -bin _out/bin -out _out          make the layout and the tarball
//	image unpack -layout _out/image -arch amd64 DIR
//	image push   -layout _out/image registry/user/sriov:tag
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/talos-sriov/talos-sriov/hack/image/internal/image"
	"github.com/talos-sriov/talos-sriov/hack/image/internal/sbom"
)

const module = "github.com/talos-sriov/talos-sriov"

// binaries are what the image carries.
var binaries = []string{"sriovd", "sriov-cni"}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "image: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	if len(args) == 0 {
		return errors.New("usage: image build|unpack|push [flags]")
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	root := flags.String("root", ".", "the repository")
	bin := flags.String("bin", "_out/bin", "directory with linux-<arch>/<binary>")
	out := flags.String("out", "_out", "directory for the image (build)")
	layout := flags.String("layout", "_out/image", "OCI layout to read (unpack, push)")
	arch := flags.String("arch", "amd64", "architecture (unpack)")
	arches := flags.String("arches", "amd64,arm64", "architectures (build)")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	switch args[0] {
	case "build":
		return build(ctx, *root, *bin, *out, strings.Split(*arches, ","), stdout)
	case "unpack":
		if flags.NArg() != 1 {
			return errors.New("unpack: name the one directory to unpack into")
		}
		return unpack(*layout, *arch, flags.Arg(0))
	case "push":
		if flags.NArg() != 1 {
			return errors.New("push: name the one reference to push to: make push REGISTRY=ghcr.io USERNAME=you TAG=v0.1.0")
		}
		return push(ctx, *layout, flags.Arg(0), stdout)
	}
	return fmt.Errorf("unknown command %q: build, unpack or push", args[0])
}

func build(ctx context.Context, root, bin, out string, arches []string, stdout io.Writer) error {
	inputs := make([]image.Input, len(arches))
	for i, arch := range arches {
		in, err := input(ctx, root, bin, arch)
		if err != nil {
			return err
		}
		inputs[i] = *in
	}
	index, err := image.Build(inputs)
	if err != nil {
		return err
	}
	dir := filepath.Join(out, "image")
	if err := image.WriteLayout(index, dir); err != nil {
		return err
	}
	if err := image.WriteTarball(dir, filepath.Join(out, "sriov-image.tar")); err != nil {
		return err
	}
	digest, err := index.Digest()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "%s %s\n%s\n", dir, digest, filepath.Join(out, "sriov-image.tar"))
	return err
}

func input(ctx context.Context, root, bin, arch string) (*image.Input, error) {
	in := &image.Input{Arch: arch, Binaries: make(map[string][]byte)}
	var err error
	if in.Manifest, err = os.ReadFile(filepath.Join(root, "manifest.yaml")); err != nil {
		return nil, err
	}
	if in.Service, err = os.ReadFile(filepath.Join(root, "extension", "sriov.yaml")); err != nil {
		return nil, err
	}
	for _, name := range binaries {
		data, err := os.ReadFile(filepath.Join(bin, "linux-"+arch, name))
		if err != nil {
			return nil, fmt.Errorf("%w (make build makes it)", err)
		}
		in.Binaries[name] = data
	}
	in.SBOM, err = billOf(ctx, root, in)
	return in, err
}

func billOf(ctx context.Context, root string, in *image.Input) ([]byte, error) {
	m, err := image.ParseManifest(in.Manifest)
	if err != nil {
		return nil, err
	}
	modules, goVersion, err := sbom.Linked(in.Binaries)
	if err != nil {
		return nil, err
	}
	for i := range modules {
		dir, err := moduleDir(ctx, root, modules[i])
		if err != nil {
			return nil, err
		}
		if modules[i].Licence, err = sbom.OfModule(dir); err != nil {
			return nil, err
		}
	}
	return sbom.Document(sbom.Main{
		Name: m.Metadata.Name, Version: m.Metadata.Version, Module: module, Licence: "Apache-2.0",
	}, modules, goVersion)
}

// moduleDir is where the go command keeps the module's source.
func moduleDir(ctx context.Context, root string, m sbom.Module) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", m.Path+"@"+m.Version)
	cmd.Dir = root
	data, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("source of %s %s: %w", m.Path, m.Version, err)
	}
	var got struct{ Dir string }
	if err := json.Unmarshal(data, &got); err != nil {
		return "", fmt.Errorf("source of %s %s: %w", m.Path, m.Version, err)
	}
	return got.Dir, nil
}

func unpack(layout, arch, dir string) error {
	index, err := image.ReadLayout(layout)
	if err != nil {
		return err
	}
	img, err := image.ForArch(index, arch)
	if err != nil {
		return err
	}
	files, err := image.Contents(img)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return image.Unpack(files, dir)
}

func push(ctx context.Context, layout, ref string, stdout io.Writer) error {
	index, err := image.ReadLayout(layout)
	if err != nil {
		return err
	}
	pinned, err := image.Push(ctx, index, ref, authn.DefaultKeychain)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(stdout, pinned)
	return err
}
