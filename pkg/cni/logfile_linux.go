package cni

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// logPrefix starts the name of every log file of the plugin, so that no
	// configuration makes it write into the log of another program.
	logPrefix = "sriov"
	// maxLog is the size in bytes from which on a log file is not appended to:
	// nobody rotates it, and /var also holds the pods' images.
	maxLog = 64 << 20
)

// errLogFile is the reason why a file is no log file of the plugin.
var errLogFile = errors.New("not a log file of this plugin")

// openLogFile opens the file name below dir for appending, and makes it when it is
// not there. Nothing on the way to it may be a link, it must be a regular file with
// one name of at most maxLog bytes, and its own name must start with logPrefix.
// What it is is found out before it is opened: to open a FIFO waits for its other
// end, and to open a device may already make it do something.
func openLogFile(dir, name string) (*os.File, error) {
	rel, err := filepath.Rel(dir, name)
	if err != nil || !filepath.IsAbs(name) || !filepath.IsLocal(rel) || !strings.HasPrefix(filepath.Base(rel), logPrefix) {
		return nil, fmt.Errorf("%w: want a file below %s whose name starts with %s, like %s", errLogFile, dir, logPrefix, filepath.Join(dir, "sriov-cni.log"))
	}
	root, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f, err := beneath(root, rel, unix.O_PATH)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = beneath(root, rel, unix.O_WRONLY|unix.O_APPEND|unix.O_NONBLOCK|unix.O_CREAT|unix.O_EXCL)
		if !errors.Is(err, fs.ErrExist) {
			return f, err
		}
		f, err = beneath(root, rel, unix.O_PATH) // the ADD of another pod was faster
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, fmt.Errorf("identify %s: %w", name, err)
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return nil, fmt.Errorf("%w: it is not a regular file", errLogFile)
	case st.Nlink != 1:
		return nil, fmt.Errorf("%w: it has %d names (hard links)", errLogFile, st.Nlink)
	case st.Size > maxLog:
		return nil, fmt.Errorf("%w: it has more than %d MiB; remove it, or lower logLevel", errLogFile, maxLog>>20)
	}
	return os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), unix.O_WRONLY|unix.O_APPEND|unix.O_NONBLOCK, 0)
}

// beneath opens a path below root on which no component is a link of any kind.
func beneath(root *os.File, rel string, flags uint64) (*os.File, error) {
	how := unix.OpenHow{
		Flags:   flags | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	if flags&unix.O_CREAT != 0 {
		how.Mode = 0o644
	}
	path := filepath.Join(root.Name(), rel)
	for {
		fd, err := unix.Openat2(int(root.Fd()), rel, &how)
		switch {
		case err == nil:
			return os.NewFile(uintptr(fd), path), nil
		case !errors.Is(err, unix.EINTR):
			return nil, &fs.PathError{Op: "openat2", Path: path, Err: err}
		}
	}
}
