package rundir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// New makes the directory of a run, below runs, and one for its sockets. It removes
// those of runs that have ended.
func New(runs string) (dir, sockets string, err error) {
	if err := os.MkdirAll(runs, 0o755); err != nil {
		return "", "", fmt.Errorf("make directory for the run: %w", err)
	}
	prune(runs)
	dir, err = os.MkdirTemp(runs, time.Now().Format("0102-150405-"))
	if err != nil {
		return "", "", fmt.Errorf("make directory for the run: %w", err)
	}
	// Unix sockets have short names only, whatever the repository's path is.
	sockets, err = os.MkdirTemp("", "lab-")
	if err != nil {
		return "", "", fmt.Errorf("make directory for sockets: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "pid"), fmt.Append(nil, os.Getpid()), 0o644); err != nil {
		return "", "", fmt.Errorf("mark the run: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "sockets"), []byte(sockets), 0o644); err != nil {
		return "", "", fmt.Errorf("mark the run: %w", err)
	}
	return dir, sockets, nil
}

// prune removes the directories of runs whose program has ended; they are kept
// until then, since a failure may point to them.
func prune(runs string) {
	entries, _ := os.ReadDir(runs)
	for _, e := range entries {
		dir := filepath.Join(runs, e.Name())
		pid, err := os.ReadFile(filepath.Join(dir, "pid"))
		if err != nil {
			continue
		}
		if _, err := os.Stat("/proc/" + string(pid)); errors.Is(err, os.ErrNotExist) {
			_ = os.RemoveAll(dir)
		}
	}
}
