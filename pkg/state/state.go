package state

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync"

	"github.com/google/renameio/v2"

	"github.com/talos-sriov/talos-sriov/pkg/plan"
)

// Names in the folder.
const (
	recordFile   = "state.json"
	lastGoodFile = "last-good.yaml"
	forceFolder  = "force"
	statusFile   = "status.yaml"
)

// version of the record's format. A record of another version is not read.
const version = 1

// maxRecord bounds what is read; a real record has some hundred bytes a PF.
const maxRecord = 4 << 20

// record is the file as it is on disk.
type record struct {
	Version int        `json:"version"`
	Sum     string     `json:"sum"` // SHA-256 of the compact JSON of State
	State   plan.State `json:"state"`
}

// Store is the folder. It is safe for concurrent use.
type Store struct {
	dir    string
	bootID string

	mu    sync.Mutex
	st    plan.State
	dirty bool
	ready bool // the folder is there and was read
	good  []byte
	// goodNew is set when good has to be written.
	goodNew bool

	alloc    Allocations
	allocNew bool
}

// New returns a store over dir, which need not exist. It touches nothing before
// Open.
func New(dir, bootID string) *Store {
	return &Store{dir: dir, bootID: bootID, st: plan.State{BootID: bootID, PFs: map[string]plan.PFState{}, Lost: true}, alloc: Allocations{BootID: bootID}}
}

// StatusPath is where the status file belongs.
func (s *Store) StatusPath() string { return filepath.Join(s.dir, statusFile) }

// ErrNotReady says that the folder cannot be used yet (its filesystem is not
// mounted, or still read-only).
var ErrNotReady = errors.New("state folder not usable yet")

// Open makes the folder usable: creates it, reads what is there, merges it with
// what is in memory. It is cheap when that was done before; an error that is
// ErrNotReady means to try again when the mounts changed. Damaged files are
// reported once, as the second value, and are otherwise as good as absent.
func (s *Store) Open() (damaged, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ready {
		return nil, nil
	}
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotReady, err)
	}
	// A folder that exists on a read-only filesystem: only a write tells.
	probe, err := os.CreateTemp(s.dir, ".probe-")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotReady, err)
	}
	err = errors.Join(probe.Close(), os.Remove(probe.Name()))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotReady, err)
	}

	old, damaged := readRecord(filepath.Join(s.dir, recordFile))
	s.merge(old)
	s.st.Lost = damaged != nil
	damaged = errors.Join(damaged, s.readAllocations())
	if s.good == nil {
		good, err := os.ReadFile(filepath.Join(s.dir, lastGoodFile))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			damaged = errors.Join(damaged, fmt.Errorf("read the last good document: %w", err))
		}
		s.good = good
	}
	s.ready = true
	return damaged, s.flush()
}

// merge adds what an earlier process recorded to what this one knows already.
func (s *Store) merge(old plan.State) {
	for pf, was := range old.PFs {
		if old.BootID != s.bootID {
			was = was.Lasting()
		}
		now, known := s.st.PFs[pf]
		if !known {
			s.st.PFs[pf] = was
			continue
		}
		if now.SafeSpec == "" && now.Device == was.Device {
			now.SafeSpec = was.SafeSpec
		}
		if now.Device == was.Device {
			now = now.After(was)
		}
		s.st.PFs[pf] = now
	}
	s.dirty = true
}

// Ready reports whether the folder is in use.
func (s *Store) Ready() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ready
}

// readRecord reads a record; the zero State when there is none that counts.
func readRecord(path string) (plan.State, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return plan.State{}, nil
	}
	if err != nil {
		return plan.State{}, fmt.Errorf("read record: %w", err)
	}
	if info.Size() > maxRecord {
		return plan.State{}, fmt.Errorf("record %s has %d bytes, more than any record can have: taken as none", path, info.Size())
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return plan.State{}, fmt.Errorf("read record: %w", err)
	}
	st, err := decode(data)
	if err != nil {
		return plan.State{}, fmt.Errorf("record %s: %w: taken as none", path, err)
	}
	return st, nil
}

func decode(data []byte) (plan.State, error) {
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return plan.State{}, err
	}
	if r.Version != version {
		return plan.State{}, fmt.Errorf("has format version %d, this program knows %d", r.Version, version)
	}
	if sum, err := sumOf(r.State); err != nil || sum != r.Sum {
		return plan.State{}, errors.New("checksum does not match its content")
	}
	return r.State, nil
}

func sumOf(st plan.State) (string, error) {
	data, err := json.Marshal(st)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), nil
}

// State returns a copy of the record.
func (s *Store) State() plan.State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return clone(s.st)
}

func clone(st plan.State) plan.State {
	out := st.Clone()
	if out.PFs == nil {
		out.PFs = map[string]plan.PFState{}
	}
	return out
}

// Update replaces the record by what change makes of it, and writes it if the
// folder is there; otherwise it is written when the folder arrives. The change
// is in force in this process even when the write fails. change gets a copy.
func (s *Store) Update(change func(plan.State) plan.State) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := change(clone(s.st))
	if reflect.DeepEqual(next, s.st) {
		return nil
	}
	s.st, s.dirty = next, true
	return s.flush()
}

// flush writes what is new. The caller holds the lock.
func (s *Store) flush() error {
	if !s.ready {
		return nil
	}
	if s.goodNew {
		if err := renameio.WriteFile(filepath.Join(s.dir, lastGoodFile), s.good, 0o600); err != nil {
			return fmt.Errorf("write the last good document: %w", err)
		}
		s.goodNew = false
	}
	if s.allocNew {
		if err := s.flushAllocations(); err != nil {
			return err
		}
		s.allocNew = false
	}
	if !s.dirty {
		return nil
	}
	sum, err := sumOf(s.st)
	if err != nil {
		return fmt.Errorf("encode record: %w", err)
	}
	data, err := json.MarshalIndent(record{Version: version, Sum: sum, State: s.st}, "", "  ")
	if err != nil {
		return fmt.Errorf("encode record: %w", err)
	}
	if err := renameio.WriteFile(filepath.Join(s.dir, recordFile), append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	s.dirty = false
	return nil
}

// LastGood returns the last document that was accepted whole, nil when none is
// known (yet).
func (s *Store) LastGood() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.good)
}

// SetLastGood keeps the document as the last good one.
func (s *Store) SetLastGood(doc []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.good != nil && string(s.good) == string(doc) {
		return nil
	}
	s.good, s.goodNew = slices.Clone(doc), true
	return s.flush()
}

// Forced returns the PFs for which the operator of the machine ordered not to
// wait for holders: files named by PCI address in the folder "force".
func (s *Store) Forced() map[string]bool {
	out := map[string]bool{}
	entries, err := os.ReadDir(filepath.Join(s.dir, forceFolder))
	if err != nil {
		return out
	}
	for _, e := range entries {
		if e.Type().IsRegular() {
			out[e.Name()] = true
		}
	}
	return out
}

// Obeyed removes the force order of a PF.
func (s *Store) Obeyed(pf string) error {
	err := os.Remove(filepath.Join(s.dir, forceFolder, filepath.Base(pf)))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove force order: %w", err)
	}
	return nil
}

// PFs returns the addresses that have a record, sorted.
func (s *Store) PFs() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.st.PFs))
}

// Read reads the record in dir without touching anything; the zero State when
// there is none. A damaged record is reported, and is as good as none.
func Read(dir string) (plan.State, error) { return readRecord(filepath.Join(dir, recordFile)) }
