package state

import (
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/talos-sriov/talos-sriov/pkg/ledger"
)

// SetBooks keeps the ledger's books. revision grows with each change of them: books
// that are not newer than those that are kept change nothing, so that of several
// callers the newest counts. nil means that the directory has them, or something newer;
// before it was read, and until Adopt, that the memory has.
func (s *Store) SetBooks(b ledger.Books, revision uint64) error {
	s.mu.Lock()
	s.keep(b, revision)
	want := s.revisions.notes
	s.mu.Unlock()
	return s.save(func(r revisions) bool { return r.notes >= want })
}

// Adopt is SetBooks with books that have what the last Open found in the directory.
func (s *Store) Adopt(b ledger.Books, revision uint64) error {
	s.mu.Lock()
	s.adopted = true
	s.mu.Unlock()
	return s.SetBooks(b, revision)
}

// keep takes in newer books. The caller holds mu.
func (s *Store) keep(b ledger.Books, revision uint64) {
	if revision > s.booksRevision {
		s.books, s.booksRevision = b, revision
		s.revisions.notes++
	}
}

// readBooks reads the books in dir; the zero Books when there are none.
func readBooks(dir string) (ledger.Books, error) {
	data, err := readFile(dir, notesFile)
	var b ledger.Books
	if err == nil && data != nil {
		err = json.Unmarshal(data, &b)
	}
	if err != nil {
		return ledger.Books{}, fmt.Errorf("read allocation notes %s: %w: until the kubelet answers, every device counts as in use", filepath.Join(dir, notesFile), err)
	}
	return b, nil
}
