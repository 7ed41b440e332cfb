package cni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/containernetworking/cni/pkg/types"
)

// DefaultDir is where sriov-cni keeps its state, and so does this plugin.
const DefaultDir = "/var/lib/cni/sriov"

// Attachment is the cache file: the configuration that a pod's interface was
// made with and the VF as it was before, in sriov-cni's flat format, and under
// one key of its own what that format has no place for. sriov-cni ignores it.
type Attachment struct {
	NetConf
	Extra Extra `json:"talosSriov,omitzero"`

	file    string // base name of the cache file
	written time.Time
}

// Extra is this plugin's addition. It is zero in a file that sriov-cni wrote.
type Extra struct {
	BootID      string   `json:"bootID,omitempty"`
	ContainerID string   `json:"containerID,omitempty"`
	IfName      string   `json:"ifName,omitempty"`
	Netns       string   `json:"netns,omitempty"`
	AltNames    []string `json:"altNames,omitempty"` // of the interface on the host
	RDMADev     string   `json:"rdmaDev,omitempty"`  // that moves with the VF
	// Unreported names spoofchk and trust when the driver does not report them,
	// so that OrigVfState's values are no knowledge.
	Unreported []string `json:"unreported,omitempty"`
	// TrustRaised: trust was or will be switched on for a moment.
	TrustRaised bool `json:"trustRaised,omitempty"`
}

// Store keeps attachments, allocations (which network namespace has a VF) and
// locks, in the places of sriov-cni.
type Store struct {
	dir   string
	sleep func(context.Context, time.Duration) error
}

// lockTimeout is sriov-cni's.
const lockTimeout = 60 * time.Second

func (s *Store) cache(name string) string      { return filepath.Join(s.dir, name) }
func (s *Store) allocation(addr string) string { return filepath.Join(s.dir, "pci", addr) }

func (s *Store) lock(addr string) string {
	return filepath.Join(s.dir, "pci", "vf_lock", addr+".lock")
}

func cacheName(containerID, ifName string) string { return containerID + "-" + ifName }

// Load returns the attachment, nil when there is none.
func (s *Store) Load(name string) (*Attachment, error) {
	b, written, err := readFile(s.cache(name), maxState)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	a := &Attachment{file: name, written: written}
	if err := json.Unmarshal(b, a); err != nil {
		return nil, &damagedError{path: s.cache(name), written: written, err: err}
	}
	if a.Extra.IfName == "" {
		if i := strings.LastIndexByte(name, '-'); i >= 0 {
			a.Extra.ContainerID, a.Extra.IfName = name[:i], name[i+1:]
		}
	}
	return a, nil
}

// damagedError is a cache file that is no JSON: cut off with the machine's power.
type damagedError struct {
	path    string
	written time.Time
	err     error
}

func (e *damagedError) Error() string {
	return fmt.Sprintf("cache file %s is damaged: %v", e.path, e.err)
}

func (e *damagedError) Unwrap() error { return e.err }

// All returns every attachment that can be read; others are in the error. A
// damaged file of an earlier run of the machine is removed: its pod has ended
// with that, its VF was made anew, and no DEL may ever come for it.
func (s *Store) All(boot BootInfo) ([]*Attachment, error) {
	entries, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var all []*Attachment
	errs := []error{err}
	for _, e := range entries {
		if !e.Type().IsRegular() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		a, err := s.Load(e.Name())
		if d, ok := errors.AsType[*damagedError](err); ok && boot.before(d.written) {
			err = gone(os.Remove(d.path))
		}
		errs = append(errs, err)
		if a != nil && a.DeviceID != "" {
			all = append(all, a)
		}
	}
	return all, errors.Join(errs...)
}

// Save writes the attachment, whole or not at all.
func (s *Store) Save(a *Attachment) error {
	b, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("encode cache: %w", err)
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	return replace(s.cache(a.file), b)
}

// Forget removes the attachment.
func (s *Store) Forget(name string) error { return remove(s.cache(name)) }

// Owner returns the path of the network namespace that has the VF, "" for none.
func (s *Store) Owner(addr string) (string, error) {
	b, _, err := readFile(s.allocation(addr), maxState)
	return strings.TrimSpace(string(b)), gone(err)
}

// Allocate notes that the network namespace has the VF.
func (s *Store) Allocate(addr, netns string) error {
	if err := os.MkdirAll(filepath.Dir(s.allocation(addr)), 0o700); err != nil {
		return err
	}
	return replace(s.allocation(addr), []byte(netns))
}

// Free notes that nobody has the VF.
func (s *Store) Free(addr string) error { return remove(s.allocation(addr)) }

// maxState is more than a state file ever has, in bytes; the largest holds a
// network configuration.
const maxState = 1 << 20

// openFlags keep an open from following a link, and from waiting for the other end
// of a FIFO.
const openFlags = syscall.O_NOFOLLOW | syscall.O_NONBLOCK | syscall.O_CLOEXEC

// readFile reads a regular file of at most limit bytes.
func readFile(path string, limit int64) (b []byte, written time.Time, err error) {
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

// replace writes a file by way of a temporary one beside it. It is not synced to
// the disk: what the machine loses with its power are files of a run that ended
// with it, see [Attachment.stale], and a sync is the dearest call of an ADD.
func replace(path string, b []byte) error {
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
	const pause = 20 * time.Millisecond
	for range int(lockTimeout / pause) {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			break
		}
		if err = s.sleep(ctx, pause); err != nil {
			break
		}
	}
	f.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		owner, _ := s.Owner(addr)
		return nil, faultf(types.ErrTryAgainLater, "another ADD or DEL for this VF is at work, or its IPAM plugin hangs",
			"VF %s is locked since more than %s (allocated to %q)", addr, lockTimeout, owner)
	}
	return nil, wrapf(err, types.ErrIOFailure, "", "lock VF %s", addr)
}
