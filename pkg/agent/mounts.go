package agent

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// mountWatcher reports when some of the given places may have come to lie on
// another mount. /var of a Talos node is mounted after the service started; the
// kernel announces changes of the mount table by an exceptional condition on
// /proc/self/mountinfo (proc(5)). Every pod that comes or goes changes the table
// too, which wakes nobody.
type mountWatcher struct {
	path   string
	places []string
	wake   func()
	ready  chan struct{}
	once   sync.Once // closes ready
	was    []ground  // of the places, as observed last
}

func newMountWatcher(path string, places []string, wake func()) *mountWatcher {
	return &mountWatcher{path: path, places: places, wake: wake, ready: make(chan struct{})}
}

// ground is what a place lies on: the mount, whether it is read-only, and the
// directory itself or the nearest one above it that is there.
type ground struct {
	mount, inode uint64
	major, minor uint32
	flags        int64
}

// groundOf gives the zero ground for a place that cannot be observed.
func groundOf(place string) ground {
	for dir := filepath.Clean(place); ; dir = filepath.Dir(dir) {
		var x unix.Statx_t
		var fs unix.Statfs_t
		err := unix.Statx(unix.AT_FDCWD, dir, 0, unix.STATX_INO|unix.STATX_MNT_ID, &x)
		if err == nil {
			err = unix.Statfs(dir, &fs)
		}
		if err == nil {
			return ground{x.Mnt_id, x.Ino, x.Dev_major, x.Dev_minor, int64(fs.Flags)}
		}
		if !errors.Is(err, unix.ENOENT) || dir == filepath.Dir(dir) {
			return ground{}
		}
	}
}

// moved reports whether a place lies on something else than it did at the last call.
func (w *mountWatcher) moved() bool {
	now := make([]ground, len(w.places))
	for i, p := range w.places {
		now[i] = groundOf(p)
	}
	same := slices.Equal(w.was, now)
	w.was = now
	return !same
}

// Run watches until ctx ends.
func (w *mountWatcher) Run(ctx context.Context) error {
	// Not by os.Open: that gives the file to the runtime's own poller as well, and who
	// polls this file first takes the announcement away from all others.
	table, err := unix.Open(w.path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("watch mounts: open %s: %w", w.path, err)
	}
	defer unix.Close(table)
	stop, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return fmt.Errorf("watch mounts: eventfd: %w", err)
	}
	defer unix.Close(stop)
	// poll(2) does not know contexts, an eventfd does.
	unblock := context.AfterFunc(ctx, func() {
		_, _ = unix.Write(stop, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	})
	defer unblock()

	w.moved()
	w.once.Do(func() { close(w.ready) })
	fds := []unix.PollFd{
		{Fd: int32(table), Events: unix.POLLPRI},
		{Fd: int32(stop), Events: unix.POLLIN},
	}
	for ctx.Err() == nil {
		if _, err := unix.Poll(fds, -1); err != nil {
			if err == unix.EINTR {
				continue
			}
			return fmt.Errorf("watch mounts: poll: %w", err)
		}
		if fds[0].Revents&(unix.POLLPRI|unix.POLLERR) != 0 {
			if w.moved() {
				w.wake()
			}
		}
	}
	return nil
}
