package sysfs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/talos-sriov/talos-sriov/pkg/pci"
)

// Tree is a readable sysfs. Names are slash-separated, relative to the root of
// sysfs, without a leading slash ("bus/pci/devices/0000:21:00.0/vendor"), and
// contain no "..". Errors match fs.ErrNotExist and the kernel's errno with
// errors.Is. Implementations are safe for concurrent use.
type Tree interface {
	// ReadFile returns what one read of the attribute gives, unchanged, with
	// the newline that most attributes end in. Symbolic links on the way are
	// followed as long as they stay below the root.
	ReadFile(name string) ([]byte, error)

	// ReadDir returns the names of the entries of a directory, sorted,
	// without "." and "..".
	ReadDir(name string) ([]string, error)

	// ReadLink returns where the symbolic link name points to, as a name
	// below the root: ReadLink("bus/pci/devices/0000:21:00.0") is
	// "devices/pci0000:20/0000:20:00.0/0000:21:00.0". One link is read; the
	// result is not followed further (a device link in sysfs always points
	// to the device's own directory, never to another link).
	//
	// Names that start with "devices/" are taken as physical, that is, free
	// of symbolic links before their last element; results of ReadLink are.
	// In any other name, links before the last element are resolved first.
	// A name that is there but is no link is EINVAL, as in readlink(2).
	ReadLink(name string) (string, error)
}

// PathError reports which access to which file failed, and how.
type PathError struct {
	Op    string // "open", "read", "write", "readlink", "readdir"
	Path  string // full path, root included
	Value string // what was written; "" for other operations
	Err   error  // a syscall.Errno wherever the kernel gave one
}

func (e *PathError) Error() string {
	if e.Op == "write" {
		return fmt.Sprintf("write %q to %s: %v", e.Value, e.Path, e.Err)
	}
	return e.Op + " " + e.Path + ": " + e.Err.Error()
}

// Unwrap gives the errno, so that errors.Is(err, unix.EBUSY) and
// errors.Is(err, fs.ErrNotExist) hold.
func (e *PathError) Unwrap() error { return e.Err }

// IsAbsent reports whether err says that the attribute or device is not there:
// it never was, or it went away while it was read (ENODEV, ENXIO).
func IsAbsent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) ||
		errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENOTDIR)
}

// ReadString returns the attribute without the white space around it.
func ReadString(t Tree, name string) (string, error) {
	b, err := t.ReadFile(name)
	if err != nil {
		return "", err
	}
	return string(bytes.TrimSpace(b)), nil
}

// ReadInt returns a decimal attribute. A value that is no number is an error
// that quotes it.
func ReadInt(t Tree, name string) (int, error) {
	text, err := ReadString(t, name)
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("%s: %q is not a decimal number", name, text)
	}
	return n, nil
}

// Base returns the last element of a name: the driver's name of a driver link,
// the address of a device link.
func Base(name string) string {
	return name[strings.LastIndexByte(name, '/')+1:]
}

// PCIAddress returns the address of the innermost PCI function in a device
// path ("devices/pci0000:20/0000:21:00.0/net/eth0" gives 0000:21:00.0), and
// "" when there is none.
func PCIAddress(name string) string {
	for name != "" {
		if el := Base(name); IsPCIAddress(el) {
			return el
		}
		name = name[:max(strings.LastIndexByte(name, '/'), 0)]
	}
	return ""
}

// IsPCIAddress reports whether s is a PCI address as sysfs spells it,
// DDDD:BB:DD.F in lower case. VMD domains have more than four digits.
func IsPCIAddress(s string) bool { return pci.Valid(s) }
