package talostest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"

	"github.com/talos-sriov/talos-sriov/pkg/agent"
	"github.com/talos-sriov/talos-sriov/pkg/internal/kubelettest"
	"github.com/talos-sriov/talos-sriov/pkg/internal/modelkernel"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/state"
	"github.com/talos-sriov/talos-sriov/pkg/status"
	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
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

// Rig is a daemon that runs over a model kernel, with a node's files as its own.
type Rig struct {
	// Kernel is the machine: one PF like that of the 82576 fixture
	// (0000:21:00.0, enp33s0).
	Kernel *modelkernel.Kernel
	// Registry is the kubelet's registration socket.
	Registry *kubelettest.Kubelet

	t             testing.TB
	config, state string
}

// Daemon runs the agent of the extension until the test ends.
func Daemon(t testing.TB, n *Node, kubelet *PodResources) *Rig {
	t.Helper()
	kernel := modelkernel.New(modelkernel.Standard()...)
	kernel.AddPF(modelkernel.PF{
		Address: "0000:21:00.0", Vendor: "8086", Device: "10c9", VFDevice: "10ca", Driver: "igb", Total: 7, Name: "enp33s0", MAC: "52:54:00:aa:00:01",
	})
	registry := kubelettest.New(t, kubelettest.Dir(t))
	registry.Start()
	dir := t.TempDir()
	r := &Rig{
		Kernel: kernel, Registry: registry, t: t,
		config: filepath.Join(dir, "sriov", "etc-sriov-config.yaml"), state: filepath.Join(n.Files, state.Dir),
	}
	r.PCIeErrors(0)
	events := make(news, 1)
	kernel.OnChange(func() {
		select {
		case events <- struct{}{}:
		default:
		}
	})
	// A /dev without the groups of vfio: whether they are open cannot be asked.
	dev := filepath.Join(dir, "dev")
	if err := os.MkdirAll(filepath.Join(dev, "vfio"), 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	a, err := agent.New(agent.Options{
		Config: r.config, StateDir: r.state, KubeletDir: filepath.Dir(registry.PluginDir()), Dev: dev,
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
	return r
}

// AddICE plugs a port of another family in (0000:17:00.0, enp23s0), whose driver
// takes every setting of VFs.
func (r *Rig) AddICE() {
	r.Kernel.AddPF(modelkernel.PF{
		Address: "0000:17:00.0", Vendor: "8086", Device: "1592", VFDevice: "1889", Driver: "ice", Total: 64, Name: "enp23s0", MAC: "52:54:00:aa:00:17",
	})
}

// PCIeErrors makes the PF report so many fatal errors.
func (r *Rig) PCIeErrors(n int) {
	r.Kernel.Set(map[string]string{"devices/pci0000:00/0000:21:00.0/" + sysfs.AttrAERFatal: fmt.Sprintf("TOTAL_ERR_FATAL %d", n)})
}

// FailWrites makes the kernel refuse the writes with the name, as of a broken
// device.
func (r *Rig) FailWrites(name string) {
	r.Kernel.Faults(func(got, _ string) (f modelkernel.Fault) {
		if got == name {
			f.Errno = unix.EIO
		}
		return f
	})
}

// Config gives the daemon a config, and returns whether a status is about it.
func (r *Rig) Config(text string) (follows func(*status.Status) bool) {
	r.t.Helper()
	if err := os.MkdirAll(filepath.Dir(r.config), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := renameio.WriteFile(r.config, []byte(text), 0o644); err != nil {
		r.t.Fatal(err)
	}
	hash := spec.Hash([]byte(text))
	return func(s *status.Status) bool { return s.Spec.InForce == hash }
}

// Await returns the first status in the daemon's file that satisfies all
// conditions.
func (r *Rig) Await(what string, conditions ...func(*status.Status) bool) *status.Status {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	var (
		s    *status.Status
		seen []byte // what s was read from: most often there is nothing new
	)
	for {
		data, err := os.ReadFile(filepath.Join(r.state, state.StatusFile))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			r.t.Fatal(err)
		}
		if err == nil && (s == nil || !bytes.Equal(data, seen)) {
			if s, err = status.Decode(data); err != nil {
				r.t.Fatal(err)
			}
			seen = data
		}
		if s != nil && !slices.ContainsFunc(conditions, func(ok func(*status.Status) bool) bool { return !ok(s) }) {
			return s
		}
		select {
		case <-ctx.Done():
			r.t.Fatalf("%s: the status is %+v", what, s)
		case <-tick.C:
		}
	}
}

// Offered is that one pool has so many devices, all of them healthy, and the PF is
// ready.
func Offered(devices int) func(*status.Status) bool {
	return func(s *status.Status) bool {
		return len(s.PFs) == 1 && s.PFs[0].State == status.PFReady &&
			len(s.Pools) == 1 && len(s.Pools[0].Members) == devices && s.Pools[0].Healthy == devices
	}
}
