package state

import (
	"fmt"

	"github.com/talos-sriov/talos-sriov/pkg/record"
)

// Decode reads a record that was read elsewhere, from the bytes of its file. A
// damaged record, or one of another version, is an error; the state is then one
// that is [record.Record.Lost], as it is for the daemon that finds such a file.
func Decode(data []byte) (record.Record, error) {
	if len(data) > maxFile {
		return record.Record{Lost: true}, fmt.Errorf("the record has %d bytes, more than any record can have: taken as none", len(data))
	}
	rec, err := decode(data)
	if err != nil {
		return record.Record{Lost: true}, fmt.Errorf("the record: %w: taken as none", err)
	}
	return rec, nil
}
