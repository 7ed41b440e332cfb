package source_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/talos-sriov/talos-sriov/pkg/source"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, path string) *source.Watcher {
	t.Helper()
	w := source.New(path, source.Options{Settle: 5 * time.Millisecond, Absent: 100 * time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return w
}

func next(t *testing.T, w *source.Watcher) source.Document {
	t.Helper()
	select {
	case d := <-w.Documents():
		return d
	case <-time.After(10 * time.Second):
		t.Fatal("no document within 10s")
		return source.Document{}
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// The whole life of a document on Talos: nothing at first, then the folder and
// the file, rewritten in place, the folder removed and created again.
func TestLifeOfADocument(t *testing.T) {
	root := filepath.Join(t.TempDir(), "overlays")
	if err := os.Mkdir(root, 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(root, "sriov", "etc-sriov-config.yaml")
	w := start(t, file)

	if d := next(t, w); d.Present {
		t.Fatalf("document present at start: %+v", d)
	}
	write(t, file, "one")
	if d := next(t, w); string(d.Data) != "one" || d.Path != file {
		t.Fatalf("got %+v, want content one from %s", d, file)
	}
	write(t, file, "two")
	if d := next(t, w); string(d.Data) != "two" {
		t.Fatalf("after the rewrite: %q", d.Data)
	}
	// Removed and at once created again with other content: absence is no news.
	if err := os.RemoveAll(filepath.Dir(file)); err != nil {
		t.Fatal(err)
	}
	write(t, file, "three")
	if d := next(t, w); string(d.Data) != "three" {
		t.Fatalf("after the folder was replaced: %+v", d)
	}
	if err := os.RemoveAll(filepath.Dir(file)); err != nil {
		t.Fatal(err)
	}
	if d := next(t, w); d.Present {
		t.Fatalf("after the removal: %+v", d)
	}
	write(t, file, "four")
	if d := next(t, w); string(d.Data) != "four" {
		t.Fatalf("after it came back: %+v", d)
	}
	// An empty file is what Talos leaves where a removed document was mounted.
	write(t, file, " \n")
	if d := next(t, w); d.Present {
		t.Fatalf("empty file counted as a document: %+v", d)
	}
}

func TestRewriteWithSameContentIsNoNews(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a", "config.yaml")
	write(t, file, "one")
	w := start(t, file)
	if d := next(t, w); string(d.Data) != "one" {
		t.Fatalf("got %q", d.Data)
	}
	write(t, file, "one")
	write(t, file+".other", "x")
	write(t, file, "two")
	if d := next(t, w); string(d.Data) != "two" {
		t.Fatalf("got %q, want two: a rewrite with equal content must not be delivered", d.Data)
	}
}

func TestReadFolder(t *testing.T) {
	dir := t.TempDir()
	if d, err := source.Read(dir); err != nil || d.Present {
		t.Fatalf("empty folder: %+v, %v", d, err)
	}
	write(t, filepath.Join(dir, "etc-sriov-config.yaml"), "one")
	if d, err := source.Read(dir); err != nil || string(d.Data) != "one" {
		t.Fatalf("one file: %+v, %v", d, err)
	}
	write(t, filepath.Join(dir, "second.yaml"), "two")
	if d, err := source.Read(dir); err == nil {
		t.Fatalf("two files were accepted: %+v", d)
	}
}

func TestReadCutsOversizedFiles(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	write(t, file, string(make([]byte, source.MaxSize+100)))
	d, err := source.Read(file)
	if err != nil || len(d.Data) != source.MaxSize+1 {
		t.Fatalf("got %d bytes, %v; want MaxSize+1", len(d.Data), err)
	}
}
