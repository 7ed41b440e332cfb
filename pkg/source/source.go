package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"time"

	"github.com/fsnotify/fsnotify"
)

// MaxSize is the largest document that is read, in bytes. What is larger is
// delivered cut after MaxSize+1 bytes, so that the consumer's own size check
// refuses it with its own words.
const MaxSize = 1 << 20

// Document is one state of the place where the document is expected.
type Document struct {
	// Path is the file that was read, or the place that was looked at.
	Path string
	// Present is false when there is no file, or an empty one: Talos leaves an
	// empty file behind where a removed document was mounted.
	Present bool
	Data    []byte
}

// Options tune a Watcher. The zero value means the defaults.
type Options struct {
	// Settle is how long a file must be left alone before it is read
	// (default 50 ms): an in-place rewrite is seen as several events.
	Settle time.Duration
	// Absent is how long a document must be missing before that is news
	// (DefaultAbsent).
	Absent time.Duration
}

// DefaultAbsent is longer than it may take Talos to write a document: it removes the
// directory and makes it again, and machined may have to wait for a processor or a
// disk in between. Nothing waits for this: at a start without a document there is
// nothing to do, and what a document that was removed had made is not in a hurry.
const DefaultAbsent = 10 * time.Second

// Watcher follows one path: a file, or a folder that holds exactly one *.yaml.
type Watcher struct {
	path string
	opt  Options
	docs chan Document
}

// New returns a Watcher for the path, which need not exist yet.
func New(path string, opt Options) *Watcher {
	if opt.Settle <= 0 {
		opt.Settle = 50 * time.Millisecond
	}
	if opt.Absent <= 0 {
		opt.Absent = DefaultAbsent
	}
	return &Watcher{path: filepath.Clean(path), opt: opt, docs: make(chan Document, 1)}
}

// Documents yields the document at the start (once it is known whether there is
// one) and after each change. Only the newest state is kept for a slow reader.
func (w *Watcher) Documents() <-chan Document { return w.docs }

func (w *Watcher) String() string { return "document watcher for " + w.path }

// Run watches until ctx ends. It fails only when watching is impossible
// altogether (no inotify instances left).
func (w *Watcher) Run(ctx context.Context) error {
	watch, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch %s: %w (raise fs.inotify.max_user_instances)", w.path, err)
	}
	defer watch.Close()

	w.follow(watch)
	var (
		last    Document
		known   bool
		missing time.Time // since when the document is missing, zero when it is there
		timer   = time.NewTimer(0)
	)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-watch.Events:
			if !ok {
				return errors.New("watch " + w.path + ": the watcher ended")
			}
			w.follow(watch)
			timer.Reset(w.opt.Settle)
		case _, ok := <-watch.Errors:
			// An overflow of the event queue: what was lost is unknown, so look.
			if !ok {
				return errors.New("watch " + w.path + ": the watcher ended")
			}
			w.follow(watch)
			timer.Reset(w.opt.Settle)
		case <-timer.C:
			doc, err := Read(w.path)
			if err != nil {
				// Unreadable is not absent: keep what is known, look again.
				timer.Reset(w.opt.Absent)
				continue
			}
			if !doc.Present {
				if missing.IsZero() {
					missing = time.Now()
				}
				if wait := w.opt.Absent - time.Since(missing); wait > 0 {
					if !known || last.Present {
						timer.Reset(wait)
					}
					continue
				}
			} else {
				missing = time.Time{}
			}
			if known && doc.Present == last.Present && bytes.Equal(doc.Data, last.Data) {
				continue
			}
			known, last = true, doc
			w.publish(doc)
		}
	}
}

// publish replaces a document that nobody has taken yet.
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

// follow watches every folder on the way to the document that exists now, so
// that the creation of the next one is seen. The root folder is left out: it
// holds no document and its changes are many.
func (w *Watcher) follow(watch *fsnotify.Watcher) {
	for dir := w.path; dir != "/" && dir != "."; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil || !info.IsDir() {
			continue
		}
		// Adding a folder again is free; one that vanished in between is seen by
		// the watch on its parent.
		_ = watch.Add(dir)
	}
}

// Read reads the document at path once: the file, or the one *.yaml file of the
// folder. A missing file is a Document that is not Present, not an error.
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
		return Document{Path: file}, fmt.Errorf("read document: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err != nil {
		return Document{Path: file}, fmt.Errorf("read document %s: %w", file, err)
	}
	return Document{Path: file, Present: len(bytes.TrimSpace(data)) > 0, Data: data}, nil
}

// resolve turns a folder into the file in it; "" when there is none.
func resolve(path string) (string, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("look for the document: %w", err)
	}
	if !info.IsDir() {
		return path, nil
	}
	files, err := filepath.Glob(filepath.Join(path, "*.yaml"))
	if err != nil {
		return "", fmt.Errorf("look for the document in %s: %w", path, err)
	}
	sort.Strings(files)
	switch len(files) {
	case 0:
		return "", nil
	case 1:
		return files[0], nil
	}
	return "", fmt.Errorf("folder %s holds %d documents (%s, %s, ...), it must hold one", path, len(files), files[0], files[1])
}
