package agent_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/cni"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/status"
)

// attachments is a CNI plugin that has left things behind.
type attachments struct {
	mu    sync.Mutex
	list  []cni.Orphan
	err   error
	tries int
	taken []cni.Orphan
}

func (a *attachments) Orphans() ([]cni.Orphan, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.list), nil
}

func (a *attachments) Reclaim(_ context.Context, o cni.Orphan) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.tries++; a.err != nil {
		return a.err
	}
	a.taken = append(a.taken, o)
	a.list = slices.DeleteFunc(a.list, func(x cni.Orphan) bool { return x == o })
	return nil
}

func (a *attachments) set(err error, list ...cni.Orphan) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.list, a.err, a.tries, a.taken = list, err, 0, nil
}

func (a *attachments) did() (tries int, taken []cni.Orphan) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.tries, slices.Clone(a.taken)
}

func pending(reason string) func(*status.Status) bool {
	return func(s *status.Status) bool {
		return s.Orphans != nil && len(s.Orphans.Pending) == 1 && strings.Contains(s.Orphans.Pending[0].Reason, reason)
	}
}

func returned(count int) func(*status.Status) bool {
	return func(s *status.Status) bool {
		return s.Orphans != nil && s.Orphans.Returned == count && len(s.Orphans.Pending) == 0
	}
}

// A dead pod's VF is reclaimed when DEL did not come, and nothing shows that
// somebody has it.
func TestOrphansAreReclaimed(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	left := &attachments{}
	n.attachments, n.grace = left, 100*time.Millisecond
	n.kubelet.Start()
	n.start()
	n.configure(vfs(pfA, 2))
	r := n.healthy(2)
	dev, _, _ := strings.Cut(r.Devices[0], "=")
	dead := cni.Orphan{Evidence: cni.EvidenceNetns, Device: dev, File: "c1-net1", Netns: "/var/run/netns/c1"}

	// The kubelet says that a pod has it.
	n.hold(dev, "web")
	left.set(nil, dead)
	n.configure(vfs(pfA, 2) + "# 1\n")
	s := n.status("in use", pending("in use: pod default/web"))
	if p := s.Orphans.Pending[0]; p.Device != dev || p.Attachment != "c1-net1" || p.Evidence != "netns" {
		t.Errorf("%+v", p)
	}
	// The kernel says so.
	n.kernel.Hold(dev, "nobody")
	n.hold(dev, "")
	n.configure(vfs(pfA, 2) + "# 2\n")
	n.status("in use", pending("a network namespace"))
	if tries, _ := left.did(); tries > 0 {
		t.Fatal("a VF in use was reclaimed")
	}
	n.kernel.Release(dev)
	n.status("reclaimed", returned(1))
	if _, taken := left.did(); len(taken) != 1 || taken[0] != dead {
		t.Errorf("%+v", taken)
	}
	n.healthy(2) // offered again

	// One that fails is tried again after a pause, and reported.
	left.set(errors.New("the PF said no"), dead)
	n.configure(vfs(pfA, 2) + "# 3\n")
	n.status("failed", pending("the PF said no"))
	left.mu.Lock()
	left.err = nil
	left.mu.Unlock()
	n.status("reclaimed", returned(2))
	if tries, _ := left.did(); tries > 20 {
		t.Errorf("%d tries", tries)
	}

	// Files alone need no evidence of use.
	n.hold(dev, "web")
	left.set(nil, cni.Orphan{Evidence: cni.EvidenceBoot, Device: dev, File: "c0-net1"})
	n.configure(vfs(pfA, 2) + "# 4\n")
	n.status("files removed", returned(3))
	n.hold(dev, "")

	// Turned off, it is another plugin's affair.
	n.configure(vfs(pfA, 2) + "cni: {install: false}\n")
	n.status("off", func(s *status.Status) bool {
		return s.Spec.Hash == spec.Hash([]byte(vfs(pfA, 2)+"cni: {install: false}\n"))
	})
	left.set(nil, dead)
	n.configure(vfs(pfA, 2) + "cni: {install: false}\n# again\n")
	n.status("off again", func(s *status.Status) bool {
		return s.Spec.Hash == spec.Hash([]byte(vfs(pfA, 2)+"cni: {install: false}\n# again\n")) && returned(3)(s)
	})
	if tries, _ := left.did(); tries > 0 {
		t.Error("reclaimed although turned off")
	}
}

// The container runtime's DEL goes first.
func TestOrphansHaveAGrace(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	left := &attachments{}
	n.attachments, n.grace = left, time.Hour
	n.kubelet.Start()
	n.start()
	n.configure(vfs(pfA, 1))
	r := n.healthy(1)
	dev, _, _ := strings.Cut(r.Devices[0], "=")
	left.set(nil, cni.Orphan{Evidence: cni.EvidenceNetns, Device: dev, File: "c1-net1"})
	n.configure(vfs(pfA, 1) + "# 1\n")
	n.status("waits", pending("may still give it back"))
	left.set(nil)
	n.configure(vfs(pfA, 1) + "# 2\n")
	n.status("DEL came", func(s *status.Status) bool { return s.Orphans == nil })
	if tries, _ := left.did(); tries > 0 {
		t.Error("reclaimed within the grace")
	}
}
