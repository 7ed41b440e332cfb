package kubelettest

import (
	"context"
	"fmt"
	"net"
	"path/filepath"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

// Register implements v1beta1.RegistrationServer.
func (k *Kubelet) Register(ctx context.Context, req *v1beta1.RegisterRequest) (*v1beta1.Empty, error) {
	k.mu.Lock()
	run, refuse, gate := k.run, k.refuse, k.gate
	k.mu.Unlock()
	if run == nil {
		return nil, fmt.Errorf("the kubelet is gone")
	}
	if gate != nil {
		ctx = context.WithoutCancel(ctx)
		k.change(req.GetResourceName(), func(r *Resource) { r.Held++ })
		select {
		case <-gate:
		case <-run.ctx.Done():
			return nil, run.ctx.Err()
		}
	}
	if req.GetVersion() != v1beta1.Version {
		return nil, fmt.Errorf("version %q is not supported", req.GetVersion())
	}
	if refuse != nil {
		k.change(req.GetResourceName(), func(r *Resource) { r.Refused++ })
		return nil, refuse
	}
	if err := k.connect(ctx, run, req); err != nil {
		return nil, err
	}
	return &v1beta1.Empty{}, nil
}

func (k *Kubelet) connect(ctx context.Context, run *incarnation, req *v1beta1.RegisterRequest) error {
	socket := filepath.Join(k.dir, req.GetEndpoint())
	conn, err := grpc.NewClient("passthrough:///plugin",
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithAuthority("localhost"),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		}))
	if err != nil {
		return err
	}
	streamCtx, cancel := context.WithCancel(run.ctx)
	c := &client{path: socket, conn: conn, api: v1beta1.NewDevicePluginClient(conn), cancel: cancel}
	if k.single {
		c.path = ""
	}
	name := req.GetResourceName()
	options, err := c.api.GetDevicePluginOptions(ctx, &v1beta1.Empty{})
	if err != nil {
		cancel()
		_ = conn.Close()
		k.change(name, func(r *Resource) { r.Refused++ })
		return fmt.Errorf("failed to get device plugin options: %w", err)
	}
	if err := k.connected(run, name, c); err != nil {
		cancel()
		_ = conn.Close()
		k.change(name, func(r *Resource) { r.Refused++ })
		return err
	}
	run.wg.Go(func() {
		k.stream(streamCtx, name, c)
		cancel()
		k.disconnect(run, name, c)
		_ = conn.Close()
	})
	k.change(name, func(r *Resource) {
		r.Registrations++
		r.Connected = true
		r.Endpoint, r.Options = req.GetEndpoint(), options
	})
	return nil
}

// connected makes c the endpoint of the resource, unless there is one at its path.
func (k *Kubelet) connected(run *incarnation, name string, c *client) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.run != run {
		return fmt.Errorf("the kubelet is gone")
	}
	e := k.endpoints[name]
	if e == nil {
		e = &endpoints{all: map[string]*client{}, noticed: map[string]*client{}}
		k.endpoints[name] = e
	}
	if e.all[c.path] != nil && !k.single {
		delete(e.noticed, c.path)
		return fmt.Errorf("device plugin already connected: %s", c.path)
	}
	e.primary, e.all[c.path], e.noticed[c.path] = c, c, c
	return nil
}

func (k *Kubelet) stream(ctx context.Context, name string, c *client) {
	stream, err := c.api.ListAndWatch(ctx, &v1beta1.Empty{})
	if err != nil {
		return
	}
	for {
		list, err := stream.Recv()
		if err != nil {
			return
		}
		var devices []string
		for _, d := range list.GetDevices() {
			s := d.GetID() + "=" + d.GetHealth()
			for _, n := range d.GetTopology().GetNodes() {
				s += fmt.Sprintf("@%d", n.GetID())
			}
			devices = append(devices, s)
		}
		k.change(name, func(r *Resource) {
			r.Lists++
			r.Devices = devices
		})
	}
}

// disconnect forgets the endpoint that the kubelet has now at the path of c, which
// need not be c, and promotes another one.
func (k *Kubelet) disconnect(run *incarnation, name string, c *client) {
	k.mu.Lock()
	e := k.endpoints[name]
	var now *client
	if k.run == run && e != nil {
		now = e.noticed[c.path]
	}
	if now != nil {
		delete(e.noticed, c.path)
		delete(e.all, c.path)
		e.primary = nil
		for _, other := range e.all {
			e.primary = other
		}
	}
	k.mu.Unlock()
	if now != nil {
		_ = now.conn.Close()
	}
	k.change(name, func(r *Resource) {
		e := k.endpoints[name]
		r.Connected = e != nil && e.primary != nil
	})
}
