package sysfs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// pageSize is the kernel's limit for the content of an attribute.
const pageSize = 4096

// dirBufs holds getdents buffers, because a directory like bus/pci/devices of a
// machine with thousands of VFs wants more than a page each time.
type dirBufs = sync.Pool

// FS is the sysfs of this machine, or a directory that looks like one.
type FS struct {
	root string
	fd   int      // O_PATH; -1 when roots is in use
	alt  *os.Root // where openat2 is missing
	bufs dirBufs
}

var _ Tree = (*FS)(nil)

// Open opens the directory root ("/sys") for use as a sysfs. The result must be
// closed.
func Open(root string) (*FS, error) {
	clean := filepath.Clean(root)
	fd, err := retry(func() (int, error) {
		return unix.Open(clean, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, fmt.Errorf("sysfs root: %w", &PathError{Op: "open", Path: clean, Err: err})
	}
	f := &FS{root: clean, fd: fd}
	f.bufs.New = func() any { b := make([]byte, 32<<10); return &b }

	// openat2 is missing before Linux 5.6, and some seccomp profiles answer
	// EPERM for what they do not know.
	probe, err := f.open(".", unix.O_PATH)
	switch {
	case err == nil:
		closeFD(probe)
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EPERM):
		closeFD(fd)
		f.fd = -1
		if f.alt, err = os.OpenRoot(clean); err != nil {
			return nil, fmt.Errorf("sysfs root: %w", err)
		}
	default:
		closeFD(fd)
		return nil, fmt.Errorf("sysfs root: %w", &PathError{Op: "open", Path: clean, Err: err})
	}
	return f, nil
}

// Close releases the root.
func (f *FS) Close() error {
	if f.alt != nil {
		return f.alt.Close()
	}
	return unix.Close(f.fd)
}

// Root is the directory that Open was given.
func (f *FS) Root() string { return f.root }

// open returns a descriptor of name, opened relative to the root; the kernel
// refuses (EXDEV) any link or ".." that would leave it.
func (f *FS) open(name string, flags uint64) (int, error) {
	if f.alt != nil {
		return f.openAlt(name, int(flags))
	}
	how := unix.OpenHow{
		Flags:   flags | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
	}
	fd, err := retry(func() (int, error) { return unix.Openat2(f.fd, name, &how) })
	if errors.Is(err, unix.EAGAIN) {
		// The links of sysfs climb with "..", and while anything on the
		// machine is renamed or mounted the kernel cannot know that such a
		// step stayed below the root (openat2(2)). The same place named
		// without a link has no step to doubt.
		name = f.physical(name)
		fd, err = retry(func() (int, error) { return unix.Openat2(f.fd, name, &how) })
	}
	return fd, err
}

// openAlt duplicates the descriptor that os.Root gives, to read it without the
// runtime's poller, which would wait where a driver answers EAGAIN.
func (f *FS) openAlt(name string, flags int) (int, error) {
	file, err := f.alt.OpenFile(name, flags, 0)
	if err != nil {
		return -1, bare(err)
	}
	defer file.Close()
	return unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
}

// bare is the errno in an error of os, which names the path once more.
func bare(err error) error {
	if path, ok := errors.AsType[*os.PathError](err); ok {
		return path.Err
	}
	return err
}

func (f *FS) fail(op, name, value string, err error) error {
	return &PathError{Op: op, Path: f.root + "/" + name, Value: value, Err: err}
}

// ReadFile implements [Tree]. One read is made: whatever the driver answers is
// the answer.
func (f *FS) ReadFile(name string) ([]byte, error) {
	fd, err := f.open(name, unix.O_RDONLY)
	if err != nil {
		return nil, f.fail("open", name, "", err)
	}
	var buf [pageSize]byte
	n, err := retry(func() (int, error) { return unix.Read(fd, buf[:]) })
	closeFD(fd)
	if err != nil {
		return nil, f.fail("read", name, "", err)
	}
	return bytes.Clone(buf[:n]), nil
}

// Write writes value to the existing attribute name with a single write(2).
// It may block for as long as the driver takes; the caller bounds it. A failed
// write is never repeated here, because it may have had its effect.
func (f *FS) Write(name, value string) error {
	fd, err := f.open(name, unix.O_WRONLY)
	if err != nil {
		return f.fail("write", name, value, err)
	}
	n, err := unix.Write(fd, []byte(value))
	closeFD(fd)
	if err == nil && n != len(value) {
		err = fmt.Errorf("the kernel took %d of %d bytes: %w", n, len(value), unix.EIO)
	}
	if err != nil {
		return f.fail("write", name, value, err)
	}
	return nil
}

// ReadDir implements [Tree].
func (f *FS) ReadDir(name string) ([]string, error) {
	fd, err := f.open(name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, f.fail("readdir", name, "", err)
	}
	defer closeFD(fd)
	bp, ok := f.bufs.Get().(*[]byte)
	if !ok {
		return nil, f.fail("readdir", name, "", unix.EINVAL)
	}
	defer f.bufs.Put(bp)
	var names []string
	for {
		n, err := retry(func() (int, error) { return unix.Getdents(fd, *bp) })
		if err != nil {
			return nil, f.fail("readdir", name, "", err)
		}
		if n == 0 {
			break
		}
		_, _, names = unix.ParseDirent((*bp)[:n], -1, names)
	}
	slices.Sort(names)
	return names, nil
}

// ReadLink implements [Tree].
func (f *FS) ReadLink(name string) (string, error) {
	name = path.Clean(name)
	dir, base := path.Split(name)
	dir = strings.TrimSuffix(dir, "/")
	if !isPhysical(dir) {
		dir = f.physical(dir)
	}
	target, err := f.readlink(path.Join(dir, base))
	if err != nil {
		return "", f.fail("readlink", name, "", err)
	}
	if path.IsAbs(target) {
		return "", f.fail("readlink", name, "", unix.EXDEV)
	}
	// "/" stops ".." at the root, as the kernel does.
	return path.Join("/", dir, target)[1:], nil
}

// isPhysical reports whether a directory is known to have no links on its way: all
// below devices/ by the contract of Tree, and the directories whose entries are
// the links.
func isPhysical(dir string) bool {
	return strings.HasPrefix(dir, PrefixPhysical) || dir == PCIDevices || dir == NetClass ||
		dir == AuxiliaryDevices || dir == VDPADevices || dir == InfiniBandClass || dir == UIOClass
}

// physical replaces each symbolic link in dir by what it points to. What cannot
// be read stays as it is: the caller's own access fails then.
func (f *FS) physical(dir string) string {
	for i := 0; i < len(dir); {
		j := strings.IndexByte(dir[i:], '/')
		end := len(dir)
		if j >= 0 {
			end = i + j
		}
		head, rest := dir[:end], dir[end:]
		// Links live below bus/B/devices and class/C; the directories above
		// them are real, and asking would cost a system call each.
		if strings.Count(head, "/") >= 2 {
			if target, err := f.readlink(head); err == nil && !path.IsAbs(target) {
				head = path.Join("/", path.Dir(head), target)[1:]
			}
		}
		dir = head + rest
		i = len(head) + 1
	}
	return dir
}

func (f *FS) readlink(name string) (string, error) {
	if f.alt != nil {
		s, err := f.alt.Readlink(name)
		return s, bare(err)
	}
	var buf [pageSize]byte
	// readlinkat follows links before the last element without the
	// protection of RESOLVE_BENEATH; names under devices/ have none, and for
	// the others each element was resolved and joined below the root.
	n, err := retry(func() (int, error) { return unix.Readlinkat(f.fd, name, buf[:]) })
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

// retry repeats a call that a signal interrupted before it did anything.
func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

// closeFD closes a descriptor that was only read, or whose write was already
// answered for: nothing can be lost by close.
func closeFD(fd int) { _ = unix.Close(fd) }
