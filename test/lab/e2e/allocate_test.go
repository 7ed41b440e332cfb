package e2e

import (
	"strings"
	"testing"

	lab "github.com/talos-sriov/talos-sriov/test/lab"
)

// The thin path: a document, 4 VFs, allocatable 4, a pod that has one.
func TestDocumentToPod(t *testing.T) {
	n := node(t)
	n.document(vfs(pfA, 4))
	n.allocatable(4)
	if got := n.numVFs(pfA); got != 4 {
		t.Errorf("sriov_numvfs of %s is %d, want 4", pfA, got)
	}
	if got := n.numVFs(pfB); got != 0 {
		t.Errorf("sriov_numvfs of %s, which the config does not name, is %d", pfB, got)
	}

	n.pod("one", 1)
	n.pod("five", 5)
	n.running("one")
	vf := n.env("one", env)
	n.checkVF(vf, pfA)
	n.checkInfo("one", vf)

	p, err := n.WaitPod(n.ctx(), "five", "unschedulable", func(p lab.Pod) bool { return p.Unschedulable() != "" })
	n.must(err)
	if why := p.Unschedulable(); p.Status.Phase != "Pending" || !strings.Contains(why, "Insufficient "+resource) {
		t.Errorf("the pod that asks for 5 is %s: %s", p.Status.Phase, why)
	}
}

// A change that would take a VF from a pod waits for the pod, and says so.
func TestShrinkWaitsForThePod(t *testing.T) {
	n := node(t)
	n.document(vfs(pfA, 4) + `
  - match: {pciAddresses: ["` + pfB + `"]}
    numVFs: 1
    resourceName: example.com/other`)
	n.allocatable(4)
	n.pod("holder", 1)
	n.running("holder")
	vf := n.env("holder", env)

	n.document(vfs(pfA, 2) + `
  - match: {pciAddresses: ["` + pfB + `"]}
    numVFs: 3
    resourceName: example.com/other`)
	s := n.status("waiting for the pod", func(s status) bool { return len(s.PFs) == 2 && s.PFs[0].State == "waiting" })
	named := false
	for _, step := range s.PFs[0].Steps {
		for _, w := range step.Wait {
			named = named || (w.Namespace == "default" && w.Pod == "holder")
		}
	}
	if !named {
		t.Errorf("no step names pod default/holder: %+v", s.PFs[0].Steps)
	}
	// The other PF is not held up.
	n.must(n.WaitAllocatable(n.ctx(), "example.com/other", 3))
	// Nobody gets the VFs that are about to go; the pod keeps its own.
	n.allocatable(0)
	n.checkVF(vf, pfA)
	if got := n.numVFs(pfA); got != 4 {
		t.Fatalf("sriov_numvfs is %d while a pod holds a VF, want 4", got)
	}
	n.must(n.DeletePods(n.ctx()))
	n.allocatable(2)
	if got := n.numVFs(pfA); got != 2 {
		t.Errorf("sriov_numvfs is %d, want 2", got)
	}
}
