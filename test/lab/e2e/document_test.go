package e2e

import (
	"regexp"
	"strings"
	"testing"
	"time"
)

// The first document comes when the node runs; it is changed, broken, removed and comes
// back, each time by talosctl. Only a change restarts the service.
func TestDocumentLife(t *testing.T) {
	n := restored(t)
	before := n.daemon()
	if before.State != "Running" || n.numVFs(pfA)+n.numVFs(pfB) != 0 {
		t.Fatalf("without a document: service %+v, %d and %d VFs", before, n.numVFs(pfA), n.numVFs(pfB))
	}
	n.document(vfs(pfA, 4))
	n.allocatable(4)
	if now := n.daemon(); now.PID != before.PID {
		t.Errorf("the first document restarted the service: %+v, was %+v", now, before)
	}
	// udev loads the VFs' driver a second or two after they are made: nobody has to act.
	log, err := n.Service(ext).Log(n.ctx())
	n.must(err)
	if strings.Contains(log, "problem pending") {
		t.Errorf("the log has what was over by itself:\n%s", log)
	}

	n.document(vfs(pfA, 2))
	n.allocatable(2)
	n.waitVFs(pfA, 2) // the kubelet has the list of the VFs that stay before the others go
	if now := n.daemon(); now.PID == before.PID {
		t.Errorf("the change did not restart the service: %+v", now)
	}

	// What the card cannot, and what is no config, are refused with their place.
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
	n.allocatable(2)
	if got := n.numVFs(pfA); got != 2 {
		t.Errorf("sriov_numvfs is %d, want the 2 of before", got)
	}

	// Without its config the extension reclaims what it made.
	n.remove()
	n.status("no config", func(s status) bool { return s.Spec.State == "absent" })
	n.waitVFs(pfA, 0)
	n.document(vfs(pfA, 3))
	n.allocatable(3)
}

// How long a restart over a change may leave the kubelet without healthy devices: the
// goal on hardware, and where a gross loss begins under emulation, in which Talos takes
// seconds to replace the container.
const gapGoal, gapLimit = time.Second, 20 * time.Second

// What the extension logs at its end, at its start, and when the kubelet has its pool.
var (
	gapBegin = regexp.MustCompile(`time=(\S+) level=INFO msg=stopped`)
	gapStart = regexp.MustCompile(`time=(\S+) level=INFO msg=started`)
	gapEnd   = regexp.MustCompile(`time=(\S+) level=INFO msg="registered with the kubelet" .*resource=` + resource)
)

// checkGap prints and bounds, by the extension's log from the offset on, for how long no
// process of it was there for the kubelet.
func (n *node_) checkGap(offset int) {
	n.t.Helper()
	log, err := n.Service(ext).Log(n.ctx())
	n.must(err)
	log = log[offset:]
	at := func(re *regexp.Regexp) time.Time {
		n.t.Helper()
		m := re.FindStringSubmatchIndex(log)
		if m == nil {
			n.t.Fatalf("the log has no %s:\n%s", re, log)
		}
		when, err := time.Parse(time.RFC3339Nano, log[m[2]:m[3]])
		n.must(err)
		log = log[m[1]:]
		return when
	}
	begin, start, end := at(gapBegin), at(gapStart), at(gapEnd)
	n.t.Logf("the kubelet had no healthy device for %v, of which Talos took %v to replace the container (goal on hardware %v)",
		end.Sub(begin), start.Sub(begin), gapGoal)
	if gap := end.Sub(begin); gap > gapLimit {
		n.t.Errorf("the gap is %v, limit %v", gap, gapLimit)
	}
}

// A change that restarts the service leaves pods their VFs, and the kubelet its
// devices but for a moment.
func TestDocumentChangesUnderPods(t *testing.T) {
	n := node(t)
	n.document(vfs(pfA, 4))
	n.allocatable(4)
	n.pod("holder", 1)
	n.running("holder")
	vf := n.env("holder", env)
	log, err := n.Service(ext).Log(n.ctx())
	n.must(err)
	n.document(vfs(pfA, 4) + "\n  - match: {pciAddresses: [\"" + pfB + "\"]}\n    numVFs: 2\n    resourceName: example.com/other")
	n.must(n.WaitAllocatable(n.ctx(), "example.com/other", 2))
	n.allocatable(4)
	n.checkGap(len(log))
	n.checkVF(vf, pfA)
	if p := n.running("holder"); p.Status.Containers[0].RestartCount != 0 {
		t.Errorf("the pod was restarted %d times", p.Status.Containers[0].RestartCount)
	}
}
