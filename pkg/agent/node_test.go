package agent_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
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
	as   string            // under which resource name pods have their devices, "" for not known
	id   string            // which process answers, "" for not known
	up   time.Duration     // for how long it has answered us, 0 for an hour
	asks int
	cni  install.Options
	// hangs, if set, is called for each question to pod-resources.
	hangs func(asks int)
	// options, if set, changes the agent's.
	options func(*agent.Options)
	// attachments, if set, are reclaimed after grace.
	attachments agent.Attachments
	grace       time.Duration
	absent      time.Duration // 0 for a second, shorter than on a node
	stop        func()
	ended       chan error // cap 1: how the running agent ended
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
	n.asks++
	hangs, asks := n.hangs, n.asks
	n.mu.Unlock()
	if hangs != nil {
		hangs(asks)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.mute {
		return use.Kubelet{}
	}
	k := use.Kubelet{Answered: true, ID: n.id, Since: time.Now().Add(-cmp.Or(n.up, time.Hour)), Held: map[string][]use.Holder{}}
	for dev, pod := range n.held {
		k.Held[dev] = []use.Holder{{Device: dev, Namespace: "default", Pod: pod, Resource: n.as, Evidence: use.EvidencePodResources}}
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
	opts := agent.Options{
		Config: n.config, StateDir: filepath.Join(n.dir, "state"), KubeletDir: filepath.Dir(n.kubelet.PluginDir()),
		RunDir:        filepath.Join(filepath.Dir(n.kubelet.PluginDir()), "run"),
		DeviceInfoDir: n.infoDir(), CDIDir: n.cdiDir(), CNI: n.cni, Attachments: n.attachments, OrphanGrace: n.grace,
		Proc: "/proc", Version: "test", Log: slog.New(slog.NewTextHandler(n.log, nil)),
		Dev: n.dev, Sysfs: n.sysfs, Network: n.kernel, Links: n.kernel, Kubelet: n, Events: changes,
		NetworkWait: time.Nanosecond, Absent: cmp.Or(n.absent, time.Second),
	}
	if n.options != nil {
		n.options(&opts)
	}
	a, err := agent.New(opts, cmp.Or(n.boot, "boot-1"))
	if err != nil {
		n.t.Fatal(err)
	}
	done := make(chan error, 1)
	n.ended = done
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
	var (
		s    *status.Status
		seen []byte // what s was read from: most often there is nothing new
	)
	for {
		data, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			n.t.Fatal(err)
		}
		if err != nil {
			s, seen = nil, nil
		} else if s == nil || !bytes.Equal(data, seen) {
			if s, err = status.Decode(data); err != nil {
				n.t.Fatal(err)
			}
			seen = data
		}
		if s != nil && ok(s) {
			return s
		}
		if time.Now().After(end) {
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
