package dirwatch_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/goleak"

	"github.com/talos-sriov/talos-sriov/pkg/internal/dirwatch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func do(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// follow is a user of a Watcher: it follows, looks at the file, and waits for an
// event. The channel has what it saw last.
func follow(t *testing.T, w *dirwatch.Watcher, file string) <-chan string {
	t.Helper()
	saw := make(chan string, 1)
	stop := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer w.Close()
		for {
			if err := w.Follow(false); err != nil {
				t.Error(err)
				return
			}
			data, _ := os.ReadFile(file)
			select {
			case <-saw:
			default:
			}
			saw <- string(data)
			select {
			case <-w.Events():
			case err := <-w.Errors():
				t.Error(err)
			case <-stop:
				return
			}
		}
	}()
	t.Cleanup(func() { close(stop); <-ended })
	return saw
}

func await(t *testing.T, saw <-chan string, want, after string) {
	t.Helper()
	timeout := time.After(30 * time.Second)
	for {
		select {
		case got := <-saw:
			if got == want {
				return
			}
		case <-timeout:
			t.Fatalf("%q is not seen after %s", want, after)
		}
	}
}

// Whatever is made, removed, moved and made again, who looks after each event
// sees what there is in the end, without looking from time to time.
func TestLastStateIsSeen(t *testing.T) {
	top := t.TempDir()
	a := filepath.Join(top, "a")
	target := filepath.Join(a, "b", "c")
	saw := follow(t, dirwatch.New(fsnotify.NewWatcher, target, filepath.Join(top, "other")), filepath.Join(target, "file"))
	steps := map[string]func(i int){
		"make":        func(int) { do(t, os.MkdirAll(target, 0o700)) },
		"remove":      func(int) { do(t, os.RemoveAll(a)) },
		"remove all":  func(int) { do(t, os.RemoveAll(target)) },
		"move away":   func(i int) { _ = os.Rename(a, fmt.Sprintf("%s.%d", a, i)) },
		"move inside": func(i int) { _ = os.Rename(filepath.Join(a, "b"), fmt.Sprintf("%s/old.%d", a, i)) },
		"other":       func(int) { do(t, os.MkdirAll(filepath.Join(top, "other"), 0o700)) },
	}
	names := slices.Sorted(maps.Keys(steps))
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 300 {
		after := ""
		for range random.IntN(4) {
			name := names[random.IntN(len(names))]
			after += name + ", "
			steps[name](i)
		}
		text := strconv.Itoa(i)
		do(t, os.MkdirAll(target, 0o700), os.WriteFile(filepath.Join(target, "file"), []byte(text), 0o600))
		await(t, saw, text, after)
	}
}

// Without a free inotify instance Follow says so, and gets one later.
func TestNoInstance(t *testing.T) {
	free := false
	w := dirwatch.New(func() (*fsnotify.Watcher, error) {
		if !free {
			return nil, syscall.EMFILE
		}
		return fsnotify.NewWatcher()
	}, t.TempDir())
	t.Cleanup(w.Close)
	if err := w.Follow(false); !errors.Is(err, syscall.EMFILE) {
		t.Errorf("got %v", err)
	}
	if w.Events() != nil || w.Errors() != nil {
		t.Error("channels of nothing")
	}
	free = true
	do(t, w.Follow(false))
	if w.Events() == nil {
		t.Error("nothing is watched")
	}
}

// A watcher that was closed from outside is replaced, not waited for.
func TestClosedFromOutside(t *testing.T) {
	dir := t.TempDir()
	var opened []*fsnotify.Watcher
	w := dirwatch.New(func() (*fsnotify.Watcher, error) {
		n, err := fsnotify.NewWatcher()
		opened = append(opened, n)
		return n, err
	}, dir)
	t.Cleanup(w.Close)
	do(t, w.Follow(false), opened[0].Close())
	for range w.Events() {
	}
	do(t, w.Follow(false))
	if w.Events() == nil || len(opened) != 2 {
		t.Errorf("%d watchers were opened, want 2", len(opened))
	}
}

// What fits is left alone: no watch is set without a change.
func TestFollowIsIdle(t *testing.T) {
	dir := t.TempDir()
	var kernel *fsnotify.Watcher
	w := dirwatch.New(func() (_ *fsnotify.Watcher, err error) {
		kernel, err = fsnotify.NewWatcher()
		return kernel, err
	}, filepath.Join(dir, "missing"))
	t.Cleanup(w.Close)
	do(t, w.Follow(false))
	for _, path := range kernel.WatchList() {
		if path == "/" {
			t.Error("the root directory is watched although the one below it exists")
		}
	}
	before := len(kernel.WatchList())
	do(t, w.Follow(false), w.Follow(true))
	if n := len(kernel.WatchList()); n != before {
		t.Errorf("%d watches, then %d", before, n)
	}
	w.Close()
	if w.Events() != nil {
		t.Error("closed, and there are events")
	}
	do(t, w.Follow(false))
	if w.Events() == nil {
		t.Error("Follow does not begin again")
	}
}
