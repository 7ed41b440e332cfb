package fileid_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/internal/fileid"
)

func write(t *testing.T, path, content string) fileid.ID {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return fileid.Lookup(path)
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	if none := fileid.Lookup(path); none.IsSet() || none != (fileid.ID{}) || none.SameInode(none) {
		t.Errorf("no file is %+v", none)
	}
	a := write(t, path, "1")
	if !a.IsSet() || a != fileid.Lookup(path) || !a.SameInode(a) {
		t.Errorf("a file is not itself: %+v", a)
	}
	b := write(t, filepath.Join(dir, "b"), "1")
	if a == b || a.SameInode(b) {
		t.Error("two files are one")
	}
	if err := os.Rename(filepath.Join(dir, "b"), path); err != nil {
		t.Fatal(err)
	}
	if got := fileid.Lookup(path); got == a || !got.SameInode(b) {
		t.Errorf("replaced: %+v, want the inode of %+v", got, b)
	}
	if err := os.Symlink(path, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if link := fileid.Lookup(filepath.Join(dir, "link")); !link.IsSet() || link.SameInode(b) {
		t.Error("a link was followed")
	}
}

func TestDirectories(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	none := fileid.Lookup(dir)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	id := fileid.Lookup(dir)
	if id.SameDir(none) || !none.SameDir(none) {
		t.Error("a directory that is there is the one that was not")
	}
	write(t, filepath.Join(dir, "a"), "")
	if got := fileid.Lookup(dir); got != id || !got.SameDir(id) {
		t.Errorf("a directory became another one by its content: %+v, %+v", id, got)
	}
}

func TestSettled(t *testing.T) {
	id := write(t, filepath.Join(t.TempDir(), "a"), "")
	if now := time.Now(); id.Settled(now) || !id.Settled(now.Add(2*time.Second)) {
		t.Error("settled at the wrong time")
	}
}
