package agent_test

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/talos-sriov/talos-sriov/pkg/internal/kubelettest"
	"github.com/talos-sriov/talos-sriov/pkg/internal/modelkernel"
	"github.com/talos-sriov/talos-sriov/pkg/status"
)

// guarded waits until the PF is pending for the reason, and checks that nothing was
// written.
func (n *node) guarded(text string) {
	n.t.Helper()
	n.status("pending: "+text, func(s *status.Status) bool {
		return len(s.PFs) == 1 && s.PFs[0].State == status.PFPending &&
			slices.ContainsFunc(s.PFs[0].Errors, func(p status.Problem) bool { return strings.Contains(p.Msg, text) })
	})
	if w := n.kernel.Writes(); len(w) > 0 {
		n.t.Errorf("written on a PF that may carry the machine's network: %q", w)
	}
}

// TestNothingIsDoneWithoutAnswers: while the kernel does not answer, the node's only
// uplink is left alone whatever the clock says, and so is a PF that is none; when it
// answers, the one is refused and the other gets its VFs.
func TestNothingIsDoneWithoutAnswers(t *testing.T) {
	t.Parallel()
	for _, what := range []string{modelkernel.AskLinks, modelkernel.AskAddrs, modelkernel.AskRoutes} {
		t.Run(what, func(t *testing.T) {
			n := newNode(t)
			n.kubelet.Start()
			n.kernel.FailNetwork(func(asked string) error {
				if asked == what {
					return unix.ENOBUFS
				}
				return nil
			})
			n.configure(vfs(pfA, 4))
			n.start()
			n.guarded("no buffer space available")
			n.kernel.FailNetwork(nil)
			n.healthy(4)
		})
	}
}

// TestPortWithoutLinkWaits: a default route by another interface says nothing about
// a port that is not plugged in.
func TestPortWithoutLinkWaits(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.kubelet.Start()
	n.kernel.SetAddrs("enp65s0", "10.0.0.5/24")
	n.kernel.SetDefaultRoute("enp65s0")
	n.kernel.Plug(pfA, false)
	n.configure(vfs(pfA, 4))
	n.start()
	n.guarded("enp33s0 has no link")
	n.kernel.Plug(pfA, true)
	n.healthy(4)
	n.stop()

	// What was seen is recorded: the same config needs no link at the next boot.
	n.boot = "boot-2"
	n.kernel.Plug(pfA, false)
	if err := n.kernel.Write("bus/pci/devices/"+pfA+"/sriov_numvfs", "0"); err != nil {
		t.Fatal(err)
	}
	n.start()
	n.kubelet.Wait(resource, "4 devices", func(r kubelettest.Resource) bool { return r.Connected && len(r.Devices) == 4 })
}
