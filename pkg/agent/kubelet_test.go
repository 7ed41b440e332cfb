package agent_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"github.com/talos-sriov/talos-sriov/pkg/internal/kubelettest"
	"github.com/talos-sriov/talos-sriov/pkg/ledger"
	"github.com/talos-sriov/talos-sriov/pkg/pool"
	"github.com/talos-sriov/talos-sriov/pkg/status"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// The config renames a resource while a pod has one of its devices. The kubelet
// takes that device for free under the new name: it is not given out until the pod has
// ended, and the pod keeps it.
func TestDeviceUnderAnotherResourceName(t *testing.T) {
	t.Parallel()
	const renamed = "example.com/renamed"
	n := newNode(t)
	n.as = resource
	n.kubelet.Start()
	n.start()
	n.configure(vfs(pfA, 2))
	dev := first(n.healthy(2))
	n.hold(dev, "web")
	before := len(n.kernel.Writes())
	n.configure(strings.Replace(vfs(pfA, 2), resource, renamed, 1))
	n.kubelet.Wait(renamed, "the pod's device unhealthy, the other one healthy", func(r kubelettest.Resource) bool {
		list := strings.Join(r.Devices, " ")
		return r.Connected && len(r.Devices) == 2 && strings.Contains(list, dev+"=Unhealthy") && strings.Count(list, "=Healthy") == 1
	})
	s := n.status("the reason", func(s *status.Status) bool {
		return slices.ContainsFunc(s.Pools, func(p status.Pool) bool {
			return p.ResourceName == renamed && slices.ContainsFunc(p.Members, func(d status.Device) bool {
				return d.ID == dev && !d.Healthy && d.Reason.Cause == string(pool.CauseHeldElsewhere) && strings.Contains(d.Reason.Text, "pod default/web")
			})
		})
	})
	if pf := s.PFs[0]; pf.State != status.PFReady || pf.Actual.NumVFs != 2 {
		t.Errorf("the PF is %+v", pf)
	}
	_, err := n.kubelet.Client(renamed).Allocate(t.Context(), &v1beta1.AllocateRequest{
		ContainerRequests: []*v1beta1.ContainerAllocateRequest{{DevicesIds: []string{dev}}},
	})
	if err == nil || !strings.Contains(err.Error(), dev) || !strings.Contains(err.Error(), resource) {
		t.Errorf("allocated to a second pod: %v", err)
	}
	if w := n.kernel.Writes()[before:]; len(w) > 0 {
		t.Errorf("the pod's PF was written to: %q", w)
	}
	n.hold(dev, "") // as by vfio: there is no event
	n.kubelet.Wait(renamed, "both devices healthy", func(r kubelettest.Resource) bool {
		return strings.Count(strings.Join(r.Devices, " "), "=Healthy") == 2
	})
}

// A kubelet that registered us is there, whatever its socket for questions says: its
// silence does not free a device.
func TestRegisteredKubeletThatIsSilent(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.silent(true)
	n.kubelet.Start()
	n.start()
	n.configure(vfs(pfA, 4))
	n.healthy(4)
	before := len(n.kernel.Writes())
	n.configure(vfs(pfA, 2))
	s := n.status("waits for an answer", func(s *status.Status) bool { return len(s.PFs) == 1 && s.PFs[0].State == status.PFWaiting })
	for _, h := range s.PFs[0].Steps[0].Wait {
		if h.Evidence != use.EvidenceNone {
			t.Errorf("waits for %+v, want for nobody that is known", h)
		}
	}
	if w := n.kernel.Writes()[before:]; len(w) > 0 {
		t.Errorf("written: %q", w)
	}
	// Nor does a new process of ours take the silence for an answer.
	n.stop()
	n.start()
	n.status("waits for an answer", func(s *status.Status) bool { return len(s.PFs) == 1 && s.PFs[0].State == status.PFWaiting })
	n.silent(false)
	n.healthy(2)
}

// Without a kubelet during this boot nobody has a device.
func TestNoKubeletDuringThisBoot(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.silent(true)
	n.start()
	for _, count := range []int{4, 2} {
		n.configure(vfs(pfA, count))
		n.status("ready", func(s *status.Status) bool {
			return len(s.PFs) == 1 && s.PFs[0].State == status.PFReady && s.PFs[0].Actual.NumVFs == count
		})
	}
}

// books waits until what is kept on the disk satisfies ok.
func (n *node) books(what string, ok func(ledger.Books) bool) ledger.Books {
	n.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(deadline); ; <-tick.C {
		var b ledger.Books
		data, err := os.ReadFile(filepath.Join(n.dir, "state", "allocations.json"))
		if err == nil {
			err = json.Unmarshal(data, &b)
		}
		if err == nil && ok(b) {
			return b
		}
		if time.Now().After(end) {
			n.t.Fatalf("%s: not within %s; %v, the books are\n%s", what, deadline, err, data)
		}
	}
}

// The service is started again beside a kubelet that stays: it has had the time to have
// its pods back, whatever we have, so what it does not list nobody has. One that is new
// has to have that time first.
func TestServiceRestartKnowsTheKubelet(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.id = "kubelet-1"
	n.kubelet.Start()
	n.start()
	n.configure(vfs(pfA, 2))
	dev := first(n.healthy(2))
	has := func(given ...string) func(ledger.Books) bool {
		return func(b ledger.Books) bool {
			return slices.Equal(b.Given, given) && b.Kubelet != nil && b.Kubelet.ID == n.id
		}
	}
	n.hold(dev, "web")
	n.configure(vfs(pfA, 2) + "# a pod came\n")
	was := n.books("the pod's device", has(dev))
	n.stop()
	n.hold(dev, "")
	n.up = time.Second // by what the new process has seen
	n.start()
	now := n.books("free", has())
	if now.Kubelet.ID != was.Kubelet.ID || !now.Kubelet.Since.Equal(was.Kubelet.Since) {
		t.Errorf("the kubelet was %+v, and after our restart %+v", was.Kubelet, now.Kubelet)
	}
	n.hold(dev, "web")
	n.configure(vfs(pfA, 2) + "# again\n")
	n.books("the pod's device", has(dev))
	n.stop()
	n.hold(dev, "")
	n.id = "kubelet-2"
	n.start()
	if b := n.books("the new kubelet", func(b ledger.Books) bool { return b.Kubelet != nil && b.Kubelet.ID == n.id }); !slices.Equal(b.Given, []string{dev}) {
		t.Errorf("a kubelet that has just come up freed the device: %+v", b)
	}
}
