package agent_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/talos-sriov/talos-sriov/pkg/agent"
	"github.com/talos-sriov/talos-sriov/pkg/apply"
	"github.com/talos-sriov/talos-sriov/pkg/install"
	"github.com/talos-sriov/talos-sriov/pkg/internal/kubelettest"
	"github.com/talos-sriov/talos-sriov/pkg/internal/modelkernel"
	"github.com/talos-sriov/talos-sriov/pkg/status"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	pfA      = "0000:21:00.0"
	pfB      = "0000:41:00.0"
	resource = "nvidia.com/cx7_qsfp"
	deadline = 20 * time.Second
)

// node is a machine with a model kernel, a stand-in kubelet and the agent.
type node struct {
	t       testing.TB
	dir     string
	kernel  *modelkernel.Kernel
	sysfs   apply.Sysfs // instead of the kernel's, when not nil
	changes *events     // of the running agent
	refuse  int         // how often the kernel refuses the source of events
	kubelet *kubelettest.Kubelet
	boot    string // "" for boot-1
	dev     string // where device nodes are
	config  string
	log     *logBuffer

	mu   sync.Mutex
	held map[string]string // device -> pod, what pod-resources answers
	mute bool              // it does not answer
	cni  install.Options
	// attachments, if set, are reclaimed after grace.
	attachments agent.Attachments
	grace       time.Duration
	absent      time.Duration // 0 for a second, shorter than on a node
	stop        func()
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Ask is the pod-resources socket.
func (n *node) Ask(context.Context) use.Kubelet {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.mute {
		return use.Kubelet{}
	}
	k := use.Kubelet{Answered: true, Since: time.Now().Add(-time.Hour), Held: map[string][]use.Holder{}}
	for dev, pod := range n.held {
		k.Held[dev] = []use.Holder{{Device: dev, Namespace: "default", Pod: pod, Evidence: use.EvidencePodResources}}
	}
	return k
}

// silent makes pod-resources give no answer.
func (n *node) silent(on bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mute = on
}

func (n *node) hold(dev, pod string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if pod == "" {
		delete(n.held, dev)
		return
	}
	n.held[dev] = pod
}

func newNode(t testing.TB) *node {
	t.Helper()
	n := &node{t: t, dir: t.TempDir(), log: &logBuffer{}, held: map[string]string{}}
	n.kernel = modelkernel.New(modelkernel.Standard()...)
	n.addPF(pfA, "enp33s0", 0)
	n.addPF(pfB, "enp65s0", 1)
	root := kubelettest.Dir(t)
	n.kubelet = kubelettest.New(t, root)
	n.config = filepath.Join(n.dir, "overlays", "sriov", "etc-sriov-config.yaml")
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log:\n%s", n.log)
		}
	})
	return n
}

func (n *node) addPF(addr, name string, numa int) {
	n.kernel.AddPF(modelkernel.PF{
		Address: addr, Vendor: "8086", Device: "10c9", VFDevice: "10ca", Driver: "igb",
		Total: 7, Name: name, MAC: "52:54:00:00:00:0" + addr[6:7], NUMA: numa,
	})
}

func (n *node) infoDir() string { return filepath.Join(n.dir, "devinfo", "dp") }
func (n *node) cdiDir() string  { return filepath.Join(n.dir, "cdi") }

// start starts the agent; calling it again is a restart of the service.
func (n *node) start() {
	n.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	changes := &events{refuse: n.refuse}
	n.changes = changes
	n.kernel.OnChange(changes.notify)
	if n.sysfs == nil {
		n.sysfs = n.kernel
	}
	a, err := agent.New(agent.Options{
		Config: n.config, StateDir: filepath.Join(n.dir, "state"), KubeletDir: filepath.Dir(n.kubelet.PluginDir()),
		RunDir:        filepath.Join(filepath.Dir(n.kubelet.PluginDir()), "run"),
		DeviceInfoDir: n.infoDir(), CDIDir: n.cdiDir(), CNI: n.cni, Attachments: n.attachments, OrphanGrace: n.grace,
		Proc: "/proc", Version: "test", Log: slog.New(slog.NewTextHandler(n.log, nil)),
		Dev: n.dev, Sysfs: n.sysfs, Network: n.kernel, Links: n.kernel, Kubelet: n, Events: changes,
		NetworkWait: time.Nanosecond, Absent: cmp.Or(n.absent, time.Second),
	}, cmp.Or(n.boot, "boot-1"))
	if err != nil {
		n.t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	var once sync.Once
	n.stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				n.t.Errorf("Run: %v", err)
			}
		})
	}
	n.t.Cleanup(n.stop)
}

// events passes on the model's changes.
type events struct {
	mu     sync.Mutex
	f      func()
	refuse int
}

func (e *events) notify() {
	e.mu.Lock()
	f := e.f
	e.mu.Unlock()
	if f != nil {
		f()
	}
}

func (e *events) Run(ctx context.Context, changed func()) error {
	e.mu.Lock()
	if e.refuse > 0 {
		e.refuse--
		e.mu.Unlock()
		return errors.New("no buffer space available")
	}
	e.f = changed
	e.mu.Unlock()
	changed()
	<-ctx.Done()
	return nil
}

func (n *node) configure(content string) {
	n.t.Helper()
	if err := os.MkdirAll(filepath.Dir(n.config), 0o755); err != nil {
		n.t.Fatal(err)
	}
	if err := os.WriteFile(n.config, []byte(content), 0o644); err != nil {
		n.t.Fatal(err)
	}
}

func vfs(pf string, count int) string {
	return fmt.Sprintf("apiVersion: v1alpha1\nkind: SRIOVConfig\nphysicalFunctions:\n  - match: {pciAddresses: [%q]}\n    numVFs: %d\n    resourceName: %s\n", pf, count, resource)
}

// status waits until the status file satisfies ok.
func (n *node) status(what string, ok func(*status.Status) bool) *status.Status {
	n.t.Helper()
	path := filepath.Join(n.dir, "state", "status.yaml")
	end := time.Now().Add(deadline)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		s, err := status.Read(path)
		if err != nil {
			n.t.Fatal(err)
		}
		if s != nil && ok(s) {
			return s
		}
		if time.Now().After(end) {
			data, _ := os.ReadFile(path)
			n.t.Fatalf("%s: not within %s; status is:\n%s", what, deadline, data)
		}
		<-tick.C
	}
}

func (n *node) healthy(count int) kubelettest.Resource {
	n.t.Helper()
	return n.kubelet.Wait(resource, fmt.Sprintf("%d healthy devices", count), func(r kubelettest.Resource) bool {
		return r.Connected && len(r.Devices) == count && strings.Count(strings.Join(r.Devices, " "), "=Healthy") == count
	})
}

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
			(status.Names(s.Pools[0].Members[0].Holders) == "pod default/web" || status.Names(s.Pools[0].Members[1].Holders) == "pod default/web")
	})
	n.healthy(2)
}
