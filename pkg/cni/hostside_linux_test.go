package cni

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestHostSide(t *testing.T) {
	t.Parallel()
	run := t.TempDir()
	k := HostSide(run)
	gone := func(path string, want bool) {
		t.Helper()
		ns, err := k.Open(path)
		if ns != nil || err == nil || errors.Is(err, ErrNoNamespace) != want {
			t.Errorf("%s: %v, want it gone: %v", path, err, want)
		}
	}
	gone("/var/run/netns/cni-1", false) // nothing is mounted
	if err := errors.Join(os.Mkdir(filepath.Join(run, "lock"), 0o755), os.Mkdir(filepath.Join(run, "netns"), 0o755),
		os.WriteFile(filepath.Join(run, "netns", "cni-2"), nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	gone("/var/run/netns/cni-1", true)
	gone("/run/netns/cni-1", true)
	if err := errors.Join(os.Symlink("/nowhere", filepath.Join(run, "absolute")), os.Symlink("../nowhere", filepath.Join(run, "out")),
		os.Symlink("netns", filepath.Join(run, "inside"))); err != nil {
		t.Fatal(err)
	}
	gone("/run/absolute/cni-1", false) // another place on the host
	gone("/run/out/cni-1", false)
	gone("/run/inside/cni-1", true)
	gone("/run/inside/cni-2", false)
	gone("/run/netns/cni-2", false)
	gone("/proc/17/ns/net", false)
	gone("/run/../proc/17/ns/net", false)
	gone("", false)
	gone("/run/netns/cni-2/x", false) // no directory: not clear
	gone("/nowhere", false)
	if err := os.RemoveAll(run); err != nil {
		t.Fatal(err)
	}
	gone("/run/netns/cni-1", false)
	if (&Plugin{Kernel: k}).alive("") {
		t.Error("no namespace is alive")
	}
}
