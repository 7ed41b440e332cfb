package agent_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/talos-sriov/talos-sriov/pkg/internal/kubelettest"
	"github.com/talos-sriov/talos-sriov/pkg/internal/modelkernel"
	"github.com/talos-sriov/talos-sriov/pkg/status"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

func TestFromConfigToDevices(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.kubelet.Start()
	n.start()
	n.status("idle without a config", func(s *status.Status) bool { return s.Spec.State == status.SpecAbsent })
	if w := n.kernel.Writes(); len(w) != 0 {
		t.Fatalf("written without a config: %q", w)
	}
	n.configure(vfs(pfA, 4))
	n.healthy(4)
	s := n.status("ready", func(s *status.Status) bool { return len(s.PFs) == 1 && s.PFs[0].State == status.PFReady })
	if s.Spec.State != status.SpecAccepted || s.PFs[0].Actual.NumVFs != 4 || *s.PFs[0].Desired.NumVFs != 4 {
		t.Errorf("status: %+v", s)
	}
	// Growing goes through 0, and the pool follows without a restart.
	n.configure(vfs(pfA, 6))
	n.healthy(6)
	before := len(n.kernel.Writes())
	n.configure(vfs(pfA, 6) + "# same\n")
	n.status("the new config in force", func(x *status.Status) bool { return x.Spec.Hash != s.Spec.Hash && x.Spec.State == status.SpecAccepted })
	if after := n.kernel.Writes(); len(after) != before {
		t.Errorf("a second run on an unchanged machine wrote %q", after[before:])
	}
}

// A config that asks too much of one PF leaves that PF as it was, says why
// with its place, and is in force for the others.
func TestTooManyVFs(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.kubelet.Start()
	n.start()
	n.configure(vfs(pfA, 6))
	n.healthy(6)
	n.configure(vfs(pfA, 9) + "  - match: {pciAddresses: [\"" + pfB + "\"]}\n    numVFs: 2\n    resourceName: example.com/other\n")
	n.kubelet.Wait("example.com/other", "2 devices", func(r kubelettest.Resource) bool { return r.Connected && len(r.Devices) == 2 })
	s := n.status("refused for one PF", func(s *status.Status) bool { return s.Spec.State == status.SpecPartly && len(s.PFs) == 2 })
	pf := s.PFs[0]
	if pf.State != status.PFFailed || pf.Actual.NumVFs != 6 || len(pf.Errors) == 0 || pf.Errors[0].Pos.Line != 4 {
		t.Errorf("PF status: %+v", pf)
	}
	n.healthy(6)
	// The daemon restarts under that config: still 6.
	n.stop()
	n.start()
	n.healthy(6)
	if v := n.kernel.Violations(); len(v) != 0 {
		t.Errorf("violations: %q", v)
	}
}

func TestBadConfigChangesNothing(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.kubelet.Start()
	n.start()
	n.configure(vfs(pfA, 3))
	good := n.status("accepted", func(s *status.Status) bool {
		return s.Spec.State == status.SpecAccepted && len(s.PFs) == 1 && s.PFs[0].State == status.PFReady
	})
	n.healthy(3)
	before := len(n.kernel.Writes())
	for _, bad := range []string{"numVFs: [", "apiVersion: v1alpha1\nkind: SRIOVConfig\nphysicalFunktions: []\n", vfs(pfA, -1)} {
		n.configure(bad)
		s := n.status("refused", func(s *status.Status) bool { return s.Spec.State == status.SpecRefused })
		if s.Spec.InForce != good.Spec.InForce || !s.Spec.LastGood || len(s.Spec.Errors) == 0 || s.Spec.Errors[0].Pos.Line == 0 {
			t.Errorf("spec status: %+v", s.Spec)
		}
		n.configure(vfs(pfA, 3))
		n.status("accepted again", func(s *status.Status) bool { return s.Spec.State == status.SpecAccepted })
	}
	// Restarted under a bad config: the last good one is in force.
	n.configure("nonsense")
	n.stop()
	n.start()
	n.status("refused", func(s *status.Status) bool { return s.Spec.State == status.SpecRefused && s.Spec.LastGood })
	n.healthy(3)
	if after := n.kernel.Writes(); len(after) != before {
		t.Errorf("bad configs caused writes: %q", after[before:])
	}
}

// A change that would take a VF from a pod waits for it, withdraws the free
// ones, and runs when the pod is gone.
func TestChangeWaitsForPods(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.kubelet.Start()
	n.start()
	n.configure(vfs(pfA, 4))
	r := n.healthy(4)
	dev, _, _ := strings.Cut(r.Devices[0], "=")
	n.hold(dev, "holder")
	n.configure(vfs(pfA, 2))
	s := n.status("waiting", func(s *status.Status) bool { return len(s.PFs) == 1 && s.PFs[0].State == status.PFWaiting })
	if got := s.PFs[0].Steps[0].Wait; len(got) != 1 || got[0].Pod != "holder" {
		t.Errorf("waits for %+v, want pod holder", got)
	}
	n.kubelet.Wait(resource, "no device offered", func(r kubelettest.Resource) bool {
		return len(r.Devices) == 4 && strings.Count(strings.Join(r.Devices, " "), "=Unhealthy") == 4
	})
	n.hold(dev, "")
	n.healthy(2)
}

