package state

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/renameio/v2"

	"github.com/talos-sriov/talos-sriov/pkg/plan"
)

// version of the record's format. A record of another version is not read.
const version = 1

// maxFile bounds what is read of any file; a real record has some hundred bytes a
// PF, notes some hundred a VF, and a document is at most 1 MiB.
const maxFile = 4 << 20

// record is the file as it is on disk.
type record struct {
	Version int        `json:"version"`
	Sum     string     `json:"sum"` // SHA-256 of the compact JSON of State
	State   plan.State `json:"state"`
}

// readFile reads a file of the directory; nil when there is none.
func readFile(dir, name string) ([]byte, error) {
	path := filepath.Join(dir, name)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("%s has more than %d bytes, which no file of ours can have", path, maxFile)
	}
	if data == nil {
		data = []byte{}
	}
	return data, nil
}

// Read reads the record in dir without touching anything; the zero State when
// there is none. A damaged record is reported, and is as good as none; the state is
// then one that is [plan.State.Lost].
func Read(dir string) (plan.State, error) {
	data, err := readFile(dir, recordFile)
	if err != nil {
		return plan.State{Lost: true}, fmt.Errorf("read record: %w: taken as none", err)
	}
	if data == nil {
		return plan.State{}, nil
	}
	st, err := decode(data)
	if err != nil {
		return plan.State{Lost: true}, fmt.Errorf("record %s: %w: taken as none", filepath.Join(dir, recordFile), err)
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

func encode(st plan.State) ([]byte, error) {
	sum, err := sumOf(st)
	if err != nil {
		return nil, err
	}
	return indent(record{Version: version, Sum: sum, State: st})
}

func sumOf(st plan.State) (string, error) {
	data, err := json.Marshal(st)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), nil
}

func readLastGood(dir string) (LastGood, error) {
	data, err := readFile(dir, lastGoodFile)
	if err != nil {
		return LastGood{}, fmt.Errorf("read the last good document: %w", err)
	}
	return LastGood{Known: data != nil, Document: data}, nil
}

// save writes what the directory does not have yet. It is done when what was in
// memory at the call is on the disk, whoever wrote it; before the directory was read
// there is nothing to do.
func (s *Store) save() error {
	s.io.Lock()
	defer s.io.Unlock()
	return s.flush()
}

// flush is save for callers that hold io. A directory that was removed under the
// daemon is made again, and gets all that the memory has.
func (s *Store) flush() error {
	err := s.writeFiles()
	if !errors.Is(err, fs.ErrNotExist) || os.MkdirAll(s.dir, 0o755) != nil {
		return err
	}
	at, idErr := identify(s.dir)
	if idErr != nil {
		return err
	}
	s.mu.Lock()
	s.at, s.written, s.made = at, revisions{}, true
	s.mu.Unlock()
	return s.writeFiles()
}

// writeFiles writes the files that are behind.
func (s *Store) writeFiles() error {
	s.mu.Lock()
	if !s.read {
		s.mu.Unlock()
		return nil
	}
	want, have := s.revisions, s.written
	st, alloc, good := clone(s.st), s.alloc.clone(), slices.Clone(s.good.Document)
	s.mu.Unlock()
	if have == want {
		return nil
	}
	// Each is tried: a full disk may have room for a small one.
	err := cmp.Or(
		s.file(lastGoodFile, &have.good, want.good, func() ([]byte, error) { return good, nil }),
		s.file(notesFile, &have.notes, want.notes, func() ([]byte, error) { return indent(alloc) }),
		s.file(recordFile, &have.record, want.record, func() ([]byte, error) { return encode(st) }),
	)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.written, s.writable = have, err == nil
	return err
}

// file writes one file unless the directory has it, and notes that it has.
func (s *Store) file(name string, have *int, want int, content func() ([]byte, error)) error {
	if *have == want {
		return nil
	}
	data, err := content()
	if err != nil {
		return fmt.Errorf("encode %s: %w", name, err)
	}
	path := filepath.Join(s.dir, name)
	if err := renameio.WriteFile(path, data, 0o600, renameio.WithTempDir(s.dir)); err != nil {
		return fmt.Errorf("write %s: %w", path, cause(err))
	}
	*have = want
	return nil
}

// cause leaves out the name of a temporary file, which is another one each time.
func cause(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	var link *os.LinkError
	if errors.As(err, &link) {
		return link.Err
	}
	return err
}

func indent(v any) ([]byte, error) {
	data, err := json.MarshalIndent(v, "", "  ")
	return append(data, '\n'), err
}

// probe says whether a file can be made. Only a write says that of a read-only
// filesystem, or of one without inodes.
func (s *Store) probe() error {
	f, err := os.CreateTemp(s.dir, ".probe-")
	if err == nil {
		err = errors.Join(f.Close(), os.Remove(f.Name()))
	}
	s.mu.Lock()
	s.writable = err == nil
	s.mu.Unlock()
	if err != nil {
		return fmt.Errorf("make a file in %s: %w", s.dir, cause(err))
	}
	return nil
}
