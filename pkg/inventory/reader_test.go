package inventory

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/talos-sriov/talos-sriov/pkg/internal/sysfstest"
	"github.com/talos-sriov/talos-sriov/pkg/nl"
	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
)

const bound = 2 * time.Second

// hanging is a tree in which some attributes are not answered.
type hanging struct {
	sysfs.Tree
	mu    sync.Mutex
	until chan struct{} // nil for answers
	which func(name string) bool
	asked int // how often they were asked
}

func (h *hanging) ReadFile(name string) ([]byte, error) {
	h.mu.Lock()
	until := h.until
	if until != nil && h.which(name) {
		h.asked++
	} else {
		until = nil
	}
	h.mu.Unlock()
	if until != nil {
		<-until
	}
	return h.Tree.ReadFile(name)
}

// hang makes the attributes hang until the function that it returns is called.
func (h *hanging) hang(which func(name string) bool) (answer func()) {
	until := make(chan struct{})
	h.mu.Lock()
	h.until, h.which = until, which
	h.mu.Unlock()
	return func() {
		h.mu.Lock()
		h.until = nil
		h.mu.Unlock()
		close(until)
	}
}

func twoPFs(t *testing.T) *hanging {
	fs, err := sysfs.Open(sysfstest.Make(t, 2, 3))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = fs.Close() }) // only read
	return &hanging{Tree: fs}
}

// stuckAttributes are those that wait for the lock of a device, and others that ask
// its driver.
var stuckAttributes = map[string]func(name string) bool{
	"driver_override of a VF": func(name string) bool { return strings.HasSuffix(name, "0000:00:00.2/driver_override") },
	"uevent of a VF":          func(name string) bool { return strings.HasSuffix(name, "0000:00:00.1/uevent") },
	"all of the VFs": func(name string) bool {
		return strings.Contains(name, "0000:00:00.") && !strings.Contains(name, "0000:00:00.0")
	},
	"carrier": func(name string) bool { return strings.HasSuffix(name, "ens0f0/carrier") },
}

