package deviceplugin_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/talos-sriov/talos-sriov/pkg/deviceplugin"
	"github.com/talos-sriov/talos-sriov/pkg/internal/kubelettest"
	"github.com/talos-sriov/talos-sriov/pkg/pool"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const res = "nvidia.com/cx7_qsfp"

// logBuffer is a log that goroutines write and the test reads.
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

// forget frees what was logged.
func (l *logBuffer) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b = bytes.Buffer{}
}

// keeper is a ledger of functions; what is nil is not called.
type keeper struct {
	seen func()
	note func(a deviceplugin.Allocation) error
	done func(a deviceplugin.Allocation, given bool)
}

func (k keeper) Seen() {
	if k.seen != nil {
		k.seen()
	}
}

func (k keeper) Note(_ context.Context, a deviceplugin.Allocation) (func(given bool), error) {
	if k.note != nil {
		if err := k.note(a); err != nil {
			return nil, err
		}
	}
	return func(given bool) {
		if k.done != nil {
			k.done(a, given)
		}
	}, nil
}

// rig is a running manager.
type rig struct {
	*deviceplugin.Manager
	t    *testing.T
	root string
	run  string // the directory of the sockets
	log  *logBuffer
	stop func() // idempotent; returns when Run did
}

// start runs a manager on root. It is stopped when the test ends.
func start(t *testing.T, root string, opts deviceplugin.Options) *rig {
	t.Helper()
	if opts.SocketDir == "" {
		opts.SocketDir = filepath.Join(kubelettest.Dir(t), "sriov")
	}
	r := &rig{t: t, root: root, run: opts.SocketDir, log: &logBuffer{}}
	opts.KubeletDir, opts.Log = root, slog.New(slog.NewTextHandler(r.log, nil))
	r.Manager = deviceplugin.NewManager(opts)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Error("Run did not return in 10 s")
		}
	})
	t.Cleanup(r.stop)
	return r
}

// waitStatus waits until ok says so of the status of resource.
func (r *rig) waitStatus(resource, what string, ok func(deviceplugin.Status) bool) deviceplugin.Status {
	r.t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		all := r.Status()
		if i := slices.IndexFunc(all, func(s deviceplugin.Status) bool { return s.Resource == resource }); i >= 0 && ok(all[i]) {
			return all[i]
		}
		select {
		case <-r.Changed():
		case <-deadline:
			r.t.Fatalf("%s: %s did not happen in 10 s; status %+v\nlog:\n%s", resource, what, all, r.log)
		}
	}
}

func (r *rig) waitRegistered(resource string) {
	r.t.Helper()
	r.waitStatus(resource, "registration", func(s deviceplugin.Status) bool { return s.Registered })
}

// assignment makes pools from strings: "resource id id! ...", ! for unhealthy.
func assignment(pools ...string) *pool.Assignment {
	a := &pool.Assignment{}
	for _, p := range pools {
		f := strings.Fields(p)
		out := pool.Pool{Resource: f[0]}
		for i, id := range f[1:] {
			d := pool.Device{ID: strings.TrimSuffix(id, "!"), Index: i, NUMANode: i % 2, Healthy: !strings.HasSuffix(id, "!")}
			if !d.Healthy {
				d.Reason = pool.Reason{Cause: pool.CauseNoLink, Text: "link is down"}
			}
			if i == 4 {
				d.NUMANode = -1
			}
			d.Info = map[string]map[string]string{"generic": {"deviceID": d.ID}}
			out.Devices = append(out.Devices, d)
		}
		a.Pools = append(a.Pools, out)
	}
	return a
}

// socketOf is what the kubelet dials for the resource.
func socketOf(r *rig, resource string) string {
	r.t.Helper()
	return r.waitStatus(resource, "a socket", func(s deviceplugin.Status) bool { return s.Socket != "" }).Socket
}

func waitGone(t *testing.T, path string) {
	t.Helper()
	poll(t, path+" to be removed", func() bool {
		_, err := os.Lstat(path)
		return errors.Is(err, os.ErrNotExist)
	})
}

func poll(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(10 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited 10 s for %s", what)
		}
	}
}

// heap is how much memory is in use after collecting what is not, without the
// log.
func (r *rig) heap() int64 {
	r.log.forget()
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what finalizers let go of
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// steady counts goroutines and open files once they have stopped falling.
func steady(t *testing.T) (goroutines, fds int) {
	t.Helper()
	goroutines, fds = 1<<30, 1<<30
	same := 0
	poll(t, "steady counts", func() bool {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		g := runtime.NumGoroutine()
		if g < goroutines || len(list) < fds {
			goroutines, fds, same = min(g, goroutines), min(len(list), fds), 0
		}
		same++
		return same > 20
	})
	return goroutines, fds
}
