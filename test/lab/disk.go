package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
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
