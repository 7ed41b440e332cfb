package sysfs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Where openat2 is missing, os.Root gives the same answers.
func TestWithoutOpenat2(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "devices", "pci0000:00")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "vendor"), []byte("0x8086\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"link": "devices/pci0000:00", "out": "../../etc"} {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	alt, err := os.OpenRoot(root)
	if err != nil {
		t.Fatal(err)
	}
	f := &FS{root: root, fd: -1, alt: alt}
	f.bufs.New = func() any { b := make([]byte, 32<<10); return &b }
	defer f.Close()

	if b, err := f.ReadFile("link/vendor"); err != nil || string(b) != "0x8086\n" {
		t.Errorf("ReadFile = %q, %v", b, err)
	}
	if s, err := f.ReadLink("link"); err != nil || s != "devices/pci0000:00" {
		t.Errorf("ReadLink = %q, %v", s, err)
	}
	if _, err := f.ReadLink("devices/pci0000:00/vendor"); !errors.Is(err, unix.EINVAL) {
		t.Errorf("ReadLink of a file: %v", err)
	}
	if names, err := f.ReadDir("devices/pci0000:00"); err != nil || len(names) != 1 || names[0] != "vendor" {
		t.Errorf("ReadDir = %v, %v", names, err)
	}
	if err := f.Write("devices/pci0000:00/vendor", "1"); err != nil {
		t.Errorf("Write: %v", err)
	}
	if b, err := f.ReadFile("devices/pci0000:00/vendor"); err != nil || string(b) != "1x8086\n" {
		t.Errorf("after Write: %q, %v", b, err)
	}
	if err := f.Write("devices/pci0000:00/new", "1"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Write of a new file: %v", err)
	}
	if b, err := f.ReadFile("out/passwd"); err == nil {
		t.Errorf("led out of the root: %q", b)
	}
}
