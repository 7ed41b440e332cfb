package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// After each restart of the kubelet the resource comes back without help.
func TestKubeletRestarts(t *testing.T) {
	n := node(t)
	n.document(vfs(pfA, 4))
	n.allocatable(4)
	pid := n.daemon().PID
	for i := range 5 {
		log, err := n.Service(ext).Log(n.ctx())
		n.must(err)
		start := time.Now()
		n.must(n.Service("kubelet").Restart(n.ctx()))
		n.must(n.WaitFor(n.ctx(), "wait for the registration", func(ctx context.Context) (bool, error) {
			now, err := n.Service(ext).Log(ctx)
			return strings.Count(now, "registered with the kubelet") > strings.Count(log, "registered with the kubelet"), err
		}))
		registered := since(start)
		n.allocatable(4)
		t.Logf("restart %d: registered %v after the restart was asked for, allocatable 4 after %v", i+1, registered, since(start))
	}
	n.pod("after", 1)
	n.running("after")
	if got := n.daemon().PID; got != pid {
		t.Errorf("the daemon has pid %d, had %d", got, pid)
	}
}

// Killed at any moment while VFs are made, it ends in the same state.
func TestKilledDuringCreation(t *testing.T) {
	const kills = 10
	n := node(t)
	for i := range kills {
		n.run("echo 0 >/sys/bus/pci/devices/" + pfA + "/sriov_numvfs; echo 0 >/sys/bus/pci/devices/" + pfB + "/sriov_numvfs")
		n.document(vfs(pfA, 7) + fmt.Sprintf("\n  - match: {pciAddresses: [%q]}\n    numVFs: 7\n    resourceName: example.com/other\n# %d", pfB, i))
		delay := time.Duration(rand.IntN(1500)) * time.Millisecond
		timer := time.NewTimer(delay)
		select {
		case <-timer.C:
		case <-n.ctx().Done():
			t.Fatal(n.ctx().Err())
		}
		n.must(n.Service(ext).Kill(n.ctx()))
		n.status("all as if undisturbed", func(s status) bool {
			return s.Spec.State == "accepted" && len(s.PFs) == 2 && s.PFs[0].State == "ready" && s.PFs[1].State == "ready" &&
				len(s.Pools) == 2 && s.Pools[0].Healthy == 7 && s.Pools[1].Healthy == 7
		})
		if a, b := n.numVFs(pfA), n.numVFs(pfB); a != 7 || b != 7 {
			t.Fatalf("killed after %v: %d and %d VFs, want 7 and 7", delay, a, b)
		}
		t.Logf("kill %d, %v after the config", i+1, delay)
		if i == kills-1 {
			n.allocatable(7) // to the kubelet nothing happened either
			return
		}
		n.remove()
		n.status("without a document", func(s status) bool { return s.Spec.State == "absent" })
	}
}