func must(t *testing.T, r *Reader) *Snapshot {
	t.Helper()
	s, err := r.Read(t.Context(), Everything())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A device that does not answer is as it was read last, and all others are read.
func TestSilentPF(t *testing.T) {
	for what, which := range stuckAttributes {
		t.Run(what, func(t *testing.T) {
			tree := twoPFs(t)
			synctest.Test(t, func(t *testing.T) {
				answers := 0
				r := NewReader(tree, nil, ReaderOptions{Bound: bound, OnAnswer: func() { answers++ }})
				before := must(t, r)
				answer := tree.hang(which)
				start := time.Now()
				first := must(t, r)
				if took := time.Since(start); took != bound {
					t.Errorf("the first reading took %s, want the bound", took)
				}
				for range 3 {
					start = time.Now()
					if diff := cmp.Diff(first, must(t, r)); diff != "" || time.Since(start) != 0 {
						t.Errorf("a later one took %s and differs:\n%s", time.Since(start), diff)
					}
				}
				if first.PFs[0].Silent == "" || first.PFs[1].Silent != "" {
					t.Errorf("silent: %q, %q", first.PFs[0].Silent, first.PFs[1].Silent)
				}
				last := *first
				last.PFs = slices.Clone(first.PFs)
				last.PFs[0].Silent = ""
				if diff := cmp.Diff(before, &last); diff != "" {
					t.Errorf("not as read last:\n%s", diff)
				}
				if tree.asked > workers {
					t.Errorf("asked %d times while there was no answer", tree.asked)
				}
				answer()
				synctest.Wait()
				if diff := cmp.Diff(before, must(t, r)); diff != "" || answers != 1 {
					t.Errorf("after the answer, told %d times:\n%s", answers, diff)
				}
			})
		})
	}
}

// unlistable is a tree that refuses to list or to follow what has the suffix.
type unlistable struct {
	sysfs.Tree
	suffix string
}

func (u *unlistable) refuses(name string) error {
	if u.suffix != "" && strings.HasSuffix(name, u.suffix) {
		return &fs.PathError{Op: "open", Path: name, Err: unix.EMFILE}
	}
	return nil
}

func (u *unlistable) ReadDir(name string) ([]string, error) {
	if err := u.refuses(name); err != nil {
		return nil, err
	}
	return u.Tree.ReadDir(name)
}

func (u *unlistable) ReadLink(name string) (string, error) {
	if err := u.refuses(name); err != nil {
		return "", err
	}
	return u.Tree.ReadLink(name)
}

// A PF whose VFs cannot be listed has not lost them: it is as it was read last, and its
// VFs are no cards of their own, also when it was never read.
func TestVFsThatCannotBeListed(t *testing.T) {
	for what, suffix := range map[string]string{"the directory": "/0000:00:00.0", "one link": "/0000:00:00.0/virtfn1"} {
		tree := &unlistable{Tree: twoPFs(t).Tree}
		r := NewReader(tree, nil, ReaderOptions{})
		before := must(t, r)
		tree.suffix = suffix
		for name, r := range map[string]*Reader{"read before": r, "never read": NewReader(tree, nil, ReaderOptions{})} {
			s := must(t, r)
			if len(s.PFs) != 2 || len(s.Others) != 0 {
				t.Fatalf("%s, %s: %d PFs, %d others", what, name, len(s.PFs), len(s.Others))
			}
			pf := s.PFs[0]
			if !strings.Contains(pf.Silent, "which VFs it has") || s.PFs[1].Silent != "" {
				t.Errorf("%s, %s: silent %q and %q", what, name, pf.Silent, s.PFs[1].Silent)
			}
			want := PF{Function: Function{Address: pf.Address, NUMANode: -1, IOMMUGroup: -1}}
			if name == "read before" {
				want = before.PFs[0]
			}
			pf.Silent = ""
			if diff := cmp.Diff(want, pf); diff != "" {
				t.Errorf("%s, %s (-want +got):\n%s", what, name, diff)
			}
		}
		tree.suffix = ""
		if diff := cmp.Diff(before, must(t, r)); diff != "" {
			t.Errorf("%s, and listed again:\n%s", what, diff)
		}
	}
}

// Of a PF that has never answered there is the address: it is not absent, and its VFs
// are nobody else's.
func TestSilentFromTheStart(t *testing.T) {
	tree := twoPFs(t)
	synctest.Test(t, func(t *testing.T) {
		r := NewReader(tree, nil, ReaderOptions{Bound: bound})
		answer := tree.hang(stuckAttributes["all of the VFs"])
		s := must(t, r)
		if len(s.PFs) != 2 || len(s.Others) != 0 || len(s.PFs[1].VFs) != 3 {
			t.Fatalf("PFs %+v, others %+v", s.PFs, s.Others)
		}
		want := PF{Function: newFound("0000:00:00.0").Function, Silent: s.PFs[0].Silent}
		if diff := cmp.Diff(want, s.PFs[0]); diff != "" || want.Silent == "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		answer()
		synctest.Wait()
		// What came late is known now.
		answer = tree.hang(stuckAttributes["all of the VFs"])
		if pf := must(t, r).PFs[0]; pf.Silent == "" || len(pf.VFs) != 3 {
			t.Errorf("after a late answer %+v", pf)
		}
		answer()
	})
}

// A reading ends with its context, whatever the kernel does, and what was interrupted
// counts as nothing that was read.
func TestSilentAndCancelled(t *testing.T) {
	tree := twoPFs(t)
	synctest.Test(t, func(t *testing.T) {
		r := NewReader(tree, nil, ReaderOptions{Bound: bound})
		answer := tree.hang(stuckAttributes["uevent of a VF"])
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		start := time.Now()
		if _, err := r.Read(ctx, Everything()); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Millisecond {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
		answer()
		synctest.Wait()
		if s := must(t, r); s.PFs[0].Silent != "" || len(s.PFs[0].VFs) != 3 {
			t.Errorf("after it %+v", s.PFs[0])
		}
	})
}

// hangingNet is a network in which the lists are not answered, under whichever context.
type hangingNet struct {
	*fakeNet
	until chan struct{}
}

func (n *hangingNet) Links(ctx context.Context) ([]nl.Link, error) {
	<-n.until
	return n.fakeNet.Links(ctx)
}

// What carries the host's network is not known while netlink does not answer.
func TestSilentNetwork(t *testing.T) {
	tree := sysfstest.Load(t, filepath.Join("testdata", "82576.sysfs")).Tree(t)
	synctest.Test(t, func(t *testing.T) {
		n := &hangingNet{igbNet(), make(chan struct{})}
		r := NewReader(tree, n, ReaderOptions{Bound: bound})
		s := must(t, r)
		if s.Network.Complete || s.Network.Missing == "" || s.PFs[0].Silent != "" || s.HostUnknown[s.PFs[0].Address] == "" {
			t.Errorf("network %+v, PF %+v, unknown %v", s.Network, s.PFs[0], s.HostUnknown)
		}
		close(n.until)
		synctest.Wait()
		if s := must(t, r); !s.Network.Complete {
			t.Errorf("after the answer %+v", s.Network)
		}
	})
}

// Readings side by side see the same, and one that joins another is not silent for it.
func TestReadersSideBySide(t *testing.T) {
	tree := twoPFs(t)
	r := NewReader(tree, nil, ReaderOptions{Bound: time.Minute})
	want := must(t, r)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 5 {
				got, err := r.Read(t.Context(), Everything())
				if err != nil {
					t.Error(err)
				} else if diff := cmp.Diff(want, got); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
	wg.Wait()
}
