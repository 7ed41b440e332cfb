package image

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// epoch is the time of everything in the image.
var epoch = time.Unix(0, 0).UTC()

// Labels are the OCI annotations of the index and the labels of each image.
// Source: image-spec, annotations.md.
func Labels(m *Manifest) map[string]string {
	const home = "https://github.com/talos-sriov/talos-sriov"
	first, _, _ := strings.Cut(m.Metadata.Description, "\n\n")
	return map[string]string{
		"org.opencontainers.image.title":       m.Metadata.Name,
		"org.opencontainers.image.description": strings.Join(strings.Fields(first), " "),
		"org.opencontainers.image.version":     m.Metadata.Version,
		"org.opencontainers.image.authors":     m.Metadata.Author,
		"org.opencontainers.image.licenses":    "Apache-2.0",
		"org.opencontainers.image.source":      home,
		"org.opencontainers.image.url":         home,
	}
}

// Build makes the index with one image for each input, in the order of the
// architectures' names.
func Build(inputs []Input) (v1.ImageIndex, error) {
	if len(inputs) == 0 {
		return nil, fmt.Errorf("no architecture to build for")
	}
	inputs = slices.Clone(inputs)
	slices.SortFunc(inputs, func(a, b Input) int { return strings.Compare(a.Arch, b.Arch) })
	m, err := ParseManifest(inputs[0].Manifest)
	if err != nil {
		return nil, err
	}
	labels := Labels(m)
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for i := range inputs {
		img, err := build(&inputs[i], labels)
		if err != nil {
			return nil, fmt.Errorf("image for %s: %w", inputs[i].Arch, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: img,
			Descriptor: v1.Descriptor{
				MediaType: types.OCIManifestSchema1,
				Platform:  &v1.Platform{OS: "linux", Architecture: inputs[i].Arch},
			},
		})
	}
	annotated, ok := mutate.Annotations(index, labels).(v1.ImageIndex)
	if !ok {
		return nil, fmt.Errorf("annotate the index: not an index any more")
	}
	return annotated, nil
}

func build(in *Input, labels map[string]string) (v1.Image, error) {
	if err := in.Check(); err != nil {
		return nil, err
	}
	layer, err := layerOf(in.Files())
	if err != nil {
		return nil, err
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err = mutate.ConfigFile(img, &v1.ConfigFile{
		OS: "linux", Architecture: in.Arch,
		Created: v1.Time{Time: epoch},
		RootFS:  v1.RootFS{Type: "layers"},
		Config:  v1.Config{Labels: labels},
	})
	if err != nil {
		return nil, err
	}
	return mutate.Append(img, mutate.Addendum{
		Layer:   layer,
		History: v1.History{Created: v1.Time{Time: epoch}, CreatedBy: "hack/image"},
	})
}

func layerOf(files []File) (v1.Layer, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	header := func(name string, typeflag byte, mode, size int64) error {
		return w.WriteHeader(&tar.Header{
			Format: tar.FormatUSTAR, Typeflag: typeflag,
			Name: name, Mode: mode, Size: size, ModTime: epoch,
		})
	}
	var dirs []string
	for _, f := range files {
		for d := path.Dir(f.Path); d != "."; d = path.Dir(d) {
			dirs = append(dirs, d+"/")
		}
	}
	slices.Sort(dirs) // a directory sorts before what is in it
	for _, d := range slices.Compact(dirs) {
		if err := header(d, tar.TypeDir, modeDir, 0); err != nil {
			return nil, err
		}
	}
	for _, f := range files {
		if err := header(f.Path, tar.TypeReg, int64(f.Mode.Perm()), int64(len(f.Data))); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.Data); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	data := buf.Bytes()
	return tarball.LayerFromOpener(
		func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil },
		tarball.WithMediaType(types.OCILayer),
		tarball.WithCompressedCaching,
	)
}
