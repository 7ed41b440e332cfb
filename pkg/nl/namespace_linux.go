package nl

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// openNamespace opens the network namespace at path; [ErrNoNamespace] when there
// is none. The path may come from a file or from the environment, so what it names
// is identified before it is opened: to open a FIFO waits for its other end, and to
// open a device may already make it do something. Both checks are of one
// descriptor, so that what is opened is what was checked.
func openNamespace(path string) (int, error) {
	at, err := open(path, unix.O_PATH)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return -1, fmt.Errorf("%w at %s: %w", ErrNoNamespace, path, err)
	}
	if err != nil {
		return -1, fmt.Errorf("open network namespace %s: %w", path, err)
	}
	defer unix.Close(at)
	var st unix.Statfs_t
	if err := unix.Fstatfs(at, &st); err != nil {
		return -1, fmt.Errorf("identify network namespace %s: %w", path, err)
	}
	if st.Type != unix.NSFS_MAGIC {
		// Also the plain file that is left when the bind mount on it is gone.
		return -1, fmt.Errorf("%w: %s is not a namespace file", ErrNoNamespace, path)
	}
	fd, err := open(fmt.Sprintf("/proc/self/fd/%d", at), unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return -1, fmt.Errorf("open network namespace %s: %w", path, err)
	}
	typ, err := unix.IoctlRetInt(fd, unix.NS_GET_NSTYPE) // ioctl_ns(2)
	switch {
	case err != nil:
		err = fmt.Errorf("identify network namespace %s: %w", path, err)
	case typ != unix.CLONE_NEWNET:
		err = fmt.Errorf("%w: %s is a namespace of another type", ErrNoNamespace, path)
	default:
		return fd, nil
	}
	return -1, errors.Join(err, unix.Close(fd))
}

// open is open(2), which a signal may interrupt.
func open(path string, flags int) (int, error) {
	for {
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}
