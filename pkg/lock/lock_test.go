package lock_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/lock"
)

func TestOneAtATime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run", "sriov", "lock")
	first, err := lock.Acquire(t.Context(), path, 0)
	if err != nil {
		t.Fatal(err)
	}
	var held *lock.HeldError
	if _, err := lock.Acquire(t.Context(), path, time.Millisecond); !errors.As(err, &held) || held.Holder != os.Getpid() || held.Path != path {
		t.Fatalf("the second got %v, want the holder of %s", err, path)
	}
	// Another file is another lock.
	other, err := lock.Acquire(t.Context(), path+"2", 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(other.Release(), first.Release()); err != nil {
		t.Fatal(err)
	}
	again, err := lock.Acquire(t.Context(), path, 0)
	if err != nil {
		t.Fatalf("after the release: %v", err)
	}
	if err := again.Release(); err != nil {
		t.Fatal(err)
	}
}

// TestWaits: a service that is started again meets the end of the one before.
func TestWaits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := lock.Acquire(t.Context(), path, 0)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan error, 1)
	go func() {
		second, err := lock.Acquire(t.Context(), path, time.Minute)
		if err == nil {
			err = second.Release()
		}
		got <- err
	}()
	if err := first.Release(); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Fatal(err)
	}
}

func TestGivesUpWithItsContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := lock.Acquire(t.Context(), path, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = first.Release() }()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := lock.Acquire(ctx, path, time.Minute); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestRemovedFile: a lock on a file that is not at its path any more is none.
func TestRemovedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := lock.Acquire(t.Context(), path, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = first.Release() }()
	if err := errors.Join(os.Remove(path), os.WriteFile(path, []byte("what is this"), 0o600)); err != nil {
		t.Fatal(err)
	}
	second, err := lock.Acquire(t.Context(), path, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = second.Release() }()
	if _, err := lock.Acquire(t.Context(), path, 0); err == nil || !strings.Contains(err.Error(), "is held by") {
		t.Errorf("got %v", err)
	}
}

func TestNoDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := lock.Acquire(t.Context(), filepath.Join(file, "sriov", "lock"), 0); err == nil {
		t.Error("a lock without a file")
	}
}
