package attachment

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/talos-sriov/talos-sriov/pkg/cni/fault"
	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
)

// lockTimeout is sriov-cni's.
const lockTimeout = 60 * time.Second

// Lock takes the VF's lock, which other processes of this plugin and of
// sriov-cni respect, and returns how to release it. There is nothing to wait
// on with a bound but to try again.
func (s *Store) Lock(ctx context.Context, addr string) (unlock func(), err error) {
	path := s.lock(addr)
	// sriov-cni makes the directories with this mode; root does not need x.
	if err := os.MkdirAll(filepath.Dir(filepath.Dir(path)), 0o700); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o600); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY|openFlags, 0o600)
	if err != nil {
		return nil, err
	}
	if err := s.flock(ctx, f); err != nil {
		f.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fault.Wrapf(err, types.ErrIOFailure, "", "lock VF %s", addr)
		}
		owner, _ := s.Owner(addr)
		return nil, fault.Newf(types.ErrTryAgainLater, "another ADD or DEL for this VF is at work, or its IPAM plugin hangs",
			"VF %s is locked since more than %s (allocated to %q)", addr, lockTimeout, owner)
	}
	return func() { f.Close() }, nil
}

// flock tries until the lock is taken, at most lockTimeout: EWOULDBLOCK then.
func (s *Store) flock(ctx context.Context, f *os.File) error {
	const pause = 20 * time.Millisecond
	var err error
	for range int(lockTimeout / pause) {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil || !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return err
		}
		if err := s.Pause(ctx, pause); err != nil {
			return err
		}
	}
	return err
}

// daemonLock is how long the daemon waits for an ADD or DEL of the same VF.
const daemonLock = time.Second

// ErrVFLocked says that the plugin works on the VF: at ADD or DEL, which takes as
// long as its IPAM plugin.
var ErrVFLocked = errors.New("the CNI plugin is at work on the VF (ADD or DEL, or an IPAM plugin that hangs)")

// LockVF keeps ADD and DEL away from the VF until unlock is called, or gives
// [ErrVFLocked] after a second. It makes no directory: without the one of the
// locks no ADD ever got to a VF, as before /var is mounted.
func (s *Store) LockVF(ctx context.Context, addr string) (unlock func(), err error) {
	if !sysfs.IsPCIAddress(addr) {
		return nil, fmt.Errorf("%q is no PCI address", addr)
	}
	_, err = os.Lstat(filepath.Dir(s.lock(addr)))
	if errors.Is(err, fs.ErrNotExist) {
		return func() {}, nil
	}
	if err != nil {
		return nil, err
	}
	unlock, err = s.LockSoon(ctx, addr)
	// On a file system that is full or read-only nobody has a lock that is no file, and
	// nobody gets it.
	full := []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS}
	if slices.ContainsFunc(full, func(errno error) bool { return errors.Is(err, errno) }) {
		if _, missing := os.Lstat(s.lock(addr)); errors.Is(missing, fs.ErrNotExist) {
			return func() {}, nil
		}
	}
	return unlock, err
}

// LockSoon is [Store.Lock] for the daemon, which waits a second for ADD and DEL, and
// then gives [ErrVFLocked].
func (s *Store) LockSoon(ctx context.Context, addr string) (unlock func(), err error) {
	wait, cancel := context.WithTimeout(ctx, daemonLock)
	defer cancel()
	unlock, err = s.Lock(wait, addr)
	if err != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		return nil, ErrVFLocked
	}
	return unlock, err
}
