package state

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// Allocations are our own notes of what the kubelet took, of one boot.
type Allocations struct {
	BootID string `json:"bootID"`
	// KubeletSeen is set once any kubelet has spoken to us during the boot, and
	// when it cannot be known whether one has.
	KubeletSeen bool       `json:"kubeletSeen"`
	Notes       []use.Note `json:"notes,omitempty"`
	// Given are the devices that pods have as far as is known, sorted. Unlike
	// the rest they are carried over a boot: the kubelet lets its pods have their
	// devices again after it, without an Allocate. They are no evidence of use.
	Given []string `json:"given,omitempty"`
}

func (a Allocations) clone() Allocations {
	a.Notes = append([]use.Note(nil), a.Notes...)
	a.Given = slices.Clone(a.Given)
	return a
}

// Noted returns the notes with one for each device that the kubelet takes now.
func (a Allocations) Noted(devices []string, now time.Time) Allocations {
	out := a.clone()
	out.KubeletSeen = true
	out.Notes = slices.DeleteFunc(out.Notes, func(n use.Note) bool { return slices.Contains(devices, n.Device) })
	for _, id := range devices {
		out.Notes = append(out.Notes, use.Note{Device: id, At: now})
	}
	return out
}

// Released returns the notes without those of the devices, which nobody got.
func (a Allocations) Released(devices []string) Allocations {
	out := a.clone()
	out.Notes = slices.DeleteFunc(out.Notes, func(n use.Note) bool { return slices.Contains(devices, n.Device) })
	return out
}

// Confirmed returns the notes after what the kubelet answered. before are the notes
// of when it was asked: of the others the answer says nothing. offered are the
// devices that pools have: the kubelet also lists those of other plugins.
//
// Given are then those that the kubelet took, lists or has in its checkpoint, and, as
// long as a kubelet that has just come up may not have its assignments back, those of
// before.
func (a Allocations) Confirmed(k use.Kubelet, before []use.Note, offered map[string]bool, now time.Time) Allocations {
	out := a.clone()
	out.KubeletSeen = out.KubeletSeen || k.Answered || k.Listening
	out.Notes = use.Settle(out.Notes, before, k, now)
	given := map[string]bool{}
	if !k.Answered || now.Sub(k.Since) < use.Grace {
		for _, id := range a.Given {
			given[id] = true
		}
	}
	for _, n := range out.Notes {
		given[n.Device] = true
	}
	for id := range k.Held {
		if offered[id] {
			given[id] = true
		}
	}
	for id := range k.Entries(out.KubeletSeen, now) {
		if offered[id] {
			given[id] = true
		}
	}
	out.Given = slices.Sorted(maps.Keys(given))
	return out
}

// merge adds the notes of an earlier process. Notes that cannot be read leave it
// unknown who holds what: then a kubelet counts as seen, so that nothing is taken
// for free without its answer.
func (a Allocations) merge(old Allocations, unreadable bool) Allocations {
	out := a.clone()
	if unreadable {
		out.KubeletSeen = true
		return out
	}
	given := append(slices.Clone(old.Given), out.Given...)
	for _, n := range old.Notes {
		given = append(given, n.Device)
	}
	slices.Sort(given)
	out.Given = slices.Compact(given)
	if old.BootID != a.BootID {
		return out
	}
	out.KubeletSeen = out.KubeletSeen || old.KubeletSeen
	noted := make(map[string]bool, len(out.Notes))
	for _, n := range out.Notes {
		noted[n.Device] = true
	}
	for _, n := range old.Notes {
		if !noted[n.Device] {
			out.Notes = append(out.Notes, n)
		}
	}
	return out
}

// Allocations returns the notes of this boot.
func (s *Store) Allocations() Allocations {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.alloc.clone()
}

// Note records that the kubelet takes the devices. The notes are in force when it
// returns, also with an error, which means that they are not on the disk.
func (s *Store) Note(devices []string, now time.Time) error {
	return s.updateNotes(func(a Allocations) Allocations { return a.Noted(devices, now) })
}

// Release removes the notes of the devices, which nobody got.
func (s *Store) Release(devices []string) error {
	return s.updateNotes(func(a Allocations) Allocations { return a.Released(devices) })
}

// Confirm records what the kubelet answered; see Allocations.Confirmed.
func (s *Store) Confirm(k use.Kubelet, before []use.Note, offered map[string]bool, now time.Time) error {
	return s.updateNotes(func(a Allocations) Allocations { return a.Confirmed(k, before, offered, now) })
}

func (s *Store) updateNotes(change func(Allocations) Allocations) error {
	s.mu.Lock()
	next := change(s.alloc)
	next.BootID = s.bootID
	if !sameContent(next, s.alloc) {
		s.alloc = next
		s.revisions.notes++
	}
	want := s.revisions.notes
	s.mu.Unlock()
	return s.save(func(r revisions) bool { return r.notes >= want })
}

// readNotes reads the notes in dir; the zero Allocations when there are none.
func readNotes(dir string) (Allocations, error) {
	data, err := readFile(dir, notesFile)
	var a Allocations
	if err == nil && data != nil {
		err = json.Unmarshal(data, &a)
	}
	if err != nil {
		return Allocations{}, fmt.Errorf("read allocation notes %s: %w: until the kubelet answers, every device counts as in use", filepath.Join(dir, notesFile), err)
	}
	return a, nil
}
