package state_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/talos-sriov/talos-sriov/pkg/record"
	"github.com/talos-sriov/talos-sriov/pkg/record/recordtest"
	"github.com/talos-sriov/talos-sriov/pkg/state"
)

// everything is the content of testdata/record-v1.json, a file that a released format
// has to stay readable from. It must not be written again.
func everything() record.Record {
	const boot = "6f0c3a52-1111-4222-8333-444444444444"
	return record.Record{
		BootID: boot, Spent: []string{"before <the> fire", "2026-01-01"},
		PFs: map[string]record.PF{
			"0000:21:00.0": {
				PermMAC: "52:54:00:00:00:01", Device: "8086:10c9", SafeSpec: "0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8",
				Forced: []string{"monday", "tuesday"},
				Made: &record.Made{
					NumVFs: 0, AutoProbe: true, MTU: 1500, EswitchMode: "legacy",
					Wrote: map[record.Setting][]string{
						record.NumVFs: {"4", "6"}, record.AutoProbe: {"0", "1"}, record.MTU: {"9000"}, record.EswitchMode: {"switchdev"},
					},
					Overrides: map[int]string{0: "vfio-pci", 11: ""},
				},
				Open: []string{"0000:21:00.0/numvfs=6", "0000:21:00.0/vf3/vf-vlan", "0000:21:00.0/vf0/vf-override", "0000:21:00.0/vf3/vf-mac"},
				Refused: map[string]record.Refusal{
					"0000:21:00.0/vf0/vf-trust": {Value: "on", Answer: "EOPNOTSUPP"},
					"0000:21:00.0/vf0/vf-rate":  {Value: "0 1000", Answer: "EINVAL", Volatile: true, Carrier: true},
					"0000:21:00.0/vf1/vdpa-add": {Value: "vdpa-<VF 1>", Answer: "it did not take it & said so"},
				},
			},
			"0000:41:00.0": {Device: "15b3:1021", SafeSpec: "abc"},
			"0000:61:00.0": {Device: "8086:159b", Made: &record.Made{}},
		},
	}
}

func golden(t *testing.T) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "record-v1.json"))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// The file that is on nodes is read whole, and written as it is.
func TestFormat(t *testing.T) {
	data, want := golden(t), everything()
	got, err := state.Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("read (-want +got):\n%s", d)
	}
	dir := t.TempDir()
	if err := open(t, dir, want.BootID).Update(func(record.Record) record.Record { return want }); err != nil {
		t.Fatal(err)
	}
	written, err := os.ReadFile(filepath.Join(dir, state.RecordFile))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(data), string(written)); d != "" {
		t.Errorf("written (-want +got):\n%s", d)
	}
}

// A key that this program does not know is no damage: the checksum is of what is in
// the file.
func TestUnknownKeyIsNoDamage(t *testing.T) {
	const content = `{"bootID":"b","pfs":{"0000:21:00.0":{"safeSpec":"abc","later":1}}}`
	sum := sha256.Sum256([]byte(content))
	got, err := state.Decode(fmt.Appendf(nil, `{"version": 1, "sum": %q, "state": %s}`, hex.EncodeToString(sum[:]), content))
	if err != nil || got.PFs[pf].SafeSpec != "abc" || got.Lost {
		t.Errorf("%+v, %v", got, err)
	}
}

// What a process records another reads: all of it, and nothing else.
func TestFileRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := recordtest.Record().Draw(rt, "record")
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		s := state.New(dir, r.BootID)
		s.Open()
		if err := s.Update(func(record.Record) record.Record { return r }); err != nil {
			rt.Fatal(err)
		}
		got, err := state.Read(dir)
		if err != nil {
			rt.Fatal(err)
		}
		if d := cmp.Diff(r, got, cmpopts.EquateEmpty()); d != "" {
			rt.Errorf("(-want +got):\n%s", d)
		}
		if d := cmp.Diff(s.Record(), got, cmpopts.EquateEmpty()); d != "" {
			rt.Errorf("in memory and on the disk (-memory +disk):\n%s", d)
		}
	})
}

// A change that would leave the file as it is writes nothing.
func TestSameContentIsNotWritten(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, "b")
	update(t, s, record.PF{Device: "8086:10c9"})
	before := fileID(t, dir)
	update(t, s, record.PF{Device: "8086:10c9", Open: []string{}, Refused: map[string]record.Refusal{}})
	if !os.SameFile(fileID(t, dir), before) {
		t.Error("the file was written although nothing of its content changed")
	}
	update(t, s, record.PF{Device: "8086:10c9", Open: []string{"x"}})
	if os.SameFile(fileID(t, dir), before) {
		t.Error("a change was not written")
	}
}

// fileID is to tell the record's file from the one that a write puts in its place.
func fileID(t *testing.T, dir string) os.FileInfo {
	t.Helper()
	info, err := os.Stat(filepath.Join(dir, state.RecordFile))
	if err != nil {
		t.Fatal(err)
	}
	return info
}
