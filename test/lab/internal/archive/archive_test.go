package archive

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
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

// TestLayer: a layer has its files as they were given, and is the same each time.
func TestLayer(t *testing.T) {
	files := []Entry{
		{Name: "bin", Mode: ModeDir | 0o755},
		{Name: "bin/x", Mode: ModeFile | 0o755, Data: []byte("data")},
		{Name: "bin/y", Mode: ModeLink | 0o777, Data: []byte("x")},
	}
	a, errA := Layer(files)
	b, errB := Layer(files)
	if errA != nil || errB != nil || !bytes.Equal(a, b) {
		t.Fatalf("the same layer came out different: %v, %v", errA, errB)
	}
	var got []string
	tr := tar.NewReader(bytes.NewReader(a))
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%s %o %s%s", h.Name, h.Mode, h.Linkname, data))
	}
	if want := "bin/ 755 ,bin/x 755 data,bin/y 777 x"; strings.Join(got, ",") != want {
		t.Errorf("the layer has %v, want %s", got, want)
	}
	if _, err := Layer([]Entry{{Name: "c", Mode: ModeChar | 0o600}}); err == nil {
		t.Error("a device was taken into a layer")
	}
}
