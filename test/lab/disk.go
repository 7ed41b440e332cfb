package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// makeDisk makes a sparse file with an ext4 file system, filled from a directory
// if one is given.
func makeDisk(ctx context.Context, path string, sizeMB int64, from string) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("make disk: %w", err)
	}
	if err := f.Truncate(sizeMB << 20); err != nil {
		f.Close()
		return fmt.Errorf("make disk: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("make disk: %w", err)
	}
	mke2fs, err := exec.LookPath("mke2fs")
	if err != nil {
		mke2fs = "/sbin/mke2fs"
	}
	args := []string{"-q", "-F", "-t", "ext4", "-m", "0", "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard,root_owner=0:0"}
	if sizeMB > 256 {
		args = append(args, "-J", "size=16")
	}
	if from != "" {
		args = append(args, "-d", from)
	}
	if out, err := exec.CommandContext(ctx, mke2fs, append(args, path)...).CombinedOutput(); err != nil {
		return fmt.Errorf("mke2fs %s: %w: %s", path, err, out)
	}
	return nil
}

// copySparse copies a file without its holes; where the file system can, the
// copy shares the blocks.
func copySparse(from, to string) error {
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

// copyDir copies a directory of plain files.
func copyDir(from, to string) error {
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
		return copySparse(p, filepath.Join(to, rel))
	})
}
