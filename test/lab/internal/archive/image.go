package archive

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// Image is a container image of one layer.
type Image struct {
	Name    string // with its tag
	Command []string
	Env     []string
	Files   []Entry
}

// WriteImages writes a docker archive with all images.
func WriteImages(w io.Writer, images []Image) error {
	type manifest struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	var manifests []manifest
	tw := tar.NewWriter(w)
	file := func(name string, b []byte) error {
		h := tar.Header{Name: name, Mode: 0o644, Size: int64(len(b)), ModTime: time.Unix(0, 0), Typeflag: tar.TypeReg}
		if err := tw.WriteHeader(&h); err != nil {
			return fmt.Errorf("write image archive entry %s: %w", name, err)
		}
		if _, err := tw.Write(b); err != nil {
			return fmt.Errorf("write image archive entry %s: %w", name, err)
		}
		return nil
	}
	for _, img := range images {
		layer, err := Layer(img.Files)
		if err != nil {
			return fmt.Errorf("image %s: %w", img.Name, err)
		}
		digest := sum(layer)
		config, err := json.Marshal(map[string]any{
			"architecture": "amd64",
			"os":           "linux",
			"created":      time.Unix(0, 0).UTC(),
			"config":       map[string]any{"Cmd": img.Command, "Env": img.Env, "WorkingDir": "/"},
			"rootfs":       map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + digest}},
		})
		if err != nil {
			return fmt.Errorf("image %s: encode config: %w", img.Name, err)
		}
		m := manifest{Config: sum(config) + ".json", RepoTags: []string{img.Name}, Layers: []string{digest + "/layer.tar"}}
		if err := file(m.Layers[0], layer); err != nil {
			return err
		}
		if err := file(m.Config, config); err != nil {
			return err
		}
		manifests = append(manifests, m)
	}
	b, err := json.Marshal(manifests)
	if err != nil {
		return fmt.Errorf("encode image manifest: %w", err)
	}
	if err := file("manifest.json", b); err != nil {
		return err
	}
	if err := tw.Close(); err != nil {
		return fmt.Errorf("finish image archive: %w", err)
	}
	return nil
}

// Layer is the tar archive of a layer with these files.
func Layer(files []Entry) ([]byte, error) {
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for _, e := range files {
		h := tar.Header{Name: e.Name, Mode: int64(e.Mode & 0o7777), ModTime: time.Unix(0, 0)}
		switch e.Mode &^ 0o7777 {
		case ModeDir:
			h.Typeflag, h.Name = tar.TypeDir, e.Name+"/"
		case ModeLink:
			h.Typeflag, h.Linkname = tar.TypeSymlink, string(e.Data)
		case ModeFile:
			h.Typeflag, h.Size = tar.TypeReg, int64(len(e.Data))
		default:
			return nil, fmt.Errorf("file %s: mode %o has no place in a layer", e.Name, e.Mode)
		}
		if err := tw.WriteHeader(&h); err != nil {
			return nil, fmt.Errorf("file %s: %w", e.Name, err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := tw.Write(e.Data); err != nil {
				return nil, fmt.Errorf("file %s: %w", e.Name, err)
			}
		}
	}
	if err := tw.Close(); err != nil {
		return nil, fmt.Errorf("finish layer: %w", err)
	}
	return buf.Bytes(), nil
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}
