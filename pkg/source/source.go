package source

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/talos-sriov/talos-sriov/pkg/internal/dirwatch"
)

// MaxSize is the largest document that is read, in bytes. What is larger is
// delivered cut after MaxSize+1 bytes, so that the consumer's own size check
// refuses it with its own text.
const MaxSize = 1 << 20

// Document is one state of the place where the config is expected.
type Document struct {
	// Path is the file that was read, or the place where it is expected.
	Path string
	// Present is false when there is no file, or an empty one: Talos leaves an
	// empty file behind where a removed document was mounted.
	Present bool
	// Data is what the file holds, nil with Err.
	Data []byte
	// Err is nil when it is known what the config says. Otherwise there is
	// something, and it is not known what it says: an [*AmbiguousError], or an
	// error of the file system that has lasted for Options.Absent. Present is
	// true and Data nil then. It is to be handled as a config that is refused:
	// never as one that was removed, and never as one that says nothing. Its
	// text names the files and what to do. When it is over, the next Document
	// follows, even when that is the one before the error.
	Err error
}

// AmbiguousError says that a directory holds several documents. None of them
// is chosen: which one is first may be an accident of their names.
type AmbiguousError struct {
	Dir   string
	Files []string // names in Dir, sorted, at least two
}

// Error names the files and what to do on Talos, where nobody can remove a file.
func (e *AmbiguousError) Error() string {
	const shown = 5
	files := strings.Join(e.Files[:min(shown, len(e.Files))], ", ")
	if len(e.Files) > shown {
		files += ", ..."
	}
	return fmt.Sprintf("directory %s holds %d configs (%s) and must hold one: keep one *.yaml among the configFiles of the ExtensionServiceConfig, or name one file with --config",
		e.Dir, len(e.Files), files)
}

// Options tune a Watcher. The zero value means the defaults.
type Options struct {
	// Settle is how long a file must be left alone before it is read
	// (default 50 ms): an in-place rewrite is seen as several events. Where
	// events go on, it is read anyway and believed when it reads equal
	// twice, or after 20 times Settle.
	Settle time.Duration
	// Absent is how long a config must be missing before that is news
	// (default DefaultAbsent): the platform removes and re-creates its directories.
	Absent time.Duration
	// Poll is how often the config is read while the kernel cannot watch it
	// (default 10 s).
	Poll time.Duration
	// Log gets one warning when polling begins and one line when it ends. nil:
	// slog.Default.
	Log *slog.Logger
	// Notify makes the kernel's watcher; nil: fsnotify.NewWatcher.
	Notify func() (*fsnotify.Watcher, error)
}

// DefaultAbsent is longer than it may take Talos to write a config: it removes the
// directory and makes it again, and machined may have to wait for a processor or a
// disk in between. Nothing waits for this: at a start without a config there is
// nothing to do, and what a config that was removed had made is not in a hurry.
const DefaultAbsent = 10 * time.Second

// Watcher follows one path: a file, or a directory that holds one *.yaml.
type Watcher struct {
	path string
	opt  Options
	docs chan Document
}

// New returns a Watcher for the path, which need not exist yet.
func New(path string, opt Options) *Watcher {
	opt.Settle = cmp.Or(opt.Settle, 50*time.Millisecond)
	opt.Absent = cmp.Or(opt.Absent, DefaultAbsent)
	opt.Poll = cmp.Or(opt.Poll, 10*time.Second)
	opt.Log = cmp.Or(opt.Log, slog.Default())
	if opt.Notify == nil {
		opt.Notify = fsnotify.NewWatcher
	}
	return &Watcher{path: filepath.Clean(path), opt: opt, docs: make(chan Document, 1)}
}

// Documents yields the config at the start (once it is known whether there is
// one) and after each change. Only the newest state is kept for a slow reader.
func (w *Watcher) Documents() <-chan Document { return w.docs }

// Run watches until ctx ends. Where the kernel cannot watch (no inotify
// instance or watch is left), the config is read every Options.Poll, until it
// can.
func (w *Watcher) Run(ctx context.Context) error {
	n := &notifier{Watcher: dirwatch.New(w.opt.Notify, w.path), log: w.opt.Log.With("path", w.path), poll: w.opt.Poll}
	defer n.Close()
	n.follow()

	r := reader{path: w.path, opt: w.opt}
	timer := time.NewTimer(0) // put off by every event
	defer timer.Stop()
	bound := time.NewTimer(time.Hour) // put off by none
	defer bound.Stop()
	bound.Stop()
	poll := time.NewTicker(w.opt.Poll)
	defer poll.Stop()
	for {
		happened := true
		select {
		case <-ctx.Done():
			return nil
		case <-n.Events():
			// A closed channel too: the next follow opens another watcher.
		case err := <-n.Errors():
			// An overflow of the event queue: what was lost is unknown, so read.
			n.log.Debug("events were lost", "err", err)
		case <-poll.C:
			if n.watching() {
				continue
			}
		case <-timer.C:
			happened = false
		case <-bound.C:
			happened = false
		}
		if happened {
			n.follow()
			if r.event(time.Now()) {
				bound.Reset(mostSettles / 2 * w.opt.Settle)
			}
			timer.Reset(w.opt.Settle)
			continue
		}
		doc, news, again := r.read(time.Now())
		if news {
			w.publish(doc)
		}
		switch {
		case r.early != nil:
			bound.Reset(w.opt.Settle)
		case again > 0:
			bound.Stop()
			timer.Reset(again)
		default:
			bound.Stop()
		}
	}
}

// publish replaces a config that nobody has taken yet.
func (w *Watcher) publish(doc Document) {
	for {
		select {
		case w.docs <- doc:
			return
		default:
		}
		select {
		case <-w.docs:
		default:
		}
	}
}

// Read reads the config at path once: the file, or the one *.yaml file of the
// directory. A missing file is a Document that is not Present, not an error;
// several files are an [*AmbiguousError].
func Read(path string) (Document, error) {
	file, err := resolve(path)
	if err != nil || file == "" {
		return Document{Path: path}, err
	}
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return Document{Path: file}, nil
	}
	if err != nil {
		return Document{Path: file}, fmt.Errorf("read config: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err != nil {
		return Document{Path: file}, fmt.Errorf("read config %s: %w", file, err)
	}
	return Document{Path: file, Present: len(bytes.TrimSpace(data)) > 0, Data: data}, nil
}

// resolve turns a directory into the file in it; "" when there is none.
func resolve(path string) (string, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("find the config: %w", err)
	}
	if !info.IsDir() {
		return path, nil
	}
	entries, err := os.ReadDir(path) // sorted
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("find the config in %s: %w", path, err)
	}
	var files []string
	for _, e := range entries {
		if filepath.Ext(e.Name()) == ".yaml" {
			files = append(files, e.Name())
		}
	}
	switch len(files) {
	case 0:
		return "", nil
	case 1:
		return filepath.Join(path, files[0]), nil
	}
	return "", &AmbiguousError{Dir: path, Files: files}
}
