package cni

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/cni/attachment"
)

// below lists the descriptors of this process that are open below dir.
func below(t *testing.T, dir string) (out []string) {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	for _, fd := range fds {
		if to, err := os.Readlink(filepath.Join("/proc/self/fd", fd.Name())); err == nil && strings.HasPrefix(to, dir) {
			out = append(out, to)
		}
	}
	return out
}

// The daemon waits a bounded time for ADD and DEL, and they wait for the daemon.
func TestLockVF(t *testing.T) {
	t.Parallel()
	synctest.Test(t, testLockVF)
}

func testLockVF(t *testing.T) {
	r := newRig(t, 2)
	r.Sleep = nil // the bound is that of the bubble's clock
	dir := r.Dir
	r.Dir = filepath.Join(dir, "later")
	unlock, err := r.LockVF(t.Context(), vfAddr(0)) // before /var is mounted
	must(t, err)
	unlock()
	if _, err := os.Lstat(r.Dir); err == nil {
		t.Error("made a directory")
	}
	r.Dir = dir
	r.add(t, "c1", "/ns/c1", 1, "")

	theirs, err := r.store().Lock(t.Context(), vfAddr(0))
	must(t, err)
	asked := time.Now()
	if _, err := r.LockVF(t.Context(), vfAddr(0)); !errors.Is(err, attachment.ErrVFLocked) || time.Since(asked) != time.Second {
		t.Errorf("a VF with an ADD under way, after %s: %v", time.Since(asked), err)
	}
	other, err := r.LockVF(t.Context(), vfAddr(1))
	must(t, err)
	other()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.LockVF(gone, vfAddr(0)); !errors.Is(err, context.Canceled) {
		t.Errorf("the daemon ends: %v", err)
	}
	theirs()

	unlock, err = r.LockVF(t.Context(), vfAddr(0))
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Add(ctx, cmd("c2", "/ns/a", conf(0, ""))); err == nil || r.m.vfLink(0).ns != "" {
		t.Errorf("an ADD while the daemon sets attributes: %v", err)
	}
	unlock()
	r.add(t, "c2", "/ns/c2", 0, "")
	if _, err := r.LockVF(t.Context(), "../../x"); err == nil {
		t.Error("a lock of no VF")
	}
}

// No reconcile leaves a reference to the file system below /var, which would keep
// the node from unmounting it.
func TestNoDescriptorStaysOpen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, testNoDescriptorStaysOpen)
}

func testNoDescriptorStaysOpen(t *testing.T) {
	r := newRig(t, 2)
	r.Sleep = nil
	r.add(t, "c1", "/ns/c1", 0, everything)
	r.add(t, "c2", "/ns/c2", 1, "")
	r.m.kill("/ns/c1")
	must(t, os.WriteFile(r.cachePath("c9-net1"), []byte("{"), 0o600))
	if _, err := r.Orphans(); err == nil {
		t.Error("a damaged file was not seen")
	}
	theirs, err := r.store().Lock(t.Context(), vfAddr(0))
	must(t, err)
	if n := len(below(t, r.Dir)); n != 1 {
		t.Fatalf("%d descriptors while a lock is held", n)
	}
	list, _ := r.Orphans()
	for _, o := range list {
		if err := r.Reclaim(t.Context(), o); !errors.Is(err, attachment.ErrVFLocked) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	theirs()
	for _, o := range list {
		must(t, r.Reclaim(t.Context(), o))
	}
	unlock, err := r.LockVF(t.Context(), vfAddr(0))
	must(t, err)
	unlock()
	if left := below(t, r.Dir); len(left) > 0 {
		t.Errorf("still open: %v", left)
	}
}
