package attachment

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// maxState is more than a state file ever has, in bytes; the largest holds a
// network configuration.
const maxState = 1 << 20

// openFlags keep an open from following a link, and from waiting for the other end
// of a FIFO.
const openFlags = syscall.O_NOFOLLOW | syscall.O_NONBLOCK | syscall.O_CLOEXEC

// ReadRegular reads a regular file of at most limit bytes.
func ReadRegular(path string, limit int64) (b []byte, written time.Time, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|openFlags, 0)
	if err != nil {
		return nil, time.Time{}, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, time.Time{}, err
	}
	if !st.Mode().IsRegular() {
		return nil, time.Time{}, fmt.Errorf("%s is not a regular file", path)
	}
	b, err = io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s has more than %d bytes", path, limit)
	}
	return b, st.ModTime(), err
}

// gone takes "there is no such file" out of an error.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// draft is the temporary file of path. Its name is always the same, so that a
// plugin that is killed leaves no more than one, and the next call finds it.
func draft(path string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
}

// replace writes a file by way of a temporary one beside it, and makes the directory of
// both. Two things keep it from being the library that the daemon writes its files with.
// That one syncs: what the machine loses here with its power are files of a run that
// ended with it, see [Attachment.Stale], and a sync is the most expensive call of an ADD.
// And it gives each temporary file another name: the plugin is killed whenever a runtime
// gives up, and nobody would find and remove what it leaves, see [draft].
func replace(path string, b []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(draft(path), os.O_WRONLY|os.O_CREATE|os.O_TRUNC|openFlags, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, gone(os.Remove(f.Name())))
	}
	return nil
}

// remove removes a file and what a killed replace has left of it.
func remove(path string) error {
	return errors.Join(gone(os.Remove(path)), gone(os.Remove(draft(path))))
}
