package checkpoint_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/talos-sriov/talos-sriov/pkg/use"
	"github.com/talos-sriov/talos-sriov/pkg/use/checkpoint"
)

// node is a kubelet's directory and that of its logs.
type node struct {
	t             *testing.T
	kubelet, logs string
}

func newNode(t *testing.T) node {
	dir := t.TempDir()
	n := node{t: t, kubelet: filepath.Join(dir, "kubelet"), logs: filepath.Join(dir, "pods")}
	if err := errors.Join(os.MkdirAll(filepath.Join(n.kubelet, "device-plugins"), 0o755), os.MkdirAll(n.logs, 0o755)); err != nil {
		t.Fatal(err)
	}
	return n
}

func (n node) path() string { return filepath.Join(n.kubelet, checkpoint.File) }

// write replaces the file as the kubelet does.
func (n node) write(content string) {
	n.t.Helper()
	if err := errors.Join(os.WriteFile(n.path()+".tmp", []byte(content), 0o600), os.Rename(n.path()+".tmp", n.path())); err != nil {
		n.t.Fatal(err)
	}
}

func with(device string) string {
	return `{"Data":{"PodDeviceEntries":[{"PodUID":"u","ContainerName":"c","ResourceName":"a/b","DeviceIDs":{"0":["` + device + `"]}}]}}`
}

func TestRead(t *testing.T) {
	n := newNode(t)
	if err := errors.Join(os.Mkdir(filepath.Join(n.logs, "ns_p_u"), 0o755), os.Mkdir(filepath.Join(n.logs, "old"), 0o755)); err != nil {
		t.Fatal(err)
	}
	r := checkpoint.New(n.kubelet, n.logs)
	if cp := r.Read(); cp.Err != nil || cp.Entries != nil {
		t.Fatalf("without a file: %+v", cp)
	}
	// Each look finds the newest, however fast they follow each other.
	for _, device := range []string{"0000:21:10.0", "0000:21:10.1", "0000:21:10.2", "0000:21:10.0"} {
		n.write(with(device))
		want := use.Checkpoint{
			Entries: []use.Entry{{PodUID: "u", Container: "c", Resource: "a/b", Devices: []string{device}}},
			Names:   map[string]use.Pod{"u": {Namespace: "ns", Name: "p"}},
		}
		for range 2 {
			if d := cmp.Diff(want, r.Read()); d != "" {
				t.Fatalf("%s: %s", device, d)
			}
		}
	}
	if err := os.Remove(n.path()); err != nil {
		t.Fatal(err)
	}
	if cp := r.Read(); cp.Err != nil || cp.Entries != nil {
		t.Fatalf("removed: %+v", cp)
	}
}

// What is there and cannot be read is not known, and is not a file without entries.
func TestReadUnreadable(t *testing.T) {
	for name, c := range map[string]struct {
		make func(n node) error
		want error
	}{
		"another form": {func(n node) error { n.write("{}"); return nil }, checkpoint.ErrFormat},
		"a directory":  {func(n node) error { return os.Mkdir(n.path(), 0o755) }, checkpoint.ErrNotAFile},
		"too large": {func(n node) error {
			n.write(with("d"))
			return os.Truncate(n.path(), 1<<25)
		}, checkpoint.ErrTooLarge},
		"a link": {func(n node) error {
			n.write(with("d"))
			return errors.Join(os.Rename(n.path(), n.path()+"2"), os.Symlink(n.path()+"2", n.path()))
		}, nil},
	} {
		n := newNode(t)
		if err := c.make(n); err != nil {
			t.Fatal(err)
		}
		r := checkpoint.New(n.kubelet, n.logs)
		for range 2 {
			cp := r.Read()
			if cp.Err == nil || cp.Entries != nil || (c.want != nil && !errors.Is(cp.Err, c.want)) || !strings.Contains(cp.Err.Error(), n.path()) {
				t.Errorf("%s: %+v, want %v", name, cp, c.want)
			}
		}
		if err := os.RemoveAll(n.path()); err != nil {
			t.Fatal(err)
		}
		n.write(with("d"))
		if cp := r.Read(); cp.Err != nil || len(cp.Entries) != 1 {
			t.Errorf("%s, mended: %+v", name, cp)
		}
	}
}

// The kubelet's directory may not be mounted, and its pods may have no logs.
func TestReadWithoutDirectories(t *testing.T) {
	n := newNode(t)
	if cp := checkpoint.New(filepath.Join(n.kubelet, "none"), n.logs).Read(); cp.Err != nil || cp.Entries != nil {
		t.Errorf("no kubelet: %+v", cp)
	}
	n.write(with("d"))
	if cp := checkpoint.New(n.kubelet, filepath.Join(n.logs, "none")).Read(); cp.Err != nil || cp.NamesErr != nil || len(cp.Entries) != 1 || len(cp.Names) != 0 {
		t.Errorf("no logs: %+v", cp)
	}
	if cp := checkpoint.New(n.kubelet, n.path()).Read(); cp.NamesErr == nil || len(cp.Entries) != 1 {
		t.Errorf("logs that are no directory: %+v", cp)
	}
}

// An unchanged file is parsed once: what is read of it is the same slice.
func TestUnchangedFileIsParsedOnce(t *testing.T) {
	n := newNode(t)
	n.write(with("d"))
	r := checkpoint.New(n.kubelet, n.logs)
	r.SetNow(func() time.Time { return time.Now().Add(time.Minute) })
	first, second := r.Read(), r.Read()
	if len(first.Entries) != 1 || &first.Entries[0] != &second.Entries[0] {
		t.Error("parsed twice")
	}
	n.write(with("e"))
	if got := r.Read(); len(got.Entries) != 1 || got.Entries[0].Devices[0] != "e" {
		t.Errorf("%+v", got)
	}
}