// A force token in the config goes over the pod, once: the next change
// waits again, also in a new process, until another text is written.
func TestConfigForcesOnce(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.kubelet.Start()
	n.start()
	n.configure(vfs(pfA, 4))
	r := n.healthy(4)
	dev, _, _ := strings.Cut(r.Devices[0], "=")
	n.hold(dev, "holder")
	forced := func(count int, token string) string {
		return strings.Replace(vfs(pfA, count), "    numVFs:", "    force: "+token+"\n    numVFs:", 1)
	}
	n.configure(forced(3, "2026-11-21"))
	n.healthy(3)
	n.status("recorded", func(*status.Status) bool { return strings.Contains(n.log.String(), "force token carried out") })
	if got := n.log.String(); !strings.Contains(got, "forced by the operator, over its holders") || !strings.Contains(got, "default/holder") {
		t.Errorf("the log does not say over whom it was forced:\n%s", got)
	}

	waits := func(what string) {
		t.Helper()
		n.status(what, func(s *status.Status) bool { return len(s.PFs) == 1 && s.PFs[0].State == status.PFWaiting })
	}
	n.configure(forced(2, "2026-11-21"))
	waits("an old token is none")
	n.stop()
	n.start()
	waits("nor is it one in a new process")
	n.configure(forced(2, "2026-11-21-b"))
	n.healthy(2)
}

func TestFailedWriteIsRetriedWithPauses(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	var mu sync.Mutex
	tries := 0
	n.kernel.Faults(func(name, value string) modelkernel.Fault {
		if !strings.HasSuffix(name, "sriov_numvfs") || value == "0" {
			return modelkernel.Fault{}
		}
		mu.Lock()
		defer mu.Unlock()
		if tries++; tries <= 2 {
			return modelkernel.Fault{Errno: 5}
		}
		return modelkernel.Fault{}
	})
	n.kubelet.Start()
	n.start()
	n.configure(vfs(pfA, 4))
	s := n.status("failed", func(s *status.Status) bool { return len(s.PFs) == 1 && s.PFs[0].State == status.PFFailed })
	if e := s.PFs[0].Errors[0]; !strings.Contains(e.Msg, "sriov_numvfs") || e.Hint == "" {
		t.Errorf("error: %+v", e)
	}
	n.healthy(4)
	mu.Lock()
	defer mu.Unlock()
	if tries != 3 {
		t.Errorf("%d writes, want 3", tries)
	}
}

// A VF whose interface is in a namespace that no pod is known for is not offered,
// and the status says so; nobody gets a device that is not there.
func TestMissingInterface(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.kubelet.Start()
	n.start()
	n.configure(vfs(pfA, 2))
	r := n.healthy(2)
	missing, _, _ := strings.Cut(r.Devices[0], "=")
	n.kernel.Hold(missing, "nobody")
	s := n.status("the VF without an interface", func(s *status.Status) bool {
		return len(s.PFs) == 1 && s.PFs[0].State == status.PFPending && len(s.PFs[0].Errors) > 0
	})
	if e := s.PFs[0].Errors; len(e) != 1 || len(e[0].VFs) != 1 || !e[0].Pending {
		t.Errorf("problems: %+v", e)
	}
	n.kubelet.Wait(resource, "one device offered", func(r kubelettest.Resource) bool {
		return strings.Count(strings.Join(r.Devices, " "), "=Healthy") == 1
	})
	n.kernel.Release(missing)
	n.healthy(2)
	// The same with a pod that the kubelet knows is how it should be.
	n.hold(missing, "web")
	n.kernel.Hold(missing, "web")
	n.status("held", func(s *status.Status) bool {
		return len(s.Pools) == 1 && s.PFs[0].State == status.PFReady &&
			(use.Names(s.Pools[0].Members[0].Holders) == "pod default/web" || use.Names(s.Pools[0].Members[1].Holders) == "pod default/web")
	})
	n.healthy(2)
}

// The message about a change by somebody else names what they changed, not what is
// written first to repair it.
func TestMessageNamesWhatWasChanged(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.kubelet.Start()
	n.start()
	// Autoprobe is off while VFs are made of which one is for no driver.
	n.configure(vfs(pfA, 3) + "    virtualFunctions:\n      - indexes: 0\n        driver: none\n")
	ready := func(s *status.Status) bool { return len(s.PFs) == 1 && s.PFs[0].State == status.PFReady }
	n.status("ready", ready)
	if err := n.kernel.Write("bus/pci/devices/"+pfA+"/sriov_numvfs", "0"); err != nil {
		t.Fatal(err)
	}
	n.status("repaired", func(s *status.Status) bool { return ready(s) && s.PFs[0].Drift == 1 })
	for line := range strings.Lines(n.log.String()) {
		if strings.Contains(line, "changed by somebody else") && !strings.Contains(line, "sriov_numvfs found=0 want=3") {
			t.Error(line)
		}
	}
}
