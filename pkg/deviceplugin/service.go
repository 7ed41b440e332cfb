package deviceplugin

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"github.com/talos-sriov/talos-sriov/pkg/pool"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

// options is what the kubelet may ask of us.
func options() *v1beta1.DevicePluginOptions {
	return &v1beta1.DevicePluginOptions{GetPreferredAllocationAvailable: true}
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
	p := s.shelf.get().pool
	if len(req.GetContainerRequests()) == 0 {
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
	link := s.place.visibleLink()
	st := s.reg.news(func(r registration) registration { return r.streamOpened(time.Now(), link) }).newest
	defer s.reg.news(func(r registration) registration { return r.streamClosed(time.Now(), st) })
	for {
		now := s.shelf.get()
		if err := stream.Send(now.list); err != nil {
			return err // already a status, for the kubelet's log
		}
		select {
		case <-now.replaced:
		case <-stream.Context().Done():
			return nil
		case <-s.stopping:
			// The last list counts: a pool that is withdrawn ends with an empty one.
			if last := s.shelf.get().list; last != now.list {
				return stream.Send(last)
			}
			return nil
		}
	}
}

// Allocate implements v1beta1.DevicePluginServer. It gives everything that was
// asked for or nothing.
//
// Whoever takes a device away withdraws it first and then asks who has it. Here it is
// the other way round: the devices are noted, and then it is looked whether they are
// still offered. So one of the two sees what the other did.
func (s *server) Allocate(ctx context.Context, req *v1beta1.AllocateRequest) (*v1beta1.AllocateResponse, error) {
	want, err := s.shelf.get().find(req)
	if err != nil {
		return nil, err
	}
	resp := &v1beta1.AllocateResponse{}
	for _, devices := range want.containers {
		c, err := give(s.resource, devices, want.pool.CDI && s.opts.CDIDir != "")
		if err != nil {
			return nil, status.Errorf(codes.Internal, "%s: %v", s.resource, err)
		}
		resp.ContainerResponses = append(resp.ContainerResponses, c)
	}
	done, err := s.opts.Ledger.Note(ctx, Allocation{Resource: s.resource, IDs: want.ids})
	if err != nil {
		return nil, status.Errorf(codes.Unavailable, "%s: %v", s.resource, err)
	}
	given := false
	defer func() { done(given) }()
	if _, err := s.shelf.get().find(req); err != nil {
		return nil, err
	}
	// After the note: from there on it is known who has the devices, so that nobody
	// clears their files away.
	if err := s.provide(want); err != nil {
		return nil, status.Errorf(codes.Unavailable, "%s: %v", s.resource, err)
	}
	given = true
	return resp, nil
}

// provide writes the files that the containers need.
func (s *server) provide(want selection) error {
	f := s.files
	if f.cdiDir != "" && want.pool.CDI {
		if err := f.ensureCDI(want.pool); err != nil {
			return err
		}
	}
	for _, devices := range want.containers {
		if err := f.writeInfo(s.resource, devices); err != nil {
			return err
		}
	}
	return nil
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
