package archive

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestCPIO(t *testing.T) {
	var buf bytes.Buffer
	err := WriteCPIO(&buf, []Entry{
		{Name: "dev", Mode: ModeDir | 0o755},
		{Name: "dev/console", Mode: ModeChar | 0o600, RMajor: 5, RMinor: 1},
		{Name: "init", Mode: ModeFile | 0o755, Data: []byte("hello")},
	})
	if err != nil {
		t.Fatal(err)
	}
	if buf.Len()%4 != 0 || strings.Count(buf.String(), "070701") != 4 || !strings.Contains(buf.String(), "TRAILER!!!") {
		t.Fatalf("not a cpio archive: %q", buf.String())
	}
}

func TestImages(t *testing.T) {
	img := Image{Name: "x:1", Command: []string{"/x"}, Files: []Entry{
		{Name: "bin", Mode: ModeDir | 0o755},
		{Name: "bin/x", Mode: ModeFile | 0o755, Data: []byte("x")},
		{Name: "bin/y", Mode: ModeLink | 0o777, Data: []byte("x")},
	}}
	var a, b bytes.Buffer
	for _, w := range []io.Writer{&a, &b} {
		if err := WriteImages(w, []Image{img}); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Error("the same image came out different")
	}
	files := map[string][]byte{}
	tr := tar.NewReader(&a)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		files[h.Name], _ = io.ReadAll(tr)
	}
	var m []struct {
		Config           string
		RepoTags, Layers []string
	}
	if err := json.Unmarshal(files["manifest.json"], &m); err != nil {
		t.Fatal(err)
	}
	if len(m) != 1 || m[0].RepoTags[0] != "x:1" || files[m[0].Config] == nil || files[m[0].Layers[0]] == nil {
		t.Fatalf("manifest %+v, files %d", m, len(files))
	}
}
