package sparse

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// CopyFile copies a file without its holes; where the file system can, the
// copy shares the blocks.
func CopyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("copy disk: %w", err)
	}
	defer in.Close()
	fi, err := in.Stat()
	if err != nil {
		return fmt.Errorf("copy disk: %w", err)
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_RDWR|os.O_TRUNC, 0o644)
	if err != nil {
		return fmt.Errorf("copy disk: %w", err)
	}
	defer out.Close()
	if unix.IoctlFileClone(int(out.Fd()), int(in.Fd())) == nil {
		return nil
	}
	if err := out.Truncate(fi.Size()); err != nil {
		return fmt.Errorf("copy disk: %w", err)
	}
	for off := int64(0); off < fi.Size(); {
		data, err := in.Seek(off, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break
		}
		if err != nil {
			return fmt.Errorf("copy disk %s: %w", from, err)
		}
		hole, err := in.Seek(data, unix.SEEK_HOLE)
		if err != nil {
			return fmt.Errorf("copy disk %s: %w", from, err)
		}
		if _, err := in.Seek(data, io.SeekStart); err != nil {
			return fmt.Errorf("copy disk %s: %w", from, err)
		}
		if _, err := io.Copy(io.NewOffsetWriter(out, data), io.LimitReader(in, hole-data)); err != nil {
			return fmt.Errorf("copy disk %s: %w", from, err)
		}
		off = hole
	}
	return out.Close()
}

// CopyDir copies a directory of plain files.
func CopyDir(from, to string) error {
	return filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		return CopyFile(p, filepath.Join(to, rel))
	})
}
