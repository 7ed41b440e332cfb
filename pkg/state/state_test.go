package state_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/talos-sriov/talos-sriov/pkg/ledger"
	"github.com/talos-sriov/talos-sriov/pkg/pool"
	"github.com/talos-sriov/talos-sriov/pkg/record"
	"github.com/talos-sriov/talos-sriov/pkg/state"
)

const pf = "0000:21:00.0"

// store is a store with the ledger whose books it keeps, as a daemon has them.
type store struct {
	*state.Store
	ledger *ledger.Ledger
	offer  sync.Mutex // held while a device is offered and given out
}

func newStore(dir, boot string) *store {
	return &store{Store: state.New(dir, boot), ledger: ledger.New(boot)}
}

// open is what a daemon does at each of its passes.
func (s *store) open() state.Opened {
	o := s.Open()
	if o.Books != nil {
		s.ledger.Recover(*o.Books, o.Unknown)
		_ = s.Adopt(s.ledger.Books()) // Open reports a directory that cannot be written
	} else if o.Unknown {
		s.ledger.Seen()
	}
	return o
}

// note gives the kubelet a device.
func (s *store) note(device string) error {
	a := &pool.Assignment{Pools: []pool.Pool{{Resource: "a/b", Devices: []pool.Device{{ID: device, Healthy: true}}}}}
	s.offer.Lock()
	defer s.offer.Unlock()
	s.ledger.Offer(s.ledger.Ask(), a, nil)
	if _, err := s.ledger.Note("a/b", []string{device}, time.Unix(1e9, 0)); err != nil {
		return err
	}
	return s.SetBooks(s.ledger.Books())
}

func (s *store) books() ledger.Books {
	b, _ := s.ledger.Books()
	return b
}

func open(t *testing.T, dir, boot string) *store {
	t.Helper()
	s := newStore(dir, boot)
	if o := s.open(); o.Unwritable != nil || o.Damaged != nil || !o.Read {
		t.Fatalf("Open: %+v", o)
	}
	return s
}

func update(t *testing.T, s *store, f record.PF) {
	t.Helper()
	err := s.Update(func(r record.Record) record.Record {
		r.PFs[pf] = f
		return r
	})
	if err != nil {
		t.Fatal(err)
	}
}

var full = record.PF{
	PermMAC: "52:54:00:00:00:01", Device: "8086:10c9", SafeSpec: "abc",
	Made: &record.Made{NumVFs: 0, AutoProbe: true, MTU: 1500}, Open: []string{"x"},
}

func TestRecordOutlivesTheProcess(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sriov")
	update(t, open(t, dir, "boot-1"), full)
	got := open(t, dir, "boot-1").Record().PFs[pf]
	if d := cmp.Diff(full, got); d != "" {
		t.Errorf("same boot (-want +got):\n%s", d)
	}
}

// After a reboot the VFs are gone, so what we made is no longer ours to undo;
// that the PF was found safe stays true.
func TestRecordOfAnotherBoot(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sriov")
	update(t, open(t, dir, "boot-1"), full)
	want := full
	want.Made, want.Open = nil, nil
	if d := cmp.Diff(want, open(t, dir, "boot-2").Record().PFs[pf]); d != "" {
		t.Errorf("next boot (-want +got):\n%s", d)
	}
}

// The early start: records are made while /var is not there, and are merged with
// the older ones when it arrives.
func TestDirectoryArrivesLate(t *testing.T) {
	base := t.TempDir()
	dir := filepath.Join(base, "var", "sriov")
	update(t, open(t, dir, "boot-1"), full)
	hidden := filepath.Join(base, "hidden")
	if err := os.Rename(filepath.Join(base, "var"), hidden); err != nil {
		t.Fatal(err)
	}
	// A file in the directory's place is a directory that cannot be made.
	if err := os.WriteFile(filepath.Join(base, "var"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := newStore(dir, "boot-2")
	if o := s.open(); o.Read || o.Unwritable == nil || o.Damaged != nil {
		t.Fatalf("Open without the directory: %+v, want it neither read nor writable", o)
	}
	early := record.PF{Device: "8086:10c9", Made: &record.Made{NumVFs: 0}}
	update(t, s, early)
	if err := s.SetLastGood([]byte("new")); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(filepath.Join(base, "var")), os.Rename(hidden, filepath.Join(base, "var"))); err != nil {
		t.Fatal(err)
	}
	if o := s.open(); o.Unwritable != nil {
		t.Fatal(o.Unwritable)
	}
	want := early
	want.SafeSpec = "abc"
	again := open(t, dir, "boot-2")
	if d := cmp.Diff(want, again.Record().PFs[pf]); d != "" {
		t.Errorf("merged (-want +got):\n%s", d)
	}
	if got := string(again.LastGood().Data); got != "new" {
		t.Errorf("last good config %q, want new", got)
	}
}

func TestBadRecordsCountAsNone(t *testing.T) {
	good := func(t *testing.T) string {
		dir := t.TempDir()
		update(t, open(t, dir, "boot-1"), full)
		data, err := os.ReadFile(filepath.Join(dir, "state.json"))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	for name, damage := range map[string]func(string) string{
		"truncated":      func(s string) string { return s[:len(s)/2] },
		"empty":          func(string) string { return "" },
		"from future":    func(s string) string { return strings.Replace(s, `"version": 1`, `"version": 2`, 1) },
		"edited":         func(s string) string { return strings.Replace(s, `"mtu": 1500`, `"mtu": 9000`, 1) },
		"binary":         func(string) string { return "\x00\xff\x00" },
		"another object": func(string) string { return `{"kind":"List"}` },
	} {
		t.Run(name, func(t *testing.T) {
			content := damage(good(t))
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "state.json"), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			s := newStore(dir, "boot-1")
			if o := s.open(); o.Unwritable != nil || o.Damaged == nil {
				t.Errorf("Open: %+v; want it reported as damaged", o)
			}
			if n := len(s.Record().PFs); n != 0 {
				t.Errorf("%d records were taken from it", n)
			}
			if !s.Record().Lost {
				t.Error("the record does not count as lost")
			}
			if open(t, t.TempDir(), "boot-1").Record().Lost {
				t.Error("a record that never was counts as lost")
			}
		})
	}
}

func TestForceRequests(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, "boot-1")
	if n := len(s.ForceRequests()); n != 0 {
		t.Fatalf("%d requests in a new directory", n)
	}
	if err := os.MkdirAll(filepath.Join(dir, "force"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "force", pf), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if !s.ForceRequests()[pf] {
		t.Error("the request was not seen")
	}
	if err := errors.Join(s.Acknowledge(pf), s.Acknowledge(pf)); err != nil {
		t.Error(err)
	}
	if s.ForceRequests()[pf] {
		t.Error("the request is still there after it was acknowledged")
	}
}
