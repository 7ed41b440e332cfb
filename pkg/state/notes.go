package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"

	"github.com/google/renameio/v2"

	"github.com/talos-sriov/talos-sriov/pkg/use"
)

const notesFile = "allocations.json"

// Allocations are our own notes of what the kubelet took, of one boot.
type Allocations struct {
	BootID string `json:"bootID"`
	// KubeletSeen is set once any kubelet has spoken to us during the boot.
	KubeletSeen bool       `json:"kubeletSeen"`
	Notes       []use.Note `json:"notes,omitempty"`
	// Given are the devices that pods have as far as is known, sorted. Unlike
	// the rest they are carried over a boot: the kubelet lets its pods have their
	// devices again after it, without an Allocate. They are no evidence of use.
	Given []string `json:"given,omitempty"`
}

// Allocations returns the notes of this boot.
func (s *Store) Allocations() Allocations {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.alloc
	out.Notes = append([]use.Note(nil), s.alloc.Notes...)
	out.Given = slices.Clone(s.alloc.Given)
	return out
}

// UpdateAllocations replaces the notes by what change makes of them.
func (s *Store) UpdateAllocations(change func(Allocations) Allocations) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	in := s.alloc
	in.Notes = append([]use.Note(nil), s.alloc.Notes...)
	in.Given = slices.Clone(s.alloc.Given)
	next := change(in)
	next.BootID = s.bootID
	if len(next.Notes) == 0 {
		next.Notes = nil
	}
	if len(next.Given) == 0 {
		next.Given = nil
	}
	if reflect.DeepEqual(next, s.alloc) {
		return nil
	}
	s.alloc, s.allocNew = next, true
	return s.flush()
}

// readAllocations merges the notes of an earlier process of this boot with ours.
// Notes that cannot be read leave it unknown who holds what: then a kubelet
// counts as seen, so that nothing is taken for free without its word.
func (s *Store) readAllocations() error {
	path := filepath.Join(s.dir, notesFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var old Allocations
	if err == nil {
		err = json.Unmarshal(data, &old)
	}
	if err != nil {
		s.alloc.KubeletSeen, s.allocNew = true, true
		return fmt.Errorf("read allocation notes %s: %w: until the kubelet answers, every device counts as in use", path, err)
	}
	for _, n := range old.Notes {
		old.Given = append(old.Given, n.Device)
	}
	s.alloc.Given = slices.Compact(slices.Sorted(slices.Values(append(old.Given, s.alloc.Given...))))
	if old.BootID != s.bootID {
		return nil
	}
	s.alloc.KubeletSeen = s.alloc.KubeletSeen || old.KubeletSeen
	s.alloc.Notes = append(old.Notes, s.alloc.Notes...)
	s.allocNew = true
	return nil
}

func (s *Store) flushAllocations() error {
	data, err := json.MarshalIndent(s.alloc, "", "  ")
	if err != nil {
		return fmt.Errorf("encode allocation notes: %w", err)
	}
	if err := renameio.WriteFile(filepath.Join(s.dir, notesFile), append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("write allocation notes: %w", err)
	}
	return nil
}

// ReadAllocations reads the notes of the boot in dir without touching anything.
// Notes that cannot be read count as a kubelet seen.
func ReadAllocations(dir, bootID string) Allocations {
	s := New(dir, bootID)
	if err := s.readAllocations(); err != nil {
		return Allocations{BootID: bootID, KubeletSeen: true}
	}
	return s.alloc
}
