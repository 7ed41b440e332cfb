package artifact

import (
	"os"
	"path/filepath"
	"testing"
)

// TestLibraries: a program's libraries and theirs, from a tree laid out as Debian's
// packages are; a script needs none, and one that is missing is an error.
func TestLibraries(t *testing.T) {
	const lib = "/lib/x86_64-linux-gnu"
	if _, err := os.Stat(lib + "/libc.so.6"); err != nil {
		t.Skipf("this machine has no %s: %v", lib, err)
	}
	tree, script := t.TempDir(), filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := libraries(tree, "/bin/sh", script); err == nil {
		t.Error("a missing library is no error")
	}
	if err := os.Mkdir(filepath.Join(tree, "lib"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(lib, filepath.Join(tree, "lib/x86_64-linux-gnu")); err != nil {
		t.Fatal(err)
	}
	got, err := libraries(tree, "/bin/sh", script)
	if err != nil {
		t.Fatal(err)
	}
	// libc.so.6 itself needs the loader.
	for _, want := range []string{"libc.so.6", "ld-linux-x86-64.so.2"} {
		if got[want] != filepath.Join(tree, "lib/x86_64-linux-gnu", want) {
			t.Errorf("%s is %q in %v", want, got[want], got)
		}
	}
}
