package deviceplugin

import (
	"context"
	"errors"
	"fmt"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

// warmUp calls our own socket as the kubelet will, which loads and initialises
// the code that both directions of a registration need. A kubelet that starts on
// a machine that boots leaves a plugin some ten milliseconds before it admits its
// pods, and refuses those whose devices it does not know by then.
func (s *server) warmUp(ctx context.Context, socket string) error {
	ctx, cancel := context.WithTimeout(ctx, s.opts.RegisterTimeout)
	defer cancel()
	conn, err := connect(ctx, socket)
	if err != nil {
		return fmt.Errorf("call our own socket: %w", err)
	}
	defer conn.close()
	if _, err := v1beta1.NewDevicePluginClient(conn.grpc).GetDevicePluginOptions(ctx, &v1beta1.Empty{}); err != nil {
		return fmt.Errorf("call our own socket: %w", err)
	}
	return nil
}

// connection is a gRPC client of one unix socket.
type connection struct {
	grpc  *grpc.ClientConn
	first chan net.Conn
}

// connect connects to a socket itself, because gRPC gives the errno of a
// connection that fails as text alone.
func connect(ctx context.Context, socket string) (*connection, error) {
	c, err := dial(ctx, socket)
	if err != nil {
		return nil, err
	}
	first := make(chan net.Conn, 1)
	first <- c
	conn, err := grpc.NewClient("passthrough:///socket",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithAuthority("localhost"),
		grpc.WithNoProxy(),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			select {
			case c := <-first:
				return c, nil
			default:
				return dial(ctx, socket)
			}
		}))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("connect to %s: %w", socket, err), c.Close())
	}
	return &connection{grpc: conn, first: first}, nil
}

func (c *connection) close() {
	_ = c.grpc.Close()
	select {
	case unused := <-c.first:
		_ = unused.Close()
	default:
	}
}
