package box_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/talos-sriov/talos-sriov/test/lab/internal/box"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/proc"
)

func TestMain(m *testing.M) {
	box.Main()
	os.Exit(m.Run())
}

// children are the processes of this machine that the program of the test's box has left
// behind.
func children(t *testing.T, state string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(files, func(file string) bool {
		text, err := os.ReadFile(file)
		return err != nil || string(text) != "tail\x00-f\x00"+state+"/boots\x00" // or it has ended meanwhile
	})
}

// What a program of a box writes stays for the next boot where the box was given a
// directory, and not on its tmpfs; its children end with the power, and its mounts are
// not the host's.
func TestBox(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to make namespaces")
	}
	dir := t.TempDir()
	state, volatile, log := filepath.Join(dir, "state"), filepath.Join(dir, "volatile"), filepath.Join(dir, "log")
	for _, d := range []string{state, volatile, filepath.Join(dir, "disk")} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cfg := box.Config{Binds: map[string]string{state: filepath.Join(dir, "disk")}, Tmpfs: []string{volatile}}
	const script = `cat $0/boots $1/boots; echo boot >>$0/boots; echo boot >>$1/boots
mount -t tmpfs mine $1 && (tail -f $0/boots >/dev/null &); echo $$ >$0/ready; exec sleep 1000`
	boot := func() *box.Box {
		t.Helper()
		b, err := box.Boot(cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.PowerOff)
		if err := b.Start(box.Program{Name: "sh", Path: "/bin/sh", Args: []string{"-c", script, state, volatile}, Log: log}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := proc.Poll(ctx, "wait for the program", 10*time.Millisecond, func() (bool, error) {
			_, err := os.Stat(b.Path(filepath.Join(state, "ready")))
			return err == nil, err
		}); err != nil {
			t.Fatal(err)
		}
		return b
	}
	b := boot()
	child := children(t, state)
	if len(child) != 1 {
		t.Errorf("the program's children: %q, want one", child)
	}
	if ended, err := b.Ended(); err != nil || len(ended) != 0 {
		t.Errorf("ended: %q, %v", ended, err)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), dir) {
		t.Errorf("the host has mounts of the box:\n%s", mounts)
	}
	if err := os.Remove(filepath.Join(dir, "disk/ready")); err != nil {
		t.Fatal(err)
	}
	b.PowerOff()
	if left := children(t, state); len(left) != 0 {
		t.Errorf("%q run without power", left)
	}
	if err := b.Start(box.Program{Name: "late", Path: "/bin/true", Log: log}); err == nil {
		t.Error("a program was started in a box that is off")
	}

	b = boot()
	if err := b.Kill("sh"); err != nil {
		t.Error(err)
	}
	if err := b.Kill("sh"); err == nil {
		t.Error("a program was killed twice")
	}
	if got, err := os.ReadFile(log); err != nil || strings.Count(string(got), "boot\n") != 1 {
		t.Errorf("the two boots found, err %v:\n%s", err, got)
	}
	if left, err := os.ReadDir(volatile); err != nil || len(left) != 0 {
		t.Errorf("the host has files of the box's tmpfs: %v, %v", left, err)
	}
}
