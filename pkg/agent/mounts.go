package agent

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// mountWatcher tells when the mount table of this process changed. /var of a
// Talos node is mounted after the service started; the kernel announces that by
// an exceptional condition on /proc/self/mountinfo (proc(5)).
type mountWatcher struct {
	path  string
	wake  func()
	ready chan struct{}
}

func newMountWatcher(path string, wake func()) *mountWatcher {
	return &mountWatcher{path: path, wake: wake, ready: make(chan struct{})}
}

func (*mountWatcher) String() string           { return "mount watcher" }
func (w *mountWatcher) Ready() <-chan struct{} { return w.ready }
func (w *mountWatcher) Run(ctx context.Context) error {
	f, err := os.Open(w.path)
	if err != nil {
		return fmt.Errorf("watch mounts: %w", err)
	}
	defer f.Close()
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

	close(w.ready)
	fds := []unix.PollFd{
		{Fd: int32(f.Fd()), Events: unix.POLLPRI},
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
			w.wake()
		}
	}
	return nil
}
