package talos_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/siderolabs/talos/pkg/machinery/role"

	"github.com/talos-sriov/talos-sriov/pkg/record"
	"github.com/talos-sriov/talos-sriov/pkg/state"
	"github.com/talos-sriov/talos-sriov/pkg/talos/talostest"
)

// TestRecord: the daemon's record is read with the daemon's own checks.
func TestRecord(t *testing.T) {
	dir := t.TempDir()
	store := state.New(dir, "boot")
	if o := store.Open(); o.Unwritable != nil {
		t.Fatal(o.Unwritable)
	}
	err := store.Update(func(s record.Record) record.Record {
		s.PFs["0000:01:00.0"] = record.PF{SafeSpec: "abc"}
		return s
	})
	if err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(filepath.Join(dir, state.RecordFile))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		file    string // "" for none
		damaged string // "" for not
		pfs     int
	}{
		"as written":     {string(good), "", 1},
		"none":           {"", "", 0},
		"changed":        {strings.Replace(string(good), "abc", "abd", 1), "checksum", 0},
		"future version": {strings.Replace(string(good), `"version": 1`, `"version": 2`, 1), "version 2", 0},
		"cut":            {string(good[:len(good)/2]), "JSON", 0},
		"empty object":   {"{}", "version 0", 0},
		"huge":           {strings.Repeat(" ", 5<<20), "bytes", 0},
	} {
		t.Run(name, func(t *testing.T) {
			n := talostest.NewNode("n1", "", t.TempDir())
			if c.file != "" {
				if err := os.MkdirAll(filepath.Join(n.Files, state.Dir), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(n.Files, state.Dir, state.RecordFile), []byte(c.file), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			got, damaged, err := open(t, talostest.Start(t, 0, n), role.Admin, "n1").Nodes[0].Record(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if len(got.PFs) != c.pfs || got.Lost != (c.damaged != "") {
				t.Errorf("record %+v", got)
			}
			if (damaged != nil) != (c.damaged != "") || damaged != nil && !strings.Contains(damaged.Error(), c.damaged) {
				t.Errorf("damaged: %v, want %q", damaged, c.damaged)
			}
		})
	}
}

// TestUnlistableDirectory: a directory that is there and cannot be listed is an
// error, not one without files.
func TestUnlistableDirectory(t *testing.T) {
	n := talostest.NewNode("n1", "", t.TempDir())
	node := open(t, talostest.Start(t, 0, n), role.Admin, "n1").Nodes[0]
	if there, err := node.HasFile(t.Context(), state.Dir, state.RecordFile); there || err != nil {
		t.Errorf("without the directory: %v, %v", there, err)
	}
	if err := os.MkdirAll(filepath.Join(n.Files, "var/lib"), 0o755); err != nil {
		t.Fatal(err)
	}
	// Listing a file fails as listing a broken directory does.
	if err := os.WriteFile(filepath.Join(n.Files, state.Dir), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if there, err := node.HasFile(t.Context(), state.Dir, state.RecordFile); there || err == nil {
		t.Errorf("a directory that cannot be listed: %v, %v", there, err)
	}
}
