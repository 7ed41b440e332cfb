package deviceplugin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

// warmUp calls our own socket as the kubelet will, which loads and initialises
// the code that both directions of a registration need. A kubelet that starts on
// a machine that boots leaves a plugin some ten milliseconds before it admits its
// pods, and refuses those whose devices it does not know by then.
func warmUp(ctx context.Context, socket string, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, done, err := connect(ctx, socket)
	if err != nil {
		return fmt.Errorf("call our own socket: %w", err)
	}
	defer done()
	if _, err := v1beta1.NewDevicePluginClient(conn).GetDevicePluginOptions(ctx, &v1beta1.Empty{}); err != nil {
		return fmt.Errorf("call our own socket: %w", err)
	}
	return nil
}

// connect makes a gRPC client of one unix socket; done closes it. It connects to the
// socket itself, because gRPC gives the errno of a connection that fails as text alone.
func connect(ctx context.Context, socket string) (conn *grpc.ClientConn, done func(), err error) {
	c, err := dial(ctx, socket)
	if err != nil {
		return nil, nil, err
	}
	first := make(chan net.Conn, 1)
	first <- c
	conn, err = grpc.NewClient("passthrough:///socket",
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
		return nil, nil, errors.Join(fmt.Errorf("connect to %s: %w", socket, err), c.Close())
	}
	return conn, func() {
		_ = conn.Close()
		select {
		case unused := <-first:
			_ = unused.Close()
		default:
		}
	}, nil
}
