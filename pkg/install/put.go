package install

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// tmpPrefix starts the names of programs that are being written.
const tmpPrefix = ".sriov-install-"

// put copies the image's plugin to its path: under another name first, on disk
// before it gets its own. A program that runs just then keeps its file. Without
// over, one that has appeared at the path meanwhile is EEXIST.
func (i *Installer) put(ctx context.Context, record []installed, own installed, over bool) (err error) {
	to := i.here(own.Path)
	dir := filepath.Dir(to)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := sweep(dir); err != nil {
		return err
	}
	from, err := os.Open(i.o.Source)
	if err != nil {
		return err
	}
	defer from.Close()
	tmp, err := os.CreateTemp(dir, tmpPrefix+"*")
	if err != nil {
		return err
	}
	i.o.Point("temporary file made")
	defer func() {
		if err != nil {
			_ = os.Remove(tmp.Name())
		}
	}()
	h := sha256.New()
	_, err = io.Copy(io.MultiWriter(tmp, h), from)
	i.o.Point("temporary file written")
	if err == nil {
		err = tmp.Chmod(0o755)
	}
	if err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	if sum := hex.EncodeToString(h.Sum(nil)); sum != own.Sum {
		return fmt.Errorf("%s changed while it was copied", i.o.Source)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := i.remember(record, own); err != nil {
		return err
	}
	i.o.Point("record written")
	if err := rename(tmp.Name(), to, over); err != nil {
		return err
	}
	i.o.Point("renamed")
	return syncDir(dir)
}

// rename gives a file its name, over another file or not. A file system that
// cannot tell the two apart (EINVAL) is asked for the first.
func rename(from, to string, over bool) error {
	if !over {
		err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
		if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOSYS) {
			return err
		}
	}
	return os.Rename(from, to)
}

// sweep removes what a crashed run left half written.
func sweep(dir string) error {
	left, err := filepath.Glob(filepath.Join(dir, tmpPrefix+"*"))
	if err != nil {
		return err
	}
	for _, name := range left {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (i *Installer) remove(path string) error {
	err := os.Remove(i.here(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	i.o.Point("removed")
	return syncDir(filepath.Dir(i.here(path)))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	// Overlay and network filesystems may not know how.
	if err := d.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOTSUP) {
		return err
	}
	return nil
}
