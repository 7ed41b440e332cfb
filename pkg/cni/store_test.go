package cni

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// A FIFO or a link in the place of a state file holds no call up and is not followed.
func TestStateThatIsNoFile(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	before := r.m.state()
	args := cmd("c1", "/ns/a", conf(0, ""))
	secret := filepath.Join(t.TempDir(), "secret")
	must(t, os.WriteFile(secret, []byte("/ns/b"), 0o600))
	must(t, os.MkdirAll(filepath.Dir(r.lockPath(vfAddr(0))), 0o700))
	for name, plant := range map[string]func(path string) error{
		"FIFO": func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"link": func(path string) error { return os.Symlink(secret, path) },
	} {
		allocation := r.allocationPath(vfAddr(0))
		must(t, plant(allocation))
		if _, err := r.Add(t.Context(), args); err == nil {
			t.Errorf("a %s was taken for an allocation", name)
		}
		must(t, os.Remove(allocation))
		must(t, plant(r.cachePath("c1-net1")))
		must(t, r.Del(t.Context(), args))
		r.untouched(t, before)
	}
	must(t, os.Remove(r.lockPath(vfAddr(0))))
	must(t, os.Symlink(secret, r.lockPath(vfAddr(0))))
	if _, err := r.Add(t.Context(), args); !errors.Is(err, syscall.ELOOP) {
		t.Errorf("a lock that is a link: %v", err)
	}
	if b, err := os.ReadFile(secret); string(b) != "/ns/b" || err != nil {
		t.Errorf("a file elsewhere is %q, %v", b, err)
	}
}
