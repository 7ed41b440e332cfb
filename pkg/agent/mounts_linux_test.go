package agent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Mounts at and above the places are reported, those of pods are not.
func TestMountsThatMatter(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, d := range []string{"var/lib/pods/one", "run"} {
		if err := os.MkdirAll(at(d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	runtime.LockOSThread() // and end the thread with its namespace
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); errors.Is(err, unix.EPERM) {
		t.Skip("needs root: no new mount namespace")
	} else if err != nil {
		t.Fatal(err)
	}
	must(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	tmpfs := func(name string) { t.Helper(); must(unix.Mount("tmpfs", at(name), "tmpfs", 0, "")) }
	t.Cleanup(func() {
		for _, name := range []string{"var", "run"} {
			_ = unix.Unmount(at(name), unix.MNT_DETACH)
		}
	})
	w := newMountWatcher("", []string{at("var/lib/sriov"), at("run")}, nil)
	if !w.moved() || w.moved() {
		t.Error("what is as it was counts as moved, or the first call does not")
	}
	for _, step := range []struct {
		what  string
		do    func()
		moved bool
	}{
		{"a pod's mount", func() { tmpfs("var/lib/pods/one") }, false},
		{"its end", func() { must(unix.Unmount(at("var/lib/pods/one"), 0)) }, false},
		{"a mount above a place that is not there", func() { tmpfs("var") }, true},
		{"another over it", func() { tmpfs("var") }, true},
		{"the end of that", func() { must(unix.Unmount(at("var"), 0)) }, true},
		{"read-only", func() { must(unix.Mount("", at("var"), "", unix.MS_REMOUNT|unix.MS_RDONLY, "")) }, true},
		{"writable again", func() { must(unix.Mount("", at("var"), "", unix.MS_REMOUNT, "")) }, true},
		{"a mount at a place", func() { tmpfs("run") }, true},
		{"the place is made", func() { must(os.MkdirAll(at("var/lib/sriov"), 0o755)) }, true},
		{"nothing", func() {}, false},
	} {
		if step.do(); w.moved() != step.moved {
			t.Errorf("%s: moved %v, want %v", step.what, !step.moved, step.moved)
		}
	}
}

// No mount is missed: on a node it is that of /var, and it comes once.
func TestEveryMountIsAnnounced(t *testing.T) {
	dir := t.TempDir()
	woken := make(chan struct{}, 1)
	// Not /proc/self, which is the first thread's: another test may have given that
	// one a namespace of its own.
	w := newMountWatcher("/proc/thread-self/mountinfo", []string{filepath.Join(dir, "state")}, func() { woken <- struct{}{} })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	<-w.ready
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	announced := func(what string, i int) {
		t.Helper()
		timer := time.NewTimer(20 * time.Second)
		defer timer.Stop()
		select {
		case <-woken:
		case <-timer.C:
			t.Fatalf("%s %d was not announced", what, i)
		}
	}
	for i := range 300 {
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); errors.Is(err, unix.EPERM) {
			t.Skip("needs root: no mount")
		} else if err != nil {
			t.Fatal(err)
		}
		announced("mount", i)
		if err := unix.Unmount(dir, 0); err != nil {
			t.Fatal(err)
		}
		announced("unmount", i)
	}
}
