package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// ForceRequests returns the PFs for which the operator of the machine asked not to
// wait for holders: files named by PCI address in the directory "force". One that
// cannot be read holds no requests.
func (s *Store) ForceRequests() map[string]bool {
	out := map[string]bool{}
	entries, err := os.ReadDir(filepath.Join(s.dir, forceDir))
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

// Acknowledge removes the force request of a PF.
func (s *Store) Acknowledge(pf string) error {
	err := os.Remove(filepath.Join(s.dir, forceDir, filepath.Base(pf)))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove force request: %w", err)
	}
	return nil
}
