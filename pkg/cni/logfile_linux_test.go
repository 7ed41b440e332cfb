package cni_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/containernetworking/cni/pkg/skel"

	"github.com/talos-sriov/talos-sriov/pkg/cni"
)

func need(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// logTo lets the plugin log a line with logFile, and returns what stderr got.
func logTo(t *testing.T, dir, logFile string) string {
	t.Helper()
	conf, err := json.Marshal(map[string]string{"name": "net", "logFile": logFile})
	need(t, err)
	var stderr bytes.Buffer
	log, done := cni.OpenLog(&stderr, dir, &skel.CmdArgs{ContainerID: "c1", StdinData: conf})
	log.Info("a line")
	need(t, done())
	return stderr.String()
}

func TestLogFileBelowTheLogDirectory(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "log")
	need(t, os.MkdirAll(filepath.Join(dir, "deep", "er"), 0o755))
	for _, name := range []string{"sriov-cni.log", "sriov", "deep/er/sriov.log", "deep/../sriov-b.log", "//sriov-c.log"} {
		path := dir + "/" + name
		for range 2 { // made, then appended to
			if out := logTo(t, dir, path); out != "" {
				t.Errorf("%s: stderr got %s", name, out)
			}
		}
		b, err := os.ReadFile(path)
		need(t, err)
		if lines := strings.Count(string(b), "msg=\"a line\""); lines != 2 {
			t.Errorf("%s has %d lines:\n%s", name, lines, b)
		}
	}
}

// Whoever writes a NetworkAttachmentDefinition neither makes nor changes any other
// file of the node, and keeps no pod waiting; stderr has why the file is not used.
func TestLogFileElsewhereIsIgnored(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	dir := filepath.Join(root, "log")
	need(t, os.MkdirAll(filepath.Join(dir, "sriov.d"), 0o755))
	need(t, os.Mkdir(filepath.Join(root, "logs"), 0o755))
	victim := filepath.Join(root, "state.json")
	need(t, os.WriteFile(victim, []byte("{}"), 0o600))
	in := func(name string) string { return filepath.Join(dir, name) }
	need(t, os.Symlink(victim, in("sriov-link")))
	need(t, os.Symlink(filepath.Join(root, "new"), in("sriov-dangling")))
	need(t, os.Symlink(root, in("out")))
	need(t, os.Symlink("sriov.d", in("inside")))
	need(t, os.Link(victim, in("sriov-hard")))
	need(t, syscall.Mkfifo(in("sriov-fifo"), 0o600))
	need(t, syscall.Mkfifo(filepath.Join(root, "sriov-fifo"), 0o600))
	need(t, os.WriteFile(in("audit.log"), []byte("{}"), 0o600))
	need(t, os.WriteFile(in("sriov-large"), nil, 0o600))
	need(t, os.Truncate(in("sriov-large"), 1<<30))
	l, err := net.Listen("unix", in("sriov-sock"))
	need(t, err)
	defer l.Close()

	before := tree(t, root)
	for _, path := range []string{
		victim, filepath.Join(root, "new"), filepath.Join(root, "sriov-new"), filepath.Join(root, "sriov-fifo"), // outside
		filepath.Join(root, "logs", "sriov-new"), dir + "/../sriov-new", dir + "/sriov.d/../../sriov-new", // outside, by another path
		"sriov-new", "log/sriov-new", "/proc/self/root" + in("sriov-new"), "/dev/kmsg", // not a place in it
		dir, in("sriov.d"), in("sriov.d") + "/", in("missing/sriov-new"), // no file
		in("sriov-link"), in("sriov-dangling"), in("out/sriov-new"), in("inside/sriov-new"), in("sriov-link/sriov-new"), // links
		in("sriov-hard"), in("sriov-fifo"), in("sriov-sock"), in("sriov-large"), // what is there is no log
		in("audit.log"), in("new.log"), in("sriov-\x00"), in(strings.Repeat("sriov", 100)), // names
	} {
		out := logTo(t, dir, path)
		if !strings.Contains(out, "logFile not opened, stderr is used") || !strings.Contains(out, "msg=\"a line\"") {
			t.Errorf("%q: stderr got %q", path, out)
		}
	}
	if after := tree(t, root); after != before {
		t.Errorf("before\n%safter\n%s", before, after)
	}
}

// tree is every name below root with its kind and size.
func tree(t *testing.T, root string) string {
	t.Helper()
	var b strings.Builder
	need(t, filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && !d.IsDir() {
			fmt.Fprintln(&b, path, info.Mode(), info.Size())
		}
		return err
	}))
	return b.String()
}
