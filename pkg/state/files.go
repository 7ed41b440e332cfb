package state

import (
	"bytes"
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

	"github.com/talos-sriov/talos-sriov/pkg/record"
)

// version of the record's format. A record of another version is not read.
const version = 1

// maxFile bounds what is read of any file; a real record has some hundred bytes a
// PF, notes some hundred a VF, and a config is at most 1 MiB.
const maxFile = 4 << 20

// recordContent is the content of the record's file.
type recordContent struct {
	Version int             `json:"version"`
	Sum     string          `json:"sum"`   // SHA-256 of the compact form of State
	State   json.RawMessage `json:"state"` // a record.Record
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

// Read reads the record in dir without touching anything; the zero record when
// there is none. A damaged record is reported, and is as good as none; it is then one
// that is [record.Record.Lost].
func Read(dir string) (record.Record, error) {
	data, err := readFile(dir, RecordFile)
	if err != nil {
		return record.Record{Lost: true}, fmt.Errorf("read record: %w: taken as none", err)
	}
	if data == nil {
		return record.Record{}, nil
	}
	rec, err := decode(data)
	if err != nil {
		return record.Record{Lost: true}, fmt.Errorf("record %s: %w: taken as none", filepath.Join(dir, RecordFile), err)
	}
	return rec, nil
}

// decode reads the content of the record's file. The checksum is of what the file
// has, not of what this program makes of it.
func decode(data []byte) (record.Record, error) {
	var c recordContent
	if err := json.Unmarshal(data, &c); err != nil {
		return record.Record{}, err
	}
	if c.Version != version {
		return record.Record{}, fmt.Errorf("has format version %d, this program knows %d", c.Version, version)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, c.State); err != nil || sumOf(compact.Bytes()) != c.Sum {
		return record.Record{}, errors.New("checksum does not match its content")
	}
	var rec record.Record
	err := json.Unmarshal(c.State, &rec)
	return rec, err
}

func encode(rec record.Record) ([]byte, error) {
	data, err := json.Marshal(rec)
	if err != nil {
		return nil, err
	}
	return indent(recordContent{Version: version, Sum: sumOf(data), State: data})
}

func sumOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// sameContent reports whether two values are the same in a file. Values that differ
// only in the process (a clock reading, an empty list for none) are.
func sameContent(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

func readLastGood(dir string) (LastGood, error) {
	data, err := readFile(dir, lastGoodFile)
	if err != nil {
		return LastGood{}, fmt.Errorf("read the last good config: %w", err)
	}
	return LastGood{Known: data != nil, Data: data}, nil
}

// save writes what the directory does not have yet. It is done when done says so of
// what was written, whoever wrote it, also when a file that the caller did not ask
// for is still behind; before the directory was read there is nothing to do.
func (s *Store) save(done func(written revisions) bool) error {
	if s.wrote(done) {
		return nil
	}
	s.io.Lock()
	defer s.io.Unlock()
	if err := s.flush(); err != nil && !s.wrote(done) {
		return err
	}
	return nil
}

func (s *Store) wrote(done func(written revisions) bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return done(s.written)
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
	if !s.adopted {
		want.notes = have.notes // what the directory has is not among them yet
	}
	rec, books, good := s.rec.Clone(), s.books, slices.Clone(s.good.Data)
	s.mu.Unlock()
	if have == want {
		return nil
	}
	// Each is tried: a full disk may have room for a small one.
	err := cmp.Or(
		s.file(lastGoodFile, &have.good, want.good, func() ([]byte, error) { return good, nil }),
		s.file(notesFile, &have.notes, want.notes, func() ([]byte, error) { return indent(books) }),
		s.file(RecordFile, &have.record, want.record, func() ([]byte, error) { return encode(rec) }),
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
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err
	}
	if link, ok := errors.AsType[*os.LinkError](err); ok {
		return link.Err
	}
	return err
}

func indent(v any) ([]byte, error) {
	data, err := json.MarshalIndent(v, "", "  ")
	return append(data, '\n'), err
}

// probe finds out whether a file can be made. Only a write shows that of a read-only
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
