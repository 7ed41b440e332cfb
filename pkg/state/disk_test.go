package state_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/talos-sriov/talos-sriov/pkg/record"
)

// filled is a directory that a daemon of boot-1 left: a record, a last good
// config, and a pod with a VF.
func filled(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "sriov")
	s := open(t, dir, "boot-1")
	update(t, s, full)
	if err := errors.Join(s.SetLastGood([]byte("good")), s.note("0000:21:10.0")); err != nil {
		t.Fatal(err)
	}
	return dir
}

func holdsAll(t *testing.T, s *store) {
	t.Helper()
	if st := s.Record(); st.PFs[pf].SafeSpec != full.SafeSpec || st.Lost {
		t.Errorf("record %+v", st)
	}
	if good := s.LastGood(); !good.Known || string(good.Data) != "good" {
		t.Errorf("last good config %+v", good)
	}
	if a := s.books(); !a.KubeletSeen || len(a.Notes) != 1 || a.Notes[0].Device != "0000:21:10.0" {
		t.Errorf("notes %+v", a)
	}
}

// What is on a disk that cannot be written counts too.
func TestReadOnlyDirectoryIsRead(t *testing.T) {
	for _, how := range []string{"read-only filesystem", "no inodes left"} {
		t.Run(how, func(t *testing.T) {
			from := filled(t)
			dir := filepath.Join(t.TempDir(), "sriov")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=256k,nr_inodes=4"); err != nil {
				t.Skip("needs root in a mount namespace: ", err)
			}
			t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
			if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
				t.Fatal(err)
			}
			if how == "read-only filesystem" {
				if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
					t.Fatal(err)
				}
			}
			s := newStore(dir, "boot-1")
			o := s.open()
			if !o.Read || o.Unwritable == nil || o.Damaged != nil || s.Writable() {
				t.Errorf("Open: %+v, writable %v", o, s.Writable())
			}
			holdsAll(t, s)
			// What is new is in force, and an error reports that it is not on the disk.
			if err := s.note("0000:21:10.2"); err == nil {
				t.Error("a note that cannot be written gives no error")
			}
			if n := len(s.books().Notes); n != 2 {
				t.Errorf("%d notes are in force, want 2", n)
			}
		})
	}
}

// What the disk does not have is written again or reported by each call, also by one
// that brings nothing new: who got nil may rely on the file. Another file that cannot
// be written is no failure of this one.
func TestUnwrittenIsReportedAgain(t *testing.T) {
	for file, set := range map[string]func(s *store) error{
		"state.json": func(s *store) error {
			return s.Update(func(r record.Record) record.Record {
				r.PFs[pf] = full
				return r
			})
		},
		"last-good.yaml":   func(s *store) error { return s.SetLastGood([]byte("good")) },
		"allocations.json": func(s *store) error { return s.note("0000:21:10.0") },
	} {
		t.Run(file, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir, "boot-1")
			// A file is not renamed over a directory that has something in it.
			path := filepath.Join(dir, file)
			if err := errors.Join(os.RemoveAll(path), os.MkdirAll(filepath.Join(path, "x"), 0o755)); err != nil {
				t.Fatal(err)
			}
			for call := range 3 {
				if err := set(s); err == nil {
					t.Errorf("call %d returned nil, and nothing is on the disk", call)
				}
			}
			if err := s.SetBooks(s.ledger.Books()); err != nil && file != "allocations.json" {
				t.Errorf("the notes are on the disk, and yet: %v", err)
			}
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
			if err := set(s); err != nil {
				t.Errorf("after the cause was removed: %v", err)
			}
			if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
				t.Errorf("nil was returned, and the file is not there: %v", err)
			}
		})
	}
}

