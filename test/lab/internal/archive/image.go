package archive

import (
	"archive/tar"
	"bytes"
	"fmt"
	"time"
)

// Image is a container image of one layer.
type Image struct {
	Name    string // with its tag
	Command []string
	Env     []string
	Files   []Entry
	Gzip    bool // the layer is compressed
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
