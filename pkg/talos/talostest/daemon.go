package talostest

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/renameio/v2"

	"github.com/talos-sriov/talos-sriov/pkg/agent"
	"github.com/talos-sriov/talos-sriov/pkg/internal/kubelettest"
	"github.com/talos-sriov/talos-sriov/pkg/internal/modelkernel"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/state"
	"github.com/talos-sriov/talos-sriov/pkg/status"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// PodResources is a kubelet's socket that answers or not.
type PodResources struct {
	mu    sync.Mutex
	known use.Kubelet
}

// Set says what the socket answers from now on.
func (p *PodResources) Set(k use.Kubelet) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known = k
}

// Ask implements the agent's view of the kubelet.
func (p *PodResources) Ask(context.Context) use.Kubelet {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.known
}

// news makes the agent read the machine again at each change of the model.
type news chan struct{}

func (l news) Run(ctx context.Context, changed func()) error {
	for {
		changed()
		select {
		case <-ctx.Done():
			return nil
		case <-l:
		}
	}
}

// Daemon runs the agent of the extension until the test ends, with the node's files
// as its own, over a model kernel with one PF like that of the 82576 fixture
// (0000:21:00.0). document gives it a document that asks for two healthy VFs, and
// returns when it is followed.
func Daemon(t testing.TB, n *Node, kubelet *PodResources) (document func(string) *status.Status) {
	t.Helper()
	kernel := modelkernel.New(modelkernel.Standard()...)
	kernel.AddPF(modelkernel.PF{
		Address: "0000:21:00.0", Vendor: "8086", Device: "10c9", VFDevice: "10ca", Driver: "igb", Total: 7, Name: "enp33s0", MAC: "52:54:00:aa:00:01",
	})
	registry := kubelettest.New(t, kubelettest.Dir(t))
	registry.Start()
	dir := t.TempDir()
	config := filepath.Join(dir, "sriov", "etc-sriov-config.yaml")
	events := make(news, 1)
	kernel.OnChange(func() {
		select {
		case events <- struct{}{}:
		default:
		}
	})
	stateDir := filepath.Join(n.Files, state.Dir)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	a, err := agent.New(agent.Options{
		Config: config, StateDir: stateDir, KubeletDir: filepath.Dir(registry.PluginDir()),
		RunDir: filepath.Join(filepath.Dir(registry.PluginDir()), "run"), DeviceInfoDir: filepath.Join(dir, "dp"),
		CDIDir: filepath.Join(dir, "cdi"), Proc: "/proc", Version: "test", Log: slog.New(slog.DiscardHandler),
		Sysfs: kernel, Network: kernel, Links: kernel, Kubelet: kubelet, Events: events, NetworkWait: time.Nanosecond,
	}, "b0071d")
	if err != nil {
		t.Fatal(err)
	}
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return func(text string) *status.Status {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(config), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := renameio.WriteFile(config, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return statusOf(t, stateDir, spec.Hash([]byte(text)))
	}
}

// statusOf waits until the daemon has followed the document.
func statusOf(t testing.TB, dir, hash string) *status.Status {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		s, err := status.Read(filepath.Join(dir, state.StatusFile))
		if err != nil {
			t.Fatal(err)
		}
		if s != nil && s.Spec.InForce == hash && len(s.PFs) == 1 && s.PFs[0].State == status.PFReady &&
			len(s.Pools) == 1 && len(s.Pools[0].Members) == 2 && s.Pools[0].Healthy == 2 {
			return s
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the daemon does not follow the document: %+v", s)
		case <-tick.C:
		}
	}
}
