package source

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// notifier is the kernel's watch on every directory above a path. It may not be
// had: an inotify instance or watch is a resource that others on the node use
// up. That is no reason to end, only one to read from time to time.
type notifier struct {
	path string
	open func() (*fsnotify.Watcher, error)
	log  *slog.Logger
	poll time.Duration

	watch  *fsnotify.Watcher // nil: there is none
	broken error             // why something is not watched; nil: all of it is
}

// follow watches every directory on the way to the document that exists now, so
// that the creation of the next one is seen. The root directory is left out: it
// holds no document and its changes are many.
func (n *notifier) follow() {
	err := n.try()
	switch {
	case err != nil && n.broken == nil:
		n.log.Warn("document cannot be watched; it is read from time to time", "every", n.poll, "error", err,
			"hint", "raise fs.inotify.max_user_instances and fs.inotify.max_user_watches in machine.sysctls")
	case err == nil && n.broken != nil:
		n.log.Info("document is watched again")
	}
	n.broken = err
}

func (n *notifier) try() error {
	if n.watch == nil {
		w, err := n.open()
		if err != nil {
			return err
		}
		n.watch = w
	}
	var failed error
	for dir := n.path; dir != "/" && dir != "."; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil || !info.IsDir() {
			continue
		}
		// Adding a directory twice is free; one that vanished in between is seen
		// by the watch on its parent.
		err = n.watch.Add(dir)
		if errors.Is(err, fsnotify.ErrClosed) {
			n.watch = nil
			return err
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = err
		}
	}
	return failed
}

// watching reports whether every change will be seen.
func (n *notifier) watching() bool { return n.broken == nil }

// events is nil, and so never ready, when there is no watch.
func (n *notifier) events() <-chan fsnotify.Event {
	if n.watch == nil {
		return nil
	}
	return n.watch.Events
}

func (n *notifier) errors() <-chan error {
	if n.watch == nil {
		return nil
	}
	return n.watch.Errors
}

func (n *notifier) close() {
	if n.watch != nil {
		n.watch.Close()
	}
}
