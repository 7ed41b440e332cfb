package deviceplugin

import (
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"github.com/talos-sriov/talos-sriov/pkg/pool"
)

// shelf has the pool that is offered at this moment.
type shelf struct {
	mu     sync.Mutex
	now    stock
	closed bool // nothing is put there any more
}

// stock is a pool and what follows from it. It is never changed, only replaced.
type stock struct {
	pool     *pool.Pool
	devices  map[string]*pool.Device
	healthy  int
	list     *v1beta1.ListAndWatchResponse // as the kubelet sees it
	replaced chan struct{}                 // closed when the kubelet has to get another list
}

func newShelf(p *pool.Pool) *shelf {
	return &shelf{now: stockOf(p)}
}

func stockOf(p *pool.Pool) stock {
	st := stock{
		pool: p, devices: make(map[string]*pool.Device, len(p.Devices)), healthy: p.Healthy(),
		list:     &v1beta1.ListAndWatchResponse{Devices: make([]*v1beta1.Device, 0, len(p.Devices))},
		replaced: make(chan struct{}),
	}
	for i := range p.Devices {
		d := &p.Devices[i]
		st.devices[d.ID] = d
		st.list.Devices = append(st.list.Devices, offer(d))
	}
	return st
}

func (s *shelf) get() stock {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

// put makes p the pool. Streams hear of it only when it looks different to the kubelet.
func (s *shelf) put(p *pool.Pool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.replace(stockOf(p))
	}
}

// clear takes everything away, for good. Only the first call reports true.
func (s *shelf) clear() (first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.closed = true
	s.replace(stockOf(&pool.Pool{Resource: s.now.pool.Resource}))
	return true
}

// replace is put for callers that have the lock.
func (s *shelf) replace(next stock) {
	if proto.Equal(s.now.list, next.list) {
		next.list, next.replaced = s.now.list, s.now.replaced
	} else {
		close(s.now.replaced)
	}
	s.now = next
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

// selection is the devices of one request.
type selection struct {
	pool       *pool.Pool
	containers [][]*pool.Device // in the order of the request
	ids        []string         // of all of them
}

// find looks up every device of the request, and all of its faults.
func (st stock) find(req *v1beta1.AllocateRequest) (selection, error) {
	res, out := st.pool.Resource, selection{pool: st.pool}
	if len(req.GetContainerRequests()) == 0 {
		return selection{}, status.Errorf(codes.InvalidArgument, "%s: the request names no container", res)
	}
	var unknown, unhealthy, twice []string
	seen := map[string]bool{}
	for _, c := range req.GetContainerRequests() {
		if len(c.GetDevicesIds()) == 0 {
			return selection{}, status.Errorf(codes.InvalidArgument, "%s: a container of the request asks for no device", res)
		}
		var mine []*pool.Device
		for _, id := range c.GetDevicesIds() {
			d := st.devices[id]
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
			out.ids = append(out.ids, id)
		}
		out.containers = append(out.containers, mine)
	}
	switch {
	case len(unknown) > 0:
		return selection{}, status.Errorf(codes.NotFound, "%s has no device %s: it was removed, or never belonged to this resource", res, some(unknown))
	case len(twice) > 0:
		return selection{}, status.Errorf(codes.InvalidArgument, "%s: device %s is asked for twice", res, some(twice))
	case len(unhealthy) > 0:
		return selection{}, status.Errorf(codes.FailedPrecondition, "%s: unhealthy: %s", res, some(unhealthy))
	}
	return out, nil
}
