package install

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/google/renameio/v2"
)

// maxRecord is how many installed programs are remembered.
const maxRecord = 16

// read returns the record, oldest first. A damaged one is as good as none: what
// was installed then counts as somebody else's.
func (i *Installer) read() ([]installed, error) {
	data, err := os.ReadFile(i.o.Record)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the record of installed programs: %w", err)
	}
	var out []installed
	if json.Unmarshal(data, &out) != nil {
		return nil, nil //nolint:nilerr // see above
	}
	return out, nil
}

// remember adds the program to the record, as the newest one.
func (i *Installer) remember(record []installed, p installed) error {
	if slices.Contains(record, p) {
		return nil
	}
	same := func(q installed) bool { return q.Path == p.Path && q.Sum == p.Sum }
	next := append(slices.DeleteFunc(slices.Clone(record), same), p)
	next = next[max(0, len(next)-maxRecord):]
	data, err := json.MarshalIndent(next, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the record of installed programs: %w", err)
	}
	if err := renameio.WriteFile(i.o.Record, append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("write the record of installed programs: %w", err)
	}
	return nil
}
