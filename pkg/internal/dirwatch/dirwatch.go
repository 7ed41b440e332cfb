package dirwatch

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/fsnotify/fsnotify"

	"github.com/talos-sriov/talos-sriov/pkg/internal/fileid"
)

// Watcher watches some directories. It is not safe for concurrent use.
type Watcher struct {
	open    func() (*fsnotify.Watcher, error)
	targets []string
	w       *fsnotify.Watcher // nil: nothing is watched
	watched []dir             // each after those above it
}

// dir is one directory that is watched.
type dir struct {
	path string
	id   fileid.ID // when the watch was set
}

// New returns a Watcher of absolute paths that watches nothing yet. open makes
// the kernel's watcher (fsnotify.NewWatcher).
func New(open func() (*fsnotify.Watcher, error), targets ...string) *Watcher {
	return &Watcher{open: open, targets: targets}
}

// Follow makes the watches fit the directories that exist now, and repeats until
// nothing changed while they were set. With force they are set again although they
// seem right. An error says that not every change will be seen: an inotify
// instance or watch is a resource that others on the node may have used up, and
// the next Follow may get it. What can be watched is watched anyway.
func (d *Watcher) Follow(force bool) error {
	const tries = 16
	for try := 1; ; try++ {
		now := existing(d.targets)
		if !force && d.fits(now) {
			return nil
		}
		vanished, err := d.set(now)
		if errors.Is(err, fsnotify.ErrClosed) {
			d.Close() // somebody else closed it: the next try opens another one
			vanished = true
		}
		if try == tries || err != nil && !vanished {
			return err
		}
		force = false
	}
}

// fits reports whether exactly these are watched. The kernel drops a watch with
// its directory, whose inode number another one may have by now.
func (d *Watcher) fits(now []dir) bool {
	return d.w != nil && slices.Equal(now, d.watched) && len(d.w.WatchList()) == len(now)
}

// set watches these directories and no others. vanished is true when one of them
// was gone by then.
func (d *Watcher) set(now []dir) (vanished bool, err error) {
	if d.w == nil {
		if d.w, err = d.open(); err != nil {
			d.w = nil
			return false, err
		}
	}
	for _, old := range d.watched {
		_ = d.w.Remove(old.path) // it fails when the kernel dropped the watch: fine
	}
	d.watched = nil
	var errs []error
	for _, next := range now {
		switch err := d.w.Add(next.path); {
		case err == nil:
			d.watched = append(d.watched, next)
		case errors.Is(err, fs.ErrNotExist):
			vanished = true
		default:
			errs = append(errs, fmt.Errorf("%s: %w", next.path, err))
		}
	}
	return vanished, errors.Join(errs...)
}

// Close ends watching, until the next Follow.
func (d *Watcher) Close() {
	if d.w != nil {
		_ = d.w.Close()
	}
	d.w, d.watched = nil, nil
}

// Events says what happened in the directories and to them. It is nil, and so
// never ready, while nothing is watched, and closed when somebody else closed the
// kernel's watcher: Follow opens another one.
func (d *Watcher) Events() <-chan fsnotify.Event {
	if d.w == nil {
		return nil
	}
	return d.w.Events
}

// Errors says that events were lost (fsnotify.ErrEventOverflow), or worse.
func (d *Watcher) Errors() <-chan error {
	if d.w == nil {
		return nil
	}
	return d.w.Errors
}

// existing returns those of the targets and the directories above them that
// exist, each once and after those above it. The root directory is left out once
// the one below it is there: its changes are many, and that one's own end is an
// event of its own.
func existing(targets []string) []dir {
	var out []dir
	for _, target := range targets {
		var one []dir
		for path := filepath.Clean(target); ; path = filepath.Dir(path) {
			top := path == filepath.Dir(path)
			if fi, err := os.Stat(path); err == nil && fi.IsDir() && (!top || len(one) == 0) {
				one = append(one, dir{path: path, id: fileid.Of(fi)})
			}
			if top {
				break
			}
		}
		slices.Reverse(one)
		for _, d := range one {
			if !slices.ContainsFunc(out, func(o dir) bool { return o.path == d.path }) {
				out = append(out, d)
			}
		}
	}
	return out
}
