package agent_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"github.com/talos-sriov/talos-sriov/pkg/internal/kubelettest"
	"github.com/talos-sriov/talos-sriov/pkg/source"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/status"
)

// logged waits until the log has the text.
func (n *node) logged(text string) {
	n.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(deadline); !strings.Contains(n.log.String(), text); <-tick.C {
		if time.Now().After(end) {
			n.t.Fatalf("the log does not say %q within %s", text, deadline)
		}
	}
}

// other is an entry for the second PF.
const other = "example.com/other"

func andOther(doc string, count int) string {
	return doc + fmt.Sprintf("  - match: {pciAddresses: [%q]}\n    numVFs: %d\n    resourceName: %s\n", pfB, count, other)
}

func (n *node) otherHealthy(count int) {
	n.t.Helper()
	n.kubelet.Wait(other, fmt.Sprintf("%d devices", count), func(r kubelettest.Resource) bool {
		return r.Connected && len(r.Devices) == count && strings.Count(strings.Join(r.Devices, " "), "=Healthy") == count
	})
}

// first is the first device of the pool.
func first(r kubelettest.Resource) string {
	id, _, _ := strings.Cut(r.Devices[0], "=")
	return id
}

func (n *node) allocate(ids ...string) error {
	_, err := n.kubelet.Client(resource).Allocate(n.t.Context(), &v1beta1.AllocateRequest{
		ContainerRequests: []*v1beta1.ContainerAllocateRequest{{DevicesIds: ids}},
	})
	return err
}

// A config was removed and everything was undone. A bad config that comes
// later changes nothing either: also in a new process.
func TestBadConfigAfterRemoval(t *testing.T) {
	t.Parallel()
	for _, restarted := range []bool{false, true} {
		t.Run(fmt.Sprintf("restarted=%v", restarted), func(t *testing.T) {
			n := newNode(t)
			n.kubelet.Start()
			n.start()
			n.configure(vfs(pfA, 3))
			n.healthy(3)
			if err := os.Remove(n.config); err != nil {
				t.Fatal(err)
			}
			n.status("undone", func(s *status.Status) bool { return s.Spec.State == status.SpecAbsent && len(s.PFs) == 0 })
			before := len(n.kernel.Writes())
			if restarted {
				n.stop()
			}
			n.configure("nonsense")
			if restarted {
				n.start()
			}
			s := n.status("refused", func(s *status.Status) bool { return s.Spec.State == status.SpecRefused })
			if s.Spec.InForce != "" || s.Spec.LastGood || len(s.PFs) != 0 {
				t.Errorf("in force after a bad config: %+v, PFs %+v", s.Spec, s.PFs)
			}
			// Whatever the bad one caused would be done before what a good one asks for.
			n.configure("apiVersion: v1alpha1\nkind: SRIOVConfig\nphysicalFunctions:\n" + andOther("", 2))
			n.otherHealthy(2)
			for _, w := range n.kernel.Writes()[before:] {
				if strings.Contains(w, pfA) {
					t.Errorf("a bad config, after the good one was removed, caused the write %s", w)
				}
			}
		})
	}
}

// At an early start there may be no config because the machine config is not loaded
// yet. The last good config must outlive that.
func TestAbsenceAtAnEarlyStartIsNoRemoval(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.kubelet.Start()
	n.start()
	n.configure(vfs(pfA, 3))
	n.healthy(3)
	n.stop()
	if err := os.Remove(n.config); err != nil {
		t.Fatal(err)
	}
	n.silent(true) // no kubelet yet
	n.start()
	n.status("absent", func(s *status.Status) bool { return s.Spec.State == status.SpecAbsent })
	n.configure("nonsense")
	n.status("the last good config is in force", func(s *status.Status) bool {
		return s.Spec.State == status.SpecRefused && s.Spec.LastGood && s.Spec.InForce != ""
	})
}

// onDisk puts the state on a small filesystem of its own, which can fill up or turn
// read-only.
func (n *node) onDisk(t *testing.T) (readOnly, fill func()) {
	t.Helper()
	dir := filepath.Join(n.dir, "state")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=256k,nr_inodes=64"); err != nil {
		t.Skip("needs root in a mount namespace: ", err)
	}
	t.Cleanup(func() { n.stop(); _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return func() {
			t.Helper()
			if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
				t.Fatal(err)
			}
		}, func() {
			for i := range 100 {
				if os.WriteFile(filepath.Join(dir, fmt.Sprintf("fill%d", i)), make([]byte, 8<<10), 0o600) != nil {
					return
				}
			}
		}
}

