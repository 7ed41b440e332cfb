package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"syscall"

	"github.com/talos-sriov/talos-sriov/pkg/internal/fileid"
	"github.com/talos-sriov/talos-sriov/pkg/ledger"
	"github.com/talos-sriov/talos-sriov/pkg/record"
)

// Store is the directory. It is safe for concurrent use.
type Store struct {
	dir    string
	bootID string

	// io puts writes to the directory in order; it is taken before mu.
	io sync.Mutex

	// mu guards what follows and is never held over I/O or a call of somebody else.
	mu   sync.Mutex
	rec  record.Record
	good LastGood
	// books are the ledger's of the revision. They are not written before they have
	// what the directory had (adopted).
	books         ledger.Books
	booksRevision uint64
	adopted       bool
	// revisions count the changes of each file's content in memory.
	revisions revisions
	written   revisions // what the directory has
	at        fileid.ID // of the directory that was read
	read      bool      // a directory was there and was read
	writable  bool      // the last write went through
	made      bool      // a write made the directory again, and Open did not report it yet
}

// revisions are those of the files: a file is behind when its number is not that of
// the memory. 0 means that there is nothing to write.
type revisions struct{ record, notes, good int }

// LastGood is the last config that was accepted whole.
type LastGood struct {
	// Known is false when none was ever accepted, or that cannot be read (yet).
	Known bool
	// Data is its text, empty when what was accepted last is that there is none.
	Data []byte
}

// New returns a store over dir, which need not exist. It touches nothing before
// Open.
func New(dir, bootID string) *Store {
	return &Store{dir: dir, bootID: bootID, rec: record.Record{BootID: bootID, PFs: map[string]record.PF{}, Lost: true}}
}

// Opened is what Open found.
type Opened struct {
	// Read is true when the directory is there and what it holds is in force.
	Read bool
	// Made is true when this call made the directory again, because it was removed
	// under the running daemon.
	Made bool
	// Damaged are files that cannot be used, reported by the call that read them;
	// they are as good as absent.
	Damaged error
	// Unwritable is why nothing can be written: before Read that is so at an
	// early start, when the filesystem is not mounted yet.
	Unwritable error
	// Books are what the directory had of the ledger's, nil when this call read
	// nothing. Whoever gets them calls Adopt.
	Books *ledger.Books
	// Unknown is true when an earlier process of this boot may have known more than
	// Books: they cannot be read, or could not have been written.
	Unknown bool
}

// Open reads the directory when it is there and was not read yet, makes it when it
// is missing, and writes what could not be written before. It is cheap when there
// is nothing to do; the caller calls it again whenever something may have changed.
func (s *Store) Open() Opened {
	s.io.Lock()
	defer s.io.Unlock()
	var out Opened
	s.mu.Lock()
	was, at := s.read, s.at
	out.Made, s.made = s.made, false
	s.mu.Unlock()

	now, err := identify(s.dir)
	missing := errors.Is(err, fs.ErrNotExist)
	made := false // a new directory may well have the number of the old one
	if missing {
		if err = os.MkdirAll(s.dir, 0o755); err == nil {
			made, out.Made = true, out.Made || was
			now, err = identify(s.dir)
		}
	}
	switch {
	case err != nil && !missing && !errors.Is(err, syscall.ENOTDIR):
		// What it holds is not known; a pod may have any VF.
		out.Damaged = fmt.Errorf("read the state directory: %w: until the kubelet answers, every device counts as in use", err)
		out.Unknown = true
	case err == nil && (!was || made || !now.SameDir(at)):
		s.load(now, &out)
	}
	if err != nil {
		s.mu.Lock()
		out.Read, s.writable = s.read, false
		s.mu.Unlock()
		out.Unwritable = fmt.Errorf("state directory: %w", err)
		return out
	}
	out.Read = true
	if out.Unwritable = s.flush(); out.Unwritable == nil && !s.Writable() {
		out.Unwritable = s.probe()
	}
	if out.Unwritable != nil {
		// Nor could an earlier process of this boot write what it knew.
		out.Unknown = true
	}
	return out
}

// identify returns which directory is at dir; another one may take its place or be
// mounted over it.
func identify(dir string) (fileid.ID, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return fileid.ID{}, err
	}
	if !info.IsDir() {
		return fileid.ID{}, &fs.PathError{Op: "open", Path: dir, Err: syscall.ENOTDIR}
	}
	return fileid.Of(info), nil
}

// load reads what the directory holds and merges it with what is known, but for the
// ledger's books, which are the ledger's to merge. The caller holds io.
func (s *Store) load(at fileid.ID, out *Opened) {
	rec, recordErr := Read(s.dir)
	books, booksErr := readBooks(s.dir)
	good, goodErr := readLastGood(s.dir)
	out.Damaged = errors.Join(recordErr, booksErr, goodErr)
	out.Books, out.Unknown = &books, booksErr != nil

	s.mu.Lock()
	defer s.mu.Unlock()
	first := !s.read
	s.merge(rec)
	if first {
		s.rec.Lost, s.rec.Spent = rec.Lost, rec.Spent
	}
	if !s.good.Known {
		s.good = good
	}
	s.read, s.at, s.writable, s.adopted = true, at, false, false
	// Whatever it holds, it is written again: it may be another directory.
	s.written = revisions{}
	s.revisions.record++
	s.revisions.notes++
	if s.good.Known {
		s.revisions.good++
	}
}

// merge adds what an earlier process recorded to what this one knows already.
func (s *Store) merge(old record.Record) {
	for pf, was := range old.PFs {
		if old.BootID != s.bootID {
			was = was.Lasting()
		}
		now, known := s.rec.PFs[pf]
		if !known {
			s.rec.PFs[pf] = was
			continue
		}
		if now.Device == was.Device {
			if now.SafeSpec == "" {
				now.SafeSpec = was.SafeSpec
			}
			now = now.After(was)
		}
		s.rec.PFs[pf] = now
	}
}

// Read reports whether the directory was there and was read.
func (s *Store) Read() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.read
}

// Writable reports whether the directory can be written, as far as the last write
// showed.
func (s *Store) Writable() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writable
}

// Record returns a copy of the record.
func (s *Store) Record() record.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rec.Clone()
}

// Update replaces the record by what change makes of it, and writes it if the
// directory is there; otherwise it is written when the directory arrives. The
// change is in force in this process even when the write fails: then each call
// writes it again or returns the error, whether or not there is anything new, so
// that nil always means that the directory has it. change gets a copy.
// It is called under the store's lock and must be a pure function: it may call
// nobody who has a lock.
func (s *Store) Update(change func(record.Record) record.Record) error {
	s.mu.Lock()
	next := change(s.rec.Clone())
	if !sameContent(next, s.rec) {
		s.rec = next.Clone()
		s.revisions.record++
	}
	want := s.revisions.record
	s.mu.Unlock()
	return s.save(func(r revisions) bool { return r.record >= want })
}

// LastGood returns the last good config.
func (s *Store) LastGood() LastGood {
	s.mu.Lock()
	defer s.mu.Unlock()
	return LastGood{s.good.Known, slices.Clone(s.good.Data)}
}

// SetLastGood keeps the config as the last good one; an empty one is that none is
// what was accepted.
func (s *Store) SetLastGood(data []byte) error {
	s.mu.Lock()
	if !s.good.Known || string(s.good.Data) != string(data) {
		s.good = LastGood{Known: true, Data: slices.Clone(data)}
		s.revisions.good++
	}
	want := s.revisions.good
	s.mu.Unlock()
	return s.save(func(r revisions) bool { return r.good >= want })
}
