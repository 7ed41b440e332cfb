package lock

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Lock is held until Release, or until the process ends.
type Lock struct{ file *os.File }

// HeldError is the error for a lock that somebody else has.
type HeldError struct {
	Path string
	// Holder is the process id of the holder as the holder sees itself, which may
	// be in another PID namespace; 0 when it is unknown.
	Holder int
}

func (e *HeldError) Error() string {
	who := "an unknown process"
	if e.Holder != 0 {
		who = fmt.Sprintf("process %d (its own PID namespace)", e.Holder)
	}
	return fmt.Sprintf("lock %s is held by %s", e.Path, who)
}

// tryEvery is short against what a service takes to start.
const tryEvery = 50 * time.Millisecond

// Acquire takes the lock, and waits that long when somebody else has it. After that
// the error is a *HeldError. The directory of the file is made.
func Acquire(ctx context.Context, path string, wait time.Duration) (*Lock, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("create the directory of the lock: %w", err)
	}
	deadline := time.NewTimer(wait)
	defer deadline.Stop()
	tick := time.NewTicker(tryEvery)
	defer tick.Stop()
	for {
		lock, err := try(path)
		if lock != nil || err != nil {
			return lock, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("lock %s: %w", path, ctx.Err())
		case <-deadline.C:
			return nil, &HeldError{Path: path, Holder: holder(path)}
		case <-tick.C:
		}
	}
}

// Release gives the lock back.
func (l *Lock) Release() error { return l.file.Close() }

// try returns nil and no error when somebody else has the lock.
func try(path string) (*Lock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the lock: %w", err)
	}
	for err = unix.EINTR; errors.Is(err, unix.EINTR); {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	if err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, nil
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	if !current(path, f) {
		// Somebody removed the file in between: a lock on it keeps nobody off.
		_ = f.Close()
		return nil, nil
	}
	// For the message to the one who has to wait; the lock is what counts.
	_ = f.Truncate(0)
	_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return &Lock{file: f}, nil
}

func current(path string, f *os.File) bool {
	mine, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Lstat(path)
	return err == nil && os.SameFile(mine, there)
}

func holder(path string) int {
	f, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 32))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(string(bytes.TrimSpace(text)))
	if err != nil {
		return 0
	}
	return pid
}
