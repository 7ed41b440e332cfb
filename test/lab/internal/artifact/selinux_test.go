package artifact

import (
	"io/fs"
	"testing"
)

func TestContextOf(t *testing.T) {
	contexts, err := fileContexts("# of a policy\n/usr/bin/init\t--\tinit\n/usr(/.*)?\tusr\n/usr/lib/udev/[^/.]+ -- udev\n/usr/bin(/.*)? bin\n/ root\n/usr/bin/runc runc\n")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path string
		mode fs.FileMode
		want string
	}{
		{"/", fs.ModeDir, "root"},
		{"/usr", fs.ModeDir, "usr"},
		{"/usr/bin/init", 0, "init"},
		{"/usr/bin/init", fs.ModeSymlink, "bin"}, // for regular files only
		{"/usr/bin/runc", fs.ModeSymlink, "runc"},
		{"/usr/lib/udev/ata_id", 0, "udev"},
		{"/usr/lib/udev/rules.d/x", 0, "usr"},
		{"/usrlocal", 0, ""},
	} {
		if got := contextOf(contexts, c.path, c.mode); got != c.want {
			t.Errorf("%s (%v): %q, want %q", c.path, c.mode, got, c.want)
		}
	}
	for _, bad := range []string{"/a", "/a -d x", "/( x"} {
		if _, err := fileContexts(bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}
