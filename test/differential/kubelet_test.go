package differential

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// kubelet is as much of one as it takes to see everything that a device plugin
// offers. It finds sockets like the plugin watcher when the directory
// plugins_registry is there, and serves Register otherwise.
type kubelet struct {
	v1beta1.UnimplementedRegistrationServer

	ctx     context.Context
	server  *grpc.Server
	wg      sync.WaitGroup
	changed chan struct{} // cap 1

	mu        sync.Mutex
	resources map[string]*resource
	err       error
}

type resource struct {
	endpoint, versions string
	options            string
	conn               *grpc.ClientConn
	list               *v1beta1.ListAndWatchResponse // nil until it came
	failed             error                         // the stream's
}

func startKubelet(ctx context.Context, watcher bool) (*kubelet, error) {
	k := &kubelet{ctx: ctx, changed: make(chan struct{}, 1), resources: map[string]*resource{}}
	if watcher {
		if err := os.MkdirAll(kubeletDir+"/plugins_registry", 0o755); err != nil {
			return nil, err
		}
		k.wg.Go(k.watch)
		return k, nil
	}
	lis, err := net.Listen("unix", kubeletDir+"/device-plugins/kubelet.sock")
	if err != nil {
		return nil, err
	}
	k.server = grpc.NewServer()
	v1beta1.RegisterRegistrationServer(k.server, k)
	k.wg.Go(func() { _ = k.server.Serve(lis) })
	return k, nil
}

func (k *kubelet) stop() {
	if k.server != nil {
		k.server.Stop()
	}
	k.mu.Lock()
	for _, r := range k.resources {
		_ = r.conn.Close()
	}
	k.mu.Unlock()
	k.wg.Wait()
}

// Register implements v1beta1.RegistrationServer.
func (k *kubelet) Register(_ context.Context, req *v1beta1.RegisterRequest) (*v1beta1.Empty, error) {
	options := "none"
	if o := req.GetOptions(); o.GetPreStartRequired() || o.GetGetPreferredAllocationAvailable() {
		options = fmt.Sprintf("preStart=%v preferred=%v", o.GetPreStartRequired(), o.GetGetPreferredAllocationAvailable())
	}
	err := k.open(req.GetResourceName(), kubeletDir+"/device-plugins/"+req.GetEndpoint(), &resource{
		endpoint: req.GetEndpoint(), versions: req.GetVersion(), options: options,
	})
	return &v1beta1.Empty{}, err
}

// watch dials each socket that appears.
func (k *kubelet) watch() {
	seen := map[string]bool{}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		paths, _ := filepath.Glob(kubeletDir + "/plugins_registry/*.sock")
		for _, path := range paths {
			if seen[path] {
				continue
			}
			seen[path] = true
			if err := k.discover(path); err != nil {
				k.mu.Lock()
				k.err = errors.Join(k.err, fmt.Errorf("%s: %w", path, err))
				k.mu.Unlock()
			}
		}
		select {
		case <-tick.C:
		case <-k.ctx.Done():
			return
		}
	}
}

func (k *kubelet) discover(path string) error {
	conn, err := dial(path)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	api := registerapi.NewRegistrationClient(conn)
	info, err := api.GetInfo(k.ctx, &registerapi.InfoRequest{}, grpc.WaitForReady(true))
	if err != nil {
		return err
	}
	if err := k.open(info.GetName(), info.GetEndpoint(), &resource{
		endpoint: info.GetEndpoint(), versions: info.GetType() + " " + strings.Join(info.GetSupportedVersions(), ","), options: "none",
	}); err != nil {
		return err
	}
	_, err = api.NotifyRegistrationStatus(k.ctx, &registerapi.RegistrationStatus{PluginRegistered: true})
	return err
}

func dial(path string) (*grpc.ClientConn, error) {
	return grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
}

// open begins to follow a resource's device list.
func (k *kubelet) open(name, path string, r *resource) error {
	conn, err := dial(path)
	if err != nil {
		return err
	}
	r.conn = conn
	k.mu.Lock()
	defer k.mu.Unlock()
	if old := k.resources[name]; old != nil {
		_ = old.conn.Close()
	}
	k.resources[name] = r
	k.wg.Go(func() { k.follow(r) })
	return nil
}

func (k *kubelet) follow(r *resource) {
	note := func(list *v1beta1.ListAndWatchResponse, err error) {
		k.mu.Lock()
		if list != nil {
			r.list = list
		}
		r.failed = err
		k.mu.Unlock()
		select {
		case k.changed <- struct{}{}:
		default:
		}
	}
	stream, err := v1beta1.NewDevicePluginClient(r.conn).ListAndWatch(k.ctx, &v1beta1.Empty{}, grpc.WaitForReady(true))
	for err == nil {
		var list *v1beta1.ListAndWatchResponse
		if list, err = stream.Recv(); err == nil {
			note(list, nil)
		}
	}
	note(nil, err)
}

// listed returns the names of the resources whose list came, or whose stream
// failed.
func (k *kubelet) listed() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var out []string
	for name, r := range k.resources {
		if r.list != nil || r.failed != nil {
			out = append(out, name)
		}
	}
	return out
}

// forget drops every resource, for a program that starts again.
func (k *kubelet) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range k.resources {
		_ = r.conn.Close()
	}
	clear(k.resources)
}

// names of all resources, sorted.
func (k *kubelet) names() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Sorted(maps.Keys(k.resources))
}

func (k *kubelet) resource(name string) resource {
	k.mu.Lock()
	defer k.mu.Unlock()
	return *k.resources[name]
}