// A disk that is full or came up read-only: what earlier runs wrote is in force. The
// newest config is bad here, so the pools live from the last good one.
func TestLastGoodOnADiskThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"full", "read-only"} {
		t.Run(how, func(t *testing.T) {
			n := newNode(t)
			readOnly, fill := n.onDisk(t)
			n.kubelet.Start()
			n.start()
			n.configure(vfs(pfA, 3))
			n.healthy(3)
			n.stop()
			n.configure("nonsense")
			if how == "full" {
				fill()
			} else {
				readOnly()
			}
			n.start()
			n.healthy(3)
			if err := n.allocate(first(n.healthy(3))); err != nil {
				t.Errorf("no pod can start: %v", err)
			}
			if how == "read-only" {
				n.logged("cannot write state")
				if c := strings.Count(n.log.String(), "cannot write state"); c > 3 {
					t.Errorf("logged %d times", c)
				}
			}
		})
	}
}

// Read-only, with a good config that asks for fewer VFs, while the kubelet does not
// answer: the notes on the disk say that a pod has a VF.
func TestReadOnlyStateKeepsPods(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	readOnly, _ := n.onDisk(t)
	n.kubelet.Start()
	n.start()
	n.configure(vfs(pfA, 3))
	dev := first(n.healthy(3))
	n.hold(dev, "web") // an RDMA or uio pod: the kernel shows nothing
	n.changes.notify()
	n.status("held", func(s *status.Status) bool {
		return len(s.Pools) == 1 && slices.ContainsFunc(s.Pools[0].Members, func(d status.Device) bool { return len(d.Holders) > 0 })
	})
	n.stop()
	readOnly()
	n.silent(true)
	n.configure(andOther(vfs(pfA, 2), 2))
	before := len(n.kernel.Writes())
	n.start()
	n.logged("a change waits for the holders of its VFs")
	// Work that concerns no pod is done as soon as its intent can be on the disk.
	n.logged("the intent could not be recorded")
	if w := n.kernel.Writes()[before:]; len(w) > 0 {
		t.Errorf("written without a recorded intent: %q", w)
	}
	if err := unix.Mount("", filepath.Join(n.dir, "state"), "", unix.MS_REMOUNT, ""); err != nil {
		t.Fatal(err)
	}
	n.otherHealthy(2)
	for _, w := range n.kernel.Writes()[before:] {
		if strings.Contains(w, pfA) {
			t.Errorf("%s was written while pod default/web holds %s", w, dev)
		}
	}
}

// Somebody removes the state directory under the running daemon: it is made again with
// all that the daemon knows, logged once, and no pod notices.
func TestStateDirectoryRemoved(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.kubelet.Start()
	n.start()
	n.configure(vfs(pfA, 3))
	dev := first(n.healthy(3))
	n.hold(dev, "web")
	n.status("held", func(s *status.Status) bool {
		n.changes.notify()
		return len(s.Pools) == 1 && slices.ContainsFunc(s.Pools[0].Members, func(d status.Device) bool { return len(d.Holders) > 0 })
	})
	// Away in one step: files that the daemon writes meanwhile would keep it there.
	if err := os.Rename(filepath.Join(n.dir, "state"), filepath.Join(n.dir, "removed")); err != nil {
		t.Fatal(err)
	}
	if err := n.allocate(first(n.healthy(3))); err != nil {
		t.Errorf("Allocate after the removal: %v", err)
	}
	n.changes.notify()
	n.logged("state directory removed and recreated")
	n.status("the status is there again", func(s *status.Status) bool { return len(s.PFs) == 1 && s.PFs[0].State == status.PFReady })
	n.stop()
	n.silent(true)
	n.configure(vfs(pfA, 2))
	n.start()
	n.status("what pods have is known", func(s *status.Status) bool { return len(s.PFs) == 1 && s.PFs[0].State == status.PFWaiting })
	if c := strings.Count(n.log.String(), "state directory removed and recreated"); c != 1 {
		t.Errorf("logged %d times", c)
	}
}

// A source of events that the kernel refuses ends nothing else, and is opened again.
func TestFailedTaskIsStartedAgain(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.refuse = 1
	n.kubelet.Start()
	n.start()
	n.configure(vfs(pfA, 2))
	n.healthy(2) // the config's own events are enough for that
	n.logged("task failed and will be started again")
	// Only the source of events announces this one.
	n.kernel.RemovePF(pfA)
	n.status("the PF is gone", func(s *status.Status) bool { return len(s.PFs) == 0 })
}

// Talos removes and makes its directories when it writes a config. However long it
// takes on a node that is busy, VFs are not removed meanwhile.
func TestConfigGoneForSomeSeconds(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.absent = source.DefaultAbsent
	n.kubelet.Start()
	n.start()
	n.configure(vfs(pfA, 3))
	n.healthy(3)
	before := len(n.kernel.Writes())
	if err := os.RemoveAll(filepath.Dir(n.config)); err != nil {
		t.Fatal(err)
	}
	<-time.After(n.absent / 2)
	n.configure(vfs(pfA, 3) + "# again\n")
	hash := spec.Hash([]byte(vfs(pfA, 3) + "# again\n"))
	n.status("the config that is there again", func(s *status.Status) bool {
		return s.Spec.State == status.SpecAccepted && s.Spec.Hash == hash
	})
	if w := n.kernel.Writes()[before:]; len(w) != 0 {
		t.Errorf("written while the config was away: %q", w)
	}
}
