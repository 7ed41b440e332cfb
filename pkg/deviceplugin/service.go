package deviceplugin

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"github.com/talos-sriov/talos-sriov/pkg/pool"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

// options is what the kubelet may ask of us.
func options() *v1beta1.DevicePluginOptions {
	return &v1beta1.DevicePluginOptions{GetPreferredAllocationAvailable: true}
}

// set makes p the pool. Streams hear of it only when it looks different to the
// kubelet. The caller has the lock.
func (s *server) set(p *pool.Pool) {
	s.pool, s.devices, s.healthy = p, make(map[string]*pool.Device, len(p.Devices)), p.Healthy()
	list := &v1beta1.ListAndWatchResponse{Devices: make([]*v1beta1.Device, 0, len(p.Devices))}
	for i := range p.Devices {
		d := &p.Devices[i]
		s.devices[d.ID] = d
		list.Devices = append(list.Devices, offer(d))
	}
	if proto.Equal(s.list, list) {
		return
	}
	s.list = list
	close(s.replaced)
	s.replaced = make(chan struct{})
}

// offer is the device as the kubelet sees it.
func offer(d *pool.Device) *v1beta1.Device {
	out := &v1beta1.Device{ID: d.ID, Health: v1beta1.Unhealthy}
	if d.Healthy {
		out.Health = v1beta1.Healthy
	}
	if d.NUMANode >= 0 && !d.NoTopology {
		out.Topology = &v1beta1.TopologyInfo{Nodes: []*v1beta1.NUMANode{{ID: int64(d.NUMANode)}}}
	}
	return out
}

// current is the list, and what is closed when there is another one.
func (s *server) current() (*v1beta1.ListAndWatchResponse, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.list, s.replaced
}

// GetDevicePluginOptions implements v1beta1.DevicePluginServer.
func (s *server) GetDevicePluginOptions(context.Context, *v1beta1.Empty) (*v1beta1.DevicePluginOptions, error) {
	return options(), nil
}

// PreStartContainer implements v1beta1.DevicePluginServer. We do not ask for
// it, and a kubelet that calls it anyway is not refused its container.
func (s *server) PreStartContainer(context.Context, *v1beta1.PreStartContainerRequest) (*v1beta1.PreStartContainerResponse, error) {
	return &v1beta1.PreStartContainerResponse{}, nil
}

// GetPreferredAllocation implements v1beta1.DevicePluginServer. The kubelet
// asks with the devices that its topology manager allows, and may still decide
// otherwise.
func (s *server) GetPreferredAllocation(_ context.Context, req *v1beta1.PreferredAllocationRequest) (*v1beta1.PreferredAllocationResponse, error) {
	s.mu.Lock()
	p := s.pool
	s.mu.Unlock()
	if p == nil || len(req.GetContainerRequests()) == 0 {
		return nil, status.Errorf(codes.InvalidArgument, "%s: the request names no container", s.resource)
	}
	resp := &v1beta1.PreferredAllocationResponse{}
	for _, c := range req.GetContainerRequests() {
		ids, err := p.Prefer(c.GetAvailableDeviceIDs(), c.GetMustIncludeDeviceIDs(), int(c.GetAllocationSize()))
		if err != nil {
			return nil, status.Errorf(codes.InvalidArgument, "%s: %s", s.resource, some([]string{err.Error()}))
		}
		resp.ContainerResponses = append(resp.ContainerResponses, &v1beta1.ContainerPreferredAllocationResponse{DeviceIDs: ids})
	}
	return resp, nil
}

// ListAndWatch implements v1beta1.DevicePluginServer: the list now, and again
// whenever it changed. Changes that come while a message is on its way are sent
// as one.
func (s *server) ListAndWatch(_ *v1beta1.Empty, stream grpc.ServerStreamingServer[v1beta1.ListAndWatchResponse]) error {
	id := s.streamOpened()
	defer s.streamClosed(id)
	for {
		list, changed := s.current()
		if err := stream.Send(list); err != nil {
			return err // already a status, for the kubelet's log
		}
		select {
		case <-changed:
		case <-stream.Context().Done():
			return nil
		case <-s.stopping:
			// The last list counts: a pool that is withdrawn ends with an empty one.
			if last, _ := s.current(); last != list {
				return stream.Send(last)
			}
			return nil
		}
	}
}

// Allocate implements v1beta1.DevicePluginServer. It gives everything that was
// asked for or nothing.
func (s *server) Allocate(ctx context.Context, req *v1beta1.AllocateRequest) (*v1beta1.AllocateResponse, error) {
	p, containers, all, err := s.find(req)
	if err != nil {
		return nil, err
	}
	resp := &v1beta1.AllocateResponse{}
	for _, devices := range containers {
		c, err := give(s.resource, devices, p.CDI && s.opts.CDIDir != "")
		if err != nil {
			return nil, status.Errorf(codes.Internal, "%s: %v", s.resource, err)
		}
		resp.ContainerResponses = append(resp.ContainerResponses, c)
	}
	done := func(bool) {}
	if s.opts.Ledger != nil {
		var err error
		if done, err = s.opts.Ledger.Note(ctx, Allocation{Resource: s.resource, IDs: all}); err != nil {
			return nil, status.Errorf(codes.Unavailable, "%s: %v", s.resource, err)
		}
	}
	if _, _, _, err := s.find(req); err != nil {
		done(false)
		return nil, err
	}
	defer func() { done(true) }()
	if err := s.take(ctx, req, all); err != nil {
		return nil, err
	}
	// After the devices are taken: from there on it is known that they are, so
	// that nobody clears their files away.
	if err := s.provide(p, containers); err != nil {
		s.release(all)
		return nil, status.Errorf(codes.Unavailable, "%s: %v", s.resource, err)
	}
	return resp, nil
}

