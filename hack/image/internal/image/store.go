package image

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/renameio/v2"
)

// WriteLayout replaces dir by an OCI image layout that holds the index.
func WriteLayout(index v1.ImageIndex, dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("write OCI layout: %w", err)
	}
	if err := os.MkdirAll(dir, modeDir); err != nil {
		return fmt.Errorf("write OCI layout: %w", err)
	}
	if _, err := layout.Write(dir, index); err != nil {
		return fmt.Errorf("write OCI layout %s: %w", dir, err)
	}
	return nil
}

// ReadLayout returns the index that WriteLayout wrote.
func ReadLayout(dir string) (v1.ImageIndex, error) {
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, fmt.Errorf("read OCI layout %s: %w (make extension builds it)", dir, err)
	}
	return index, nil
}

// WriteTarball packs an OCI layout directory into one file, sorted and without
// times, as `skopeo copy oci-archive:` and `crane push` read it.
func WriteTarball(dir, file string) error {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	// WalkDir goes in lexical order.
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == dir {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		h := &tar.Header{Format: tar.FormatUSTAR, Name: filepath.ToSlash(rel), ModTime: epoch}
		if d.IsDir() {
			h.Typeflag, h.Mode, h.Name = tar.TypeDir, modeDir, h.Name+"/"
			return w.WriteHeader(h)
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		h.Typeflag, h.Mode, h.Size = tar.TypeReg, modeData, int64(len(data))
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		_, err = w.Write(data)
		return err
	})
	if err != nil {
		return fmt.Errorf("write tarball %s: %w", file, err)
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("write tarball %s: %w", file, err)
	}
	if err := renameio.WriteFile(file, buf.Bytes(), modeData); err != nil {
		return fmt.Errorf("write tarball: %w", err)
	}
	return nil
}

// ForArch returns the index's image for the architecture.
func ForArch(index v1.ImageIndex, arch string) (v1.Image, error) {
	m, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	for _, d := range m.Manifests {
		if d.Platform != nil && d.Platform.OS == "linux" && d.Platform.Architecture == arch {
			return index.Image(d.Digest)
		}
	}
	return nil, fmt.Errorf("the index has no image for linux/%s", arch)
}

// Contents returns the regular files of an image, and refuses anything that is
// neither a regular file nor a directory.
func Contents(img v1.Image) (_ []File, err error) {
	r := mutate.Extract(img)
	defer func() { err = errors.Join(err, r.Close()) }()
	var files []File
	for t := tar.NewReader(r); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read image: %w", err)
		}
		switch h.Typeflag {
		case tar.TypeDir:
		case tar.TypeReg:
			data, err := io.ReadAll(t)
			if err != nil {
				return nil, fmt.Errorf("read %s in image: %w", h.Name, err)
			}
			files = append(files, File{Path: h.Name, Mode: h.FileInfo().Mode().Perm(), Data: data})
		default:
			return nil, fmt.Errorf("image holds %s of type %q: only files and directories belong there", h.Name, h.Typeflag)
		}
	}
}

// Push uploads the index under ref (registry/user/sriov:tag) and returns the
// reference that names these bytes for ever, ref@sha256:...
func Push(ctx context.Context, index v1.ImageIndex, ref string, keychain authn.Keychain) (string, error) {
	tag, err := name.NewTag(ref, name.StrictValidation)
	if err != nil {
		return "", fmt.Errorf("reference %q: %w", ref, err)
	}
	digest, err := index.Digest()
	if err != nil {
		return "", err
	}
	err = remote.WriteIndex(tag, index, remote.WithContext(ctx), remote.WithAuthFromKeychain(keychain))
	if err != nil {
		return "", fmt.Errorf("push %s: %w", tag, err)
	}
	return tag.String() + "@" + digest.String(), nil
}
