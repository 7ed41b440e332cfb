package agent

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/talos-sriov/talos-sriov/pkg/apply"
	"github.com/talos-sriov/talos-sriov/pkg/deviceplugin"
	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/pool"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// A VF that was found open is asked about until it is closed, but never while a
// pod has it: the pod's program may open it in that instant, and would be
// refused.
func TestOpenedAsksNobodyWhoWasGivenTheVF(t *testing.T) {
	t.Parallel()
	const a, b = "0000:21:10.0", "0000:21:10.2"
	vf := func(index int, addr string) inventory.VF {
		return inventory.VF{Index: index, Function: inventory.Function{Address: addr, Driver: "vfio-pci", IOMMUGroup: index}}
	}
	snap := &inventory.Snapshot{PFs: []inventory.PF{{VFs: []inventory.VF{vf(0, a), vf(1, b)}}}}
	asked := map[string]int{}
	errno := error(unix.EBUSY)
	o := opened{vfio: use.VFIO{Dev: "/dev", OpenFile: func(path string, _ int, _ uint32) (int, error) {
		asked[path]++
		if errno != nil {
			return -1, errno
		}
		return unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	}}}
	nobody := func(string) bool { return false }

	if o.now(snap, nobody); len(asked) != 0 {
		t.Errorf("asked about %v, and nothing was found open", asked)
	}
	o.probe(snap, []string{a, b})
	if got := o.now(snap, nobody); len(got) != 2 || got[a].State != use.Open || asked["/dev/vfio/0"] != 2 {
		t.Errorf("%v, asked %v; want both open and asked again", got, asked)
	}
	// A pod is given the first one.
	if got := o.now(snap, func(id string) bool { return id == a }); len(got) != 1 || got[b].State != use.Open {
		t.Errorf("%v, want the second one alone", got)
	}
	if asked["/dev/vfio/0"] != 2 || asked["/dev/vfio/1"] != 3 {
		t.Errorf("asked %v; want the pod's VF left alone", asked)
	}
	// Nobody can be asked: what was open counts as open.
	errno = unix.EACCES
	if got := o.now(snap, nobody); got[b].State != use.OpenUnknown || len(got) != 1 {
		t.Errorf("%v, want the second one not known", got)
	}
	errno = nil
	if got := o.now(snap, nobody); len(got) != 0 {
		t.Errorf("%v after the process let go", got)
	}
	before := asked["/dev/vfio/1"]
	if o.now(snap, nobody); asked["/dev/vfio/1"] != before {
		t.Error("asked again about what nobody has")
	}
}

// The kubelet forgets a pod that was deleted by force, and gives its VF to another,
// while the old one's virtual machine still has it open: the VF is refused, and not
// allocatable until the machine is gone.
func TestOpenVFIsNotGivenToAnotherPod(t *testing.T) {
	t.Parallel()
	const id = "0000:21:10.0"
	dir := t.TempDir()
	a, err := New(Options{
		Config: filepath.Join(dir, "c.yaml"), StateDir: filepath.Join(dir, "state"), KubeletDir: dir, RunDir: filepath.Join(dir, "run"),
		Proc: "/proc", Dev: "/dev", Log: slog.New(slog.DiscardHandler), Kubelet: silentKubelet{}, Links: apply.NoLinks{},
	}, "boot-1")
	if err != nil {
		t.Fatal(err)
	}
	errno := error(unix.EBUSY)
	a.opened.vfio.OpenFile = func(string, int, uint32) (int, error) {
		if errno != nil {
			return -1, errno
		}
		return unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	}
	snap := &inventory.Snapshot{PFs: []inventory.PF{{VFs: []inventory.VF{
		{Function: inventory.Function{Address: id, Driver: "vfio-pci", IOMMUGroup: 7}},
	}}}}
	allocate := func() error {
		_, err := allocations{a}.Note(t.Context(), deviceplugin.Allocation{Resource: "example.com/x", IDs: []string{id}})
		return err
	}
	if err := allocate(); err != nil {
		t.Errorf("before anything is known of the VF: %v", err)
	}
	if err := a.store.Confirm(use.Kubelet{Answered: true, Since: time.Now().Add(-time.Hour)}, a.store.Allocations().Notes, nil, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	a.lastSnapshot.Store(snap)
	if err := allocate(); err == nil || !strings.Contains(err.Error(), id) || !strings.Contains(err.Error(), "/dev/vfio/7 is open") {
		t.Errorf("a VF that is open was given out: %v", err)
	}
	if notes := a.store.Allocations().Notes; len(notes) != 0 {
		t.Errorf("noted as given: %+v", notes)
	}
	decided := pass{snap: snap, evidence: a.holders(t.Context(), snap)}
	if w := decided.unallocatable()[id]; w.Cause != pool.CauseOpen || w.Text == "" {
		t.Errorf("got %+v, want it not allocatable because it is open", w)
	}
	errno = nil
	decided = pass{snap: snap, evidence: a.holders(t.Context(), snap)}
	if w, ok := decided.unallocatable()[id]; ok {
		t.Errorf("still not allocatable (%+v) after the process ended", w)
	}
	if err := allocate(); err != nil {
		t.Errorf("refused after the process ended: %v", err)
	}
}

// A note that is made while the kubelet is being asked is none of its answer's; and one
// of an allocation that is refused after all is gone.
func TestNoteMadeDuringTheQuestion(t *testing.T) {
	t.Parallel()
	const id = "0000:21:10.0"
	dir := t.TempDir()
	kubelet := &askedKubelet{id: id}
	a, err := New(Options{
		Config: filepath.Join(dir, "c.yaml"), StateDir: filepath.Join(dir, "state"), KubeletDir: dir, RunDir: filepath.Join(dir, "run"),
		Proc: "/proc", Dev: "/dev", Log: slog.New(slog.DiscardHandler), Kubelet: kubelet, Links: apply.NoLinks{},
	}, "boot-1")
	if err != nil {
		t.Fatal(err)
	}
	got := deviceplugin.Allocation{Resource: "example.com/x", IDs: []string{id}}
	var done func(given bool)
	kubelet.during = func() {
		var err error
		if done, err = (allocations{a}).Note(t.Context(), got); err != nil {
			t.Error(err)
		}
	}
	a.holders(t.Context(), &inventory.Snapshot{})
	if notes := a.store.Allocations().Notes; len(notes) != 1 || notes[0].Listed != nil {
		t.Errorf("notes %+v, want one that the kubelet has not confirmed", notes)
	}
	done(false)
	if notes := a.store.Allocations().Notes; len(notes) != 0 {
		t.Errorf("notes %+v after the release, want none", notes)
	}
}

// askedKubelet lists the pod that had the device before, and lets something happen
// before its answer arrives.
type askedKubelet struct {
	id     string
	during func()
}

func (k *askedKubelet) Ask(context.Context) use.Kubelet {
	k.during()
	return use.Kubelet{Answered: true, Since: time.Now().Add(-time.Hour), Held: map[string][]use.Holder{k.id: {{Device: k.id, Pod: "before"}}}}
}

// silentKubelet gives no answer.
type silentKubelet struct{}

func (silentKubelet) Ask(context.Context) use.Kubelet { return use.Kubelet{} }