// A process before this one could not write either: a kubelet may have been seen.
func TestUnwritableDirectoryCountsAsKubeletSeen(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_RDONLY, ""); err != nil {
		t.Skip("needs root in a mount namespace: ", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	s := newStore(dir, "boot-1")
	if o := s.open(); !o.Read || o.Unwritable == nil {
		t.Fatalf("Open: %+v", o)
	}
	if !s.books().KubeletSeen {
		t.Error("no kubelet counts as seen, so every VF would be free")
	}
}

func TestRemovedDirectoryIsMadeAgain(t *testing.T) {
	for how, use := range map[string]func(t *testing.T, s *store){
		"at the next Open": func(t *testing.T, s *store) {
			if o := s.open(); !o.Made || o.Unwritable != nil || o.Damaged != nil {
				t.Errorf("Open: %+v", o)
			}
		},
		"at a write": func(t *testing.T, s *store) {
			if err := s.SetLastGood([]byte("other")); err != nil {
				t.Errorf("write: %v", err)
			}
			if err := s.SetLastGood([]byte("good")); err != nil {
				t.Errorf("write: %v", err)
			}
			if o := s.open(); !o.Made {
				t.Errorf("Open does not report it: %+v", o)
			}
		},
	} {
		t.Run(how, func(t *testing.T) {
			dir := filled(t)
			s := open(t, dir, "boot-1")
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			use(t, s)
			if o := s.open(); o.Made {
				t.Error("it is reported twice")
			}
			holdsAll(t, s)
			holdsAll(t, open(t, dir, "boot-1"))
		})
	}
}

// A filesystem that is mounted over the directory has another content.
func TestDirectoryMountedOverIsRead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sriov")
	s := open(t, dir, "boot-1")
	from := filled(t)
	if err := errors.Join(os.RemoveAll(dir), os.Rename(from, dir)); err != nil {
		t.Fatal(err)
	}
	if o := s.open(); o.Made || !o.Read {
		t.Errorf("Open: %+v", o)
	}
	holdsAll(t, s)
}

// That there is no config is remembered as well.
func TestAcceptedAbsenceIsRemembered(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, "boot-1")
	if s.LastGood().Known {
		t.Error("something is known before anything was accepted")
	}
	if err := errors.Join(s.SetLastGood([]byte("good")), s.SetLastGood(nil)); err != nil {
		t.Fatal(err)
	}
	if good := open(t, dir, "boot-2").LastGood(); !good.Known || len(good.Data) != 0 {
		t.Errorf("last good config %+v, want one that is known to be empty", good)
	}
}

// A config is kept byte by byte: its hash identifies it.
func TestLastGoodKeepsItsBytes(t *testing.T) {
	for _, text := range []string{"a", "{}", "a\n", "{\"a\": 1}\n\n", "\xef\xbb\xbfa\r\n"} {
		dir := t.TempDir()
		if err := open(t, dir, "b").SetLastGood([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if got := string(open(t, dir, "b").LastGood().Data); got != text {
			t.Errorf("kept %q as %q", text, got)
		}
	}
}

// Updates of many goroutines: none is lost, in memory or on the disk.
func TestConcurrentUpdates(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, "boot-1")
	const many = 8
	var wg sync.WaitGroup
	for i := range many {
		wg.Go(func() {
			name := fmt.Sprintf("0000:%02x:00.0", i)
			if err := s.Update(func(r record.Record) record.Record {
				r.PFs[name] = record.PF{Device: "8086:10c9"}
				return r
			}); err != nil {
				t.Error(err)
			}
			if err := s.note(name); err != nil {
				t.Error(err)
			}
			if o := s.open(); o.Unwritable != nil || o.Made {
				t.Errorf("Open: %+v", o)
			}
		})
	}
	wg.Wait()
	again := open(t, dir, "boot-1")
	if n := len(again.Record().PFs); n != many {
		t.Errorf("%d records on the disk, want %d", n, many)
	}
	if n := len(again.books().Notes); n != many {
		t.Errorf("%d notes on the disk, want %d", n, many)
	}
}
