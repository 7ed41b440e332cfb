package state

import "path/filepath"

// Dir is the directory on a node.
const Dir = "/var/lib/sriov"

// Names in the directory. Nothing else in the project spells them.
const (
	// RecordFile is the record of earlier runs, which Decode reads.
	RecordFile = "state.json"
	// StatusFile is what the daemon reports (pkg/status).
	StatusFile = "status.yaml"
	// CNIFile is what pkg/install wrote down of the CNI plugin.
	CNIFile = "cni.json"

	lastGoodFile = "last-good.yaml"
	notesFile    = "allocations.json"
	forceDir     = "force"
)

// StatusPath is where the status file belongs.
func (s *Store) StatusPath() string { return filepath.Join(s.dir, StatusFile) }

// CNIPath is where the file of pkg/install belongs.
func (s *Store) CNIPath() string { return filepath.Join(s.dir, CNIFile) }
