package e2e

import (
	"regexp"
	"strings"
	"testing"
	"time"

	lab "github.com/talos-sriov/talos-sriov/test/lab"
)

// Without a document the service idles; one that comes later needs no restart.
func TestDocumentComesLater(t *testing.T) {
	n := node(t)
	before := n.daemon()
	if before.State != "Running" || n.numVFs(pfA)+n.numVFs(pfB) != 0 {
		t.Fatalf("without a document: service %+v, %d and %d VFs", before, n.numVFs(pfA), n.numVFs(pfB))
	}
	n.document(vfs(pfA, 4))
	n.allocatable(4)
	if after := n.daemon(); after.PID != before.PID || after.Starts != before.Starts {
		t.Errorf("the service was restarted: %+v, was %+v", after, before)
	}
}

// 4, then 6, then 9 of 7: the last is refused, with its place, and 6 stay.
func TestDocumentChanges(t *testing.T) {
	n := node(t)
	before := n.daemon()
	n.document(vfs(pfA, 4))
	n.allocatable(4)
	n.document(vfs(pfA, 6))
	n.allocatable(6)

	n.document(vfs(pfA, 9))
	s := n.status("9 VFs refused", func(s status) bool { return len(s.PFs) == 1 && s.PFs[0].State == "failed" })
	p := s.PFs[0].Problems[0]
	if !strings.Contains(p.Msg, "9") || !strings.Contains(p.Msg, "7") || p.Pos.Line != 4 || p.Pos.Column == 0 {
		t.Errorf("problem %+v, want both numbers and the place of the entry", p)
	}
	n.document("apiVersion: v1alpha1\nkind: SRIOVConfig\nphysicalFunktions: []")
	s = n.status("an unknown key refused", func(s status) bool { return s.Spec.State == "refused" })
	if len(s.Spec.Errors) != 1 || s.Spec.Errors[0].Pos.Line != 3 || !s.Spec.LastGood {
		t.Errorf("spec status %+v", s.Spec)
	}
	n.allocatable(6)
	if got := n.numVFs(pfA); got != 6 {
		t.Errorf("sriov_numvfs is %d, want 6", got)
	}
	if after := n.daemon(); after.PID != before.PID {
		t.Errorf("the service was restarted: %+v, was %+v", after, before)
	}
}

// How long a restart may leave the kubelet without healthy devices: the goal on
// hardware, and where a gross loss begins under emulation, in which the
// container runtime alone takes most of a second to replace the container.
const gapGoal, gapLimit = time.Second, 5 * time.Second

// Lines of the kubelet's log: the plugin is gone, the devices are there. The
// time is of the day.
var (
	gapBegin = regexp.MustCompile(`(?m)^I\d+ (\S+) .*Mark all resources Unhealthy for resource.*` + resource)
	gapEnd   = regexp.MustCompile(`(?m)^I\d+ (\S+) .*Processed device updates for resource.*` + resource + `.*healthyCount=4`)
)

// checkGap asserts, by the kubelet's own log from the offset on, for how long it
// had no healthy device.
func (n *node_) checkGap(offset int) {
	n.t.Helper()
	log, err := n.Service("kubelet").Log(n.ctx())
	n.must(err)
	begin, end := gapBegin.FindStringSubmatch(log[offset:]), gapEnd.FindAllStringSubmatch(log[offset:], -1)
	if begin == nil || end == nil {
		n.t.Fatalf("the kubelet's log does not have both ends of the gap: %q, %q\n%s", begin, end, log[offset:])
	}
	clock := func(s string) time.Time {
		at, err := time.Parse("15:04:05.000000", s)
		n.must(err)
		return at
	}
	for _, e := range end {
		if gap := clock(e[1]).Sub(clock(begin[1])); gap >= 0 {
			n.t.Logf("the kubelet had no healthy device for %v, of which the container runtime took %v to replace the container (goal on hardware %v)",
				gap, n.replaced(), gapGoal)
			if gap > gapLimit {
				n.t.Errorf("the gap in allocatable is %v, limit %v", gap, gapLimit)
			}
			return
		}
	}
	n.t.Errorf("no healthy device after the gap began: %q, %q", begin, end)
}

// replaced is the time from the end of the extension's last but one container to
// the start of its last.
func (n *node_) replaced() time.Duration {
	n.t.Helper()
	events, err := n.BootEvents(n.ctx())
	n.must(err)
	var stopped, took float64
	for _, e := range events {
		switch e.Name {
		case "extension-stopped":
			stopped = e.Mono
		case "extension-started":
			took = e.Mono - stopped
		}
	}
	return time.Duration(took * float64(time.Second)).Round(time.Millisecond)
}

// Talos restarts the service when a document changes. That must be as good.
func TestDocumentChangesAsTalosDoes(t *testing.T) {
	n := node(t)
	n.must(n.SetDocument(n.ctx(), lab.Talos, patch(vfs(pfA, 4))))
	n.allocatable(4)
	n.pod("holder", 1)
	n.running("holder")
	vf := n.env("holder", env)
	before := n.daemon()
	kubelet, err := n.Service("kubelet").Log(n.ctx())
	n.must(err)
	n.must(n.SetDocument(n.ctx(), lab.Talos, patch(vfs(pfA, 4)+"\n  - match: {pciAddresses: [\""+pfB+"\"]}\n    numVFs: 2\n    resourceName: example.com/other")))
	n.must(n.WaitAllocatable(n.ctx(), "example.com/other", 2))
	n.allocatable(4)
	n.checkGap(len(kubelet))
	if after := n.daemon(); after.Starts == before.Starts {
		t.Errorf("the lab did not restart the service as Talos does: %+v", after)
	}
	n.checkVF(vf, pfA)
	if p := n.running("holder"); p.Status.Containers[0].RestartCount != 0 {
		t.Errorf("the pod was restarted %d times", p.Status.Containers[0].RestartCount)
	}
}
