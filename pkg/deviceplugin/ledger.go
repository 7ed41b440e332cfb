package deviceplugin

import (
	"context"

	"google.golang.org/grpc"
	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

// Ledger is whoever keeps the books of what pods have. No lock is held over its
// methods.
type Ledger interface {
	// Seen says that a kubelet has shown itself: it accepted a registration, found
	// our socket or called a method. It returns before a device list is sent, and
	// must be quick: it is called again and again.
	Seen()
	// Note is called before an Allocate succeeds, once per request; an error
	// refuses the allocation. From its return on the devices count as taken:
	// whoever withdraws one first and asks who has it then, learns of it. done is
	// called once when Note succeeded: given says whether the containers get the
	// devices; it is false when the allocation is refused after that.
	Note(ctx context.Context, a Allocation) (done func(given bool), err error)
}

// Allocation is the devices that the kubelet gives to the containers of one
// request. The kubelet does not say whose they are.
type Allocation struct {
	Resource string
	IDs      []string
}

// noLedger keeps no books.
type noLedger struct{}

func (noLedger) Seen() {}

func (noLedger) Note(context.Context, Allocation) (func(given bool), error) {
	return func(bool) {}, nil
}

// newGRPC makes a server that calls Seen of the ledger before it serves a kubelet.
// [warmUp] calls GetDevicePluginOptions, and that is us; a kubelet asks for the device
// list next.
func newGRPC(l Ledger) *grpc.Server {
	return grpc.NewServer(
		grpc.UnaryInterceptor(func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			if info.FullMethod != v1beta1.DevicePlugin_GetDevicePluginOptions_FullMethodName {
				l.Seen()
			}
			return handler(ctx, req)
		}),
		grpc.StreamInterceptor(func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
			l.Seen()
			return handler(srv, stream)
		}),
	)
}
