package agent_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/talos-sriov/talos-sriov/pkg/internal/modelkernel"
	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/status"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// waitsFor reports whether the PF waits for a holder that the text describes.
func waitsFor(text string) func(*status.Status) bool {
	return func(s *status.Status) bool {
		if len(s.PFs) != 1 || s.PFs[0].State != status.PFWaiting {
			return false
		}
		for _, step := range s.PFs[0].Steps {
			if strings.Contains(use.Names(step.Wait), text) {
				return true
			}
		}
		return false
	}
}

func ready(vfs int) func(*status.Status) bool {
	return func(s *status.Status) bool {
		return len(s.PFs) == 1 && s.PFs[0].State == status.PFReady && s.PFs[0].Actual.NumVFs == vfs
	}
}

// taken reports whether the VFs were ever taken away.
func (n *node) taken() bool {
	return slices.Contains(n.kernel.Writes(), "bus/pci/devices/"+pfA+"/sriov_numvfs=0")
}

func unhealthyFor(text string) func(*status.Status) bool {
	return func(s *status.Status) bool {
		return len(s.Pools) == 1 && len(s.Pools[0].Members) > 0 && strings.Contains(s.Pools[0].Members[0].Reason.Text, text)
	}
}

// A VF below the host's bond is not given to pods, and a change of the number of
// VFs waits until the host has let it go.
func TestHostsOwnVFIsLeftAlone(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.kubelet.Start()
	n.start()
	n.configure(vfs(pfA, 2))
	n.healthy(2)
	n.status("ready", ready(2))
	n.kernel.AddLink("bond0", "bond", "")
	n.kernel.SetDefaultRoute("bond0")
	n.kernel.SetMaster("enp33s0v0", "bond0")
	n.status("the pool says why", unhealthyFor("is below bond0 (bond), which carries the IPv4 default route"))
	n.configure(vfs(pfA, 3))
	n.status("the change waits for the host", waitsFor("the host"))
	if n.taken() {
		t.Error("the VF that carries the host's network was taken away")
	}
	n.kernel.SetMaster("enp33s0v0", "")
	n.status("the change goes on", ready(3))
	n.healthy(3)
}

// While netlink does not list the host's addresses, no VF with an interface is
// free and none is given out; it is asked again without any event.
func TestUnlistedHostNetworkFreesNothing(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.kubelet.Start()
	n.start()
	n.configure(vfs(pfA, 2))
	n.healthy(2)
	n.status("ready", ready(2))
	n.kernel.FailNetwork(func(what string) error {
		if what == modelkernel.AskAddrs {
			return errors.New("no buffer space available")
		}
		return nil
	})
	n.status("the pool says why", unhealthyFor("addresses: no buffer space available"))
	n.configure(vfs(pfA, 3))
	n.status("nothing is taken for free", func(s *status.Status) bool {
		return len(s.PFs) == 1 && *s.PFs[0].Desired.NumVFs == 3 && s.PFs[0].State != status.PFReady && s.PFs[0].Actual.NumVFs == 2
	})
	if n.taken() {
		t.Error("VFs were taken away, and nobody knows whether the host uses them")
	}
	n.kernel.OnChange(nil) // the end of the failure is no event
	n.kernel.FailNetwork(nil)
	n.status("the change goes on", ready(3))
}

// A vfio group that cannot be opened counts as open: the step that takes the VF
// away waits, and goes on when the group can be asked.
func TestUnaskedVFIOGroupHoldsTheStep(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.dev = t.TempDir()
	if err := os.Mkdir(filepath.Join(n.dev, "vfio"), 0o755); err != nil {
		t.Fatal(err)
	}
	doc := func(count int) string {
		return vfs(pfA, count) + fmt.Sprintf("    virtualFunctions: [{indexes: \"0-%d\", driver: vfio-pci}]\n", count-1)
	}
	n.kubelet.Start()
	n.start()
	n.configure(doc(2))
	n.status("ready", ready(2))
	n.configure(doc(3))
	n.status("the change waits for an answer", waitsFor("cannot be asked"))
	if n.taken() {
		t.Error("VFs whose group could not be asked were taken away")
	}
	snap, err := inventory.Read(t.Context(), n.kernel, n.kernel)
	if err != nil {
		t.Fatal(err)
	}
	for _, vf := range snap.PF(pfA).VFs {
		if err := os.Symlink("/dev/null", filepath.Join(n.dev, "vfio", fmt.Sprint(vf.IOMMUGroup))); err != nil {
			t.Fatal(err)
		}
	}
	n.status("the change goes on", ready(3))
}