// take makes it known that the devices are taken, and then looks again whether they
// are still offered. Whoever takes a device away withdraws it first and then asks who
// has it: so one of the two sees what the other did.
func (s *server) take(ctx context.Context, req *v1beta1.AllocateRequest, ids []string) error {
	if s.opts.Allocations == nil {
		return nil
	}
	if err := s.opts.Allocations.Take(ctx, Allocation{Resource: s.resource, IDs: ids}); err != nil {
		return status.Errorf(codes.Unavailable, "%s: %v", s.resource, err)
	}
	if _, _, _, err := s.find(req); err != nil {
		s.release(ids)
		return err
	}
	return nil
}

func (s *server) release(ids []string) {
	if s.opts.Allocations != nil {
		s.opts.Allocations.Release(Allocation{Resource: s.resource, IDs: ids})
	}
}

// provide writes the files that the containers need.
func (s *server) provide(p *pool.Pool, containers [][]*pool.Device) error {
	f := s.files
	if f.cdiDir != "" && p.CDI {
		if err := f.ensureCDI(p); err != nil {
			return err
		}
	}
	for _, devices := range containers {
		if err := f.writeInfo(s.resource, devices); err != nil {
			return err
		}
	}
	return nil
}

// find looks up every device of the request in the pool of this moment, and all
// of its faults.
func (s *server) find(req *v1beta1.AllocateRequest) (p *pool.Pool, containers [][]*pool.Device, all []string, err error) {
	res := s.resource
	if len(req.GetContainerRequests()) == 0 {
		return nil, nil, nil, status.Errorf(codes.InvalidArgument, "%s: the request names no container", res)
	}
	s.mu.Lock()
	p, devices := s.pool, s.devices
	s.mu.Unlock()
	var unknown, unhealthy, twice []string
	seen := map[string]bool{}
	for _, c := range req.GetContainerRequests() {
		if len(c.GetDevicesIds()) == 0 {
			return nil, nil, nil, status.Errorf(codes.InvalidArgument, "%s: a container of the request asks for no device", res)
		}
		var mine []*pool.Device
		for _, id := range c.GetDevicesIds() {
			d := devices[id]
			switch {
			case seen[id]:
				twice = append(twice, id)
			case d == nil:
				unknown = append(unknown, id)
			case !d.Healthy:
				unhealthy = append(unhealthy, id+" ("+d.Reason.Text+")")
			}
			seen[id] = true
			mine = append(mine, d)
			all = append(all, id)
		}
		containers = append(containers, mine)
	}
	switch {
	case len(unknown) > 0:
		return nil, nil, nil, status.Errorf(codes.NotFound, "%s has no device %s: it was removed, or never belonged to this resource", res, some(unknown))
	case len(twice) > 0:
		return nil, nil, nil, status.Errorf(codes.InvalidArgument, "%s: device %s is asked for twice", res, some(twice))
	case len(unhealthy) > 0:
		return nil, nil, nil, status.Errorf(codes.FailedPrecondition, "%s: unhealthy: %s", res, some(unhealthy))
	}
	return p, containers, all, nil
}

// some keeps a message readable whatever the number of its subjects, and
// whatever they are: they come from the request.
func some(list []string) string {
	const most, longest = 4, 200
	out := make([]string, 0, most)
	for _, s := range list[:min(len(list), most)] {
		if len(s) > longest {
			s = s[:longest] + "..."
		}
		out = append(out, strings.ToValidUTF8(s, "?"))
	}
	text := strings.Join(out, ", ")
	if n := len(list) - most; n > 0 {
		text += fmt.Sprintf(" and %d more", n)
	}
	return text
}

// give is what one container gets with its devices.
func give(resource string, devices []*pool.Device, cdi bool) (*v1beta1.ContainerAllocateResponse, error) {
	ids := make([]string, 0, len(devices))
	info := make(map[string]map[string]map[string]string, len(devices))
	out := &v1beta1.ContainerAllocateResponse{}
	var nodes []pool.Node
	var names []string
	for _, d := range devices {
		ids = append(ids, d.ID)
		info[d.ID] = d.Info
		if cdi {
			if len(d.Nodes) > 0 {
				names = append(names, cdiName(resource, d))
				out.CdiDevices = append(out.CdiDevices, &v1beta1.CDIDevice{Name: cdiName(resource, d)})
			}
			continue
		}
		for _, n := range d.Nodes {
			// Two devices may need the same node (/dev/vfio/vfio).
			if slices.ContainsFunc(nodes, func(o pool.Node) bool { return o.HostPath == n.HostPath }) {
				continue
			}
			nodes = append(nodes, n)
			out.Devices = append(out.Devices, &v1beta1.DeviceSpec{
				HostPath: n.HostPath, ContainerPath: n.ContainerPath, Permissions: n.Permissions,
			})
		}
	}
	if len(names) > 0 {
		out.Annotations = map[string]string{cdiAnnotation(resource): strings.Join(names, ",")}
	}
	text, err := json.Marshal(info)
	if err != nil {
		return nil, fmt.Errorf("encode the device information: %w", err)
	}
	env := spec.EnvName(resource)
	out.Envs = map[string]string{env: strings.Join(ids, ","), env + "_INFO": string(text)}
	return out, nil
}
