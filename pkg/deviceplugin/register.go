package deviceplugin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"github.com/talos-sriov/talos-sriov/pkg/internal/fileid"
)

// register starts an attempt with the link of that name. s.mu is held.
func (s *server) register(ctx context.Context, kubelet fileid.ID, endpoint string, wg *sync.WaitGroup) {
	if s.tried != kubelet {
		s.fails = 0
	}
	ctx, s.cancel = context.WithTimeout(ctx, s.opts.RegisterTimeout)
	cancel := s.cancel
	s.inflight, s.tried, s.overtaken = kubelet, kubelet, false
	s.attempt++
	wg.Go(func() {
		defer cancel()
		s.results <- result{kubelet: kubelet, endpoint: endpoint, err: s.call(ctx, endpoint)}
	})
}

// call is one Register. The errors of a kubelet that is not there are
// syscall.ECONNREFUSED and fs.ErrNotExist.
func (s *server) call(ctx context.Context, endpoint string) error {
	conn, err := connect(ctx, s.kubelet)
	if err != nil {
		return fmt.Errorf("register with the kubelet: %w", err)
	}
	defer conn.close()
	_, err = v1beta1.NewRegistrationClient(conn.grpc).Register(ctx, &v1beta1.RegisterRequest{
		Version:      v1beta1.Version,
		Endpoint:     endpoint,
		ResourceName: s.resource,
		Options:      options(),
	})
	if err != nil {
		return fmt.Errorf("register with the kubelet at %s: %w", s.kubelet, err)
	}
	return nil
}

// rehearse calls our own socket as the kubelet will, which loads and initialises
// the code that both directions of a registration need. A kubelet that starts on
// a machine that boots leaves a plugin some ten milliseconds before it looks at its
// pods, and refuses those whose devices it does not know by then.
func (s *server) rehearse(ctx context.Context, socket string) error {
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
	dial := func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	c, err := dial(ctx)
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
				return dial(ctx)
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

// answered takes in the end of an attempt.
func (s *server) answered(r result) {
	now := time.Now()
	s.mu.Lock()
	s.inflight = fileid.ID{}
	overtaken := r.err != nil && s.overtaken
	switch {
	case r.err == nil:
		// The stream, or the socket that was registered, can be gone before
		// the answer comes.
		if s.void != s.attempt {
			s.registered, s.registeredAt = r.kubelet, now
		}
		s.count++
		s.regErr, s.dead = "", false
	case overtaken:
		// We gave it up ourselves: the socket is another one now, or gone.
		s.regErr, s.dead, s.renew = "", false, true
	default:
		s.fails++
		s.notBefore = now.Add(backoff(s.fails))
		// A socket that a kubelet left behind when it ended, as after a boot, is
		// no fault: the next one makes it anew.
		if s.dead = errors.Is(r.err, syscall.ECONNREFUSED) || errors.Is(r.err, fs.ErrNotExist); s.dead {
			s.regErr = ""
		} else {
			// Whatever it answered, it may be connected to this link.
			s.regErr, s.renew = r.err.Error(), true
		}
	}
	attempt, dead := s.attempt, s.dead
	s.mu.Unlock()

	switch {
	case r.err == nil:
		s.reported = ""
		s.log.Info("registered with the kubelet", "socket", r.endpoint, "attempt", attempt)
	case overtaken:
		s.log.Debug("the kubelet's socket changed during a registration", "err", r.err)
	case dead:
		s.log.Debug("nobody listens on the kubelet's socket", "err", r.err)
	default:
		s.report(r.err)
	}
	s.changed()
}
