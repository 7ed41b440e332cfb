// Package state keeps what must outlive the daemon, in one directory
// (Dir): the record of what earlier runs made (pkg/record), the last good config, the
// ledger's books (pkg/ledger), and the operator's force requests.
//
// The directory is read as soon as it is there, whether or not it can be written:
// a disk that came up read-only still knows which pods have which VFs. What cannot
// be written is kept in memory and written, merged with what is found, when that
// becomes possible: at an early start /var is not mounted yet, a disk may be full,
// and somebody may remove the directory while the daemon runs.
//
// The store has two locks and calls nobody else under either: one for the memory,
// which is held for no longer than a copy takes, and one that puts the writes in
// order. Who reads never waits for the disk.
//
// Nothing read from here ever causes a write to hardware by itself: a record that
// is lost, damaged, from another boot or from a newer version is as good as none.
// No other package knows the names of files in the directory (names.go): who reads them
// from elsewhere, as a workstation does, takes them and Decode from here.
//
// The package may import pkg/record, pkg/ledger and pkg/internal/fileid, and nothing
// else of the project.
package state
