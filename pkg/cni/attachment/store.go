package attachment

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
)

// DefaultDir is where sriov-cni keeps its state, and so does this plugin.
const DefaultDir = "/var/lib/cni/sriov"

// Store keeps attachments, allocations (which network namespace has a VF) and
// locks, in the places of sriov-cni.
type Store struct {
	Dir string
	// Pause waits between two tries for a lock.
	Pause func(context.Context, time.Duration) error
}

func (s *Store) cache(name string) string      { return filepath.Join(s.Dir, name) }
func (s *Store) allocation(addr string) string { return filepath.Join(s.Dir, "pci", addr) }

func (s *Store) lock(addr string) string {
	return filepath.Join(s.Dir, "pci", "vf_lock", addr+".lock")
}

// Load returns the attachment, nil when there is none.
func (s *Store) Load(name string) (*Attachment, error) {
	b, written, err := ReadRegular(s.cache(name), maxState)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	a := &Attachment{File: name, Written: written}
	if err := json.Unmarshal(b, a); err != nil {
		return nil, &damagedError{written, fmt.Errorf("cache file %s is damaged: %w", s.cache(name), err)}
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
	written time.Time
	error
}

func (e *damagedError) Unwrap() error { return e.error }

// All returns every attachment that can be read; others are in the error. A
// damaged file of an earlier run of the machine is removed: its pod has ended
// with that, its VF was created again, and no DEL may ever come for it.
func (s *Store) All(boot BootInfo) ([]*Attachment, error) {
	entries, err := os.ReadDir(s.Dir)
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
			err = gone(os.Remove(s.cache(e.Name())))
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
	return replace(s.cache(a.File), b)
}

// Forget removes the attachment.
func (s *Store) Forget(name string) error { return remove(s.cache(name)) }

// Allocated lists the VFs that have an allocation.
func (s *Store) Allocated() ([]string, error) {
	entries, err := os.ReadDir(filepath.Dir(s.allocation("x")))
	if err != nil {
		return nil, gone(err)
	}
	var out []string
	for _, e := range entries {
		if e.Type().IsRegular() && sysfs.IsPCIAddress(e.Name()) {
			out = append(out, e.Name())
		}
	}
	return out, nil
}

// Owner returns the path of the network namespace that has the VF, "" for none.
func (s *Store) Owner(addr string) (string, error) {
	b, _, err := ReadRegular(s.allocation(addr), maxState)
	return strings.TrimSpace(string(b)), gone(err)
}

// Allocate notes that the network namespace has the VF.
func (s *Store) Allocate(addr, netns string) error {
	return replace(s.allocation(addr), []byte(netns))
}

// Free notes that nobody has the VF.
func (s *Store) Free(addr string) error { return remove(s.allocation(addr)) }
