package kubelettest

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

// Kubelet is the stand-in. Its methods may be called from any goroutine.
type Kubelet struct {
	v1beta1.UnimplementedRegistrationServer

	t   testing.TB
	dir string // the device-plugins directory

	mu        sync.Mutex
	changed   chan struct{} // closed on every change
	resources map[string]*Resource
	endpoints map[string]*endpoints
	single    bool // one endpoint per resource, whatever its path
	refuse    error
	gate      chan struct{}
	run       *incarnation
}

// endpoints are the plugins that serve one resource, by the path of the socket.
// A kubelet keeps two lists of them, and from 1.37 on they can differ: a refused
// registration takes the path off the list of those whose end is noticed.
type endpoints struct {
	primary *client
	all     map[string]*client
	noticed map[string]*client
}

// incarnation is one life of the kubelet's process.
type incarnation struct {
	grpc   *grpc.Server
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

type client struct {
	path   string
	conn   *grpc.ClientConn
	api    v1beta1.DevicePluginClient
	cancel context.CancelFunc // ends the stream
}

// Resource is what the kubelet knows of one resource.
type Resource struct {
	Registrations int // accepted, over all lives
	Refused       int
	Held          int  // that had to wait, see Hold
	Connected     bool // it has an endpoint
	Lists         int  // messages on the streams, over all lives
	Endpoint      string
	Options       *v1beta1.DevicePluginOptions
	// Devices are the last list, as "id=Healthy@numa" or "id=Unhealthy".
	Devices []string
}

// Dir makes a kubelet root directory whose name is short enough for sockets.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "k")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// New returns a kubelet of Kubernetes 1.37 with the root directory, not started yet.
// It is stopped when the test ends.
func New(t testing.TB, root string) *Kubelet {
	k := &Kubelet{
		t: t, dir: filepath.Join(root, "device-plugins"), changed: make(chan struct{}),
		resources: map[string]*Resource{}, endpoints: map[string]*endpoints{},
	}
	t.Cleanup(k.Stop)
	return k
}

// Before137 makes it a kubelet of Kubernetes 1.34 to 1.36: one endpoint per
// resource. A registration replaces the endpoint, and when a stream ends, even one
// that was replaced, the endpoint of that moment is forgotten. Call it before Start.
func (k *Kubelet) Before137() { k.single = true }

// PluginDir is the directory of the sockets.
func (k *Kubelet) PluginDir() string { return k.dir }

// Start does what a kubelet does when it starts: make the directory, remove every
// socket in it, listen.
func (k *Kubelet) Start() {
	k.t.Helper()
	if err := os.MkdirAll(k.dir, 0o750); err != nil {
		k.t.Fatal(err)
	}
	k.Wipe()
	lis, err := net.Listen("unix", filepath.Join(k.dir, "kubelet.sock"))
	if err != nil {
		k.t.Fatal(err)
	}
	run := &incarnation{grpc: grpc.NewServer()}
	run.ctx, run.cancel = context.WithCancel(context.Background())
	v1beta1.RegisterRegistrationServer(run.grpc, k)
	k.mu.Lock()
	k.run = run
	k.mu.Unlock()
	run.wg.Go(func() { _ = run.grpc.Serve(lis) })
}

// Stop ends the process as a kill does: every connection breaks, and with it
// goes kubelet.sock.
func (k *Kubelet) Stop() {
	k.mu.Lock()
	run := k.run
	k.run = nil
	k.endpoints = map[string]*endpoints{}
	k.mu.Unlock()
	if run == nil {
		return
	}
	run.cancel() // which ends every stream, and with it the connection
	run.grpc.Stop()
	run.wg.Wait()
}

// Restart is Stop and Start.
func (k *Kubelet) Restart() {
	k.t.Helper()
	k.Stop()
	k.Start()
}

// Wipe removes every socket from the directory, the kubelet's own included, and every
// link to one, as a starting kubelet does.
func (k *Kubelet) Wipe() {
	k.t.Helper()
	entries, err := os.ReadDir(k.dir)
	if err != nil {
		k.t.Fatal(err)
	}
	for _, e := range entries {
		path := filepath.Join(k.dir, e.Name())
		fi, err := os.Stat(path)
		if err != nil || fi.Mode()&os.ModeSocket == 0 {
			continue // it cannot see what a dangling link would be
		}
		if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
			k.t.Fatal(err)
		}
	}
}

// Refuse makes Register fail with err; nil accepts again.
func (k *Kubelet) Refuse(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.refuse = err
}

// Hold makes Register block until release is called; calls that come after another
// Hold wait for that one's. Then it goes on even when
// the caller is gone, as a kubelet does that had begun to dial.
func (k *Kubelet) Hold() (release func()) {
	gate := make(chan struct{})
	k.mu.Lock()
	k.gate = gate
	k.mu.Unlock()
	return sync.OnceFunc(func() {
		k.mu.Lock()
		if k.gate == gate {
			k.gate = nil
		}
		k.mu.Unlock()
		close(gate)
	})
}

// Drop ends the stream of the resource while the kubelet goes on.
func (k *Kubelet) Drop(resource string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if e := k.endpoints[resource]; e != nil && e.primary != nil {
		e.primary.cancel()
	}
}

// Client is the connection to the plugin that serves the resource; the test fails
// when there is none.
func (k *Kubelet) Client(resource string) v1beta1.DevicePluginClient {
	k.t.Helper()
	c, ok := k.Endpoint(resource)
	if !ok {
		k.t.Fatalf("the kubelet has no endpoint for %s", resource)
	}
	return c
}

// Endpoint is Client for a test in which it may be lost at any time.
func (k *Kubelet) Endpoint(resource string) (c v1beta1.DevicePluginClient, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	e := k.endpoints[resource]
	if e == nil || e.primary == nil {
		return nil, false
	}
	return e.primary.api, true
}

// Resource is what the kubelet knows of the resource now.
func (k *Kubelet) Resource(resource string) Resource {
	k.mu.Lock()
	defer k.mu.Unlock()
	if r := k.resources[resource]; r != nil {
		return *r
	}
	return Resource{}
}

// Wait returns when ok says so of the resource; the test fails after 10 s.
func (k *Kubelet) Wait(resource, what string, ok func(Resource) bool) Resource {
	k.t.Helper()
	deadline := time.NewTimer(10 * time.Second)
	defer deadline.Stop()
	for {
		k.mu.Lock()
		changed := k.changed
		k.mu.Unlock()
		r := k.Resource(resource)
		if ok(r) {
			return r
		}
		select {
		case <-changed:
		case <-deadline.C:
			k.t.Fatalf("%s: %s did not happen in 10 s; the kubelet has %+v", resource, what, r)
		}
	}
}

// WaitDevices waits until the kubelet has an endpoint and exactly this list,
// written as in Resource.Devices and joined with spaces.
func (k *Kubelet) WaitDevices(resource, want string) Resource {
	k.t.Helper()
	return k.Wait(resource, "the list ["+want+"]", func(r Resource) bool {
		return r.Connected && strings.Join(r.Devices, " ") == want
	})
}

func (k *Kubelet) change(resource string, f func(*Resource)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	r := k.resources[resource]
	if r == nil {
		r = &Resource{}
		k.resources[resource] = r
	}
	f(r)
	close(k.changed)
	k.changed = make(chan struct{})
}
