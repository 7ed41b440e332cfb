package source_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

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
	case <-time.After(time.Minute):
		t.Fatal("no config within a minute")
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

// The whole life of a config on Talos: nothing at first, then the directory and
// the file, rewritten in place, the directory removed and created again.
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
		t.Fatalf("after the directory was replaced: %+v", d)
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
		t.Fatalf("empty file counted as a config: %+v", d)
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

func TestReadDirectory(t *testing.T) {
	dir := t.TempDir()
	if d, err := source.Read(dir); err != nil || d.Present {
		t.Fatalf("empty directory: %+v, %v", d, err)
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

// Several documents are a problem with a text, and not silence. When it is
// over, the config follows, even when it is the one before.
func TestSeveralDocuments(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "documents")
	write(t, filepath.Join(dir, "a.yaml"), "one")
	w := start(t, dir)
	if d := next(t, w); string(d.Data) != "one" || d.Err != nil {
		t.Fatalf("%+v", d)
	}
	write(t, filepath.Join(dir, "b.yaml"), "two")
	d := next(t, w)
	var several *source.AmbiguousError
	if !errors.As(d.Err, &several) || !d.Present || d.Data != nil || d.Path != dir {
		t.Fatalf("%+v", d)
	}
	if !slices.Equal(several.Files, []string{"a.yaml", "b.yaml"}) || several.Dir != dir {
		t.Errorf("%+v", several)
	}
	if err := os.Remove(filepath.Join(dir, "b.yaml")); err != nil {
		t.Fatal(err)
	}
	if d := next(t, w); string(d.Data) != "one" || d.Err != nil {
		t.Fatalf("after one was removed: %+v", d)
	}
}

// So is a config that cannot be read; it is not absent.
func TestUnreadableDocument(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.Symlink(file, file); err != nil {
		t.Fatal(err)
	}
	w := start(t, file)
	if d := next(t, w); !errors.Is(d.Err, unix.ELOOP) || !d.Present || d.Data != nil {
		t.Fatalf("%+v", d)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	write(t, file, "one")
	if d := next(t, w); string(d.Data) != "one" {
		t.Fatalf("after it was mended: %+v", d)
	}
}

// busy calls f until the test ends, more often than a config settles.
func busy(t *testing.T, f func(i int)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	tick := time.NewTicker(time.Millisecond)
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				f(i)
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-done; tick.Stop() })
}

// Events that never end put off reading by a bound only.
func TestSteadyEventsDoNotStarveTheConfig(t *testing.T) {
	for name, who := range map[string]string{"above": "../log", "beside": "log", "the config": "config.yaml"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			top := t.TempDir()
			file := filepath.Join(top, "sriov", "config.yaml")
			write(t, file, "one")
			// Settle is so long that no pause between two events is one.
			w := source.New(file, source.Options{Settle: 400 * time.Millisecond, Absent: time.Hour})
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- w.Run(ctx) }()
			t.Cleanup(func() {
				cancel()
				if err := <-done; err != nil {
					t.Error(err)
				}
			})
			if d := next(t, w); string(d.Data) != "one" {
				t.Fatalf("%+v", d)
			}
			other := filepath.Join(filepath.Dir(file), who)
			f, err := os.OpenFile(other, os.O_CREATE|os.O_WRONLY, 0o644)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { f.Close() })
			busy(t, func(i int) { _, _ = f.WriteAt([]byte{'a' + byte(i%26)}, 0) })
			if who != "config.yaml" {
				write(t, file, "two")
			}
			if d := next(t, w); who != "config.yaml" && string(d.Data) != "two" {
				t.Errorf("%+v", d)
			}
		})
	}
}

// Where no inotify instance is left the config is read from time to time,
// which is logged once, and watched again when there is one.
func TestNoInotify(t *testing.T) {
	file := filepath.Join(t.TempDir(), "sriov", "config.yaml")
	var log bytes.Buffer
	var left atomic.Bool
	tries := make(chan struct{}, 1000)
	w := source.New(file, source.Options{
		Settle: time.Millisecond, Absent: 5 * time.Millisecond, Poll: 5 * time.Millisecond,
		Log: slog.New(slog.NewTextHandler(&log, nil)),
		Notify: func() (*fsnotify.Watcher, error) {
			tries <- struct{}{}
			if !left.Load() {
				return nil, os.NewSyscallError("inotify_init1", unix.EMFILE)
			}
			return fsnotify.NewWatcher()
		},
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	if d := next(t, w); d.Present {
		t.Errorf("%+v", d)
	}
	write(t, file, "one")
	if d := next(t, w); string(d.Data) != "one" {
		t.Errorf("%+v", d)
	}
	for range 5 {
		<-tries
	}
	left.Store(true)
	write(t, file, "two")
	if d := next(t, w); string(d.Data) != "two" {
		t.Errorf("%+v", d)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("a missing inotify instance ended the watcher: %v", err)
	}
	if n := strings.Count(log.String(), "cannot be watched"); n != 1 {
		t.Errorf("logged %d times:\n%s", n, log.String())
	}
}
