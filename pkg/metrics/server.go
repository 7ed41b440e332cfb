package metrics

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// Timeout is how long a client has for its request, and for taking the
	// answer.
	Timeout = 5 * time.Second
	// MaxConns is how many are served at a time; more wait in the kernel.
	MaxConns = 8
	// Retry is how long after a failure it is tried again to listen.
	Retry = 30 * time.Second
	// linger is how much a client may still send after our answer.
	linger = 64 << 10
)

// Pages is what there is to be read. It is called from several goroutines.
type Pages interface {
	// Metrics is the text in the format of ContentType.
	Metrics() []byte
	// Health is nil when all is well.
	Health() error
}

// Server serves the pages where it was last told to.
type Server struct {
	pages   Pages
	log     *slog.Logger
	changed func() // Err has news
	retry   time.Duration
	timeout time.Duration

	kick chan struct{} // cap 1

	mu     sync.Mutex
	listen string // what is wanted
	addr   net.Addr
	err    error
	said   state // as it was last told
}

// state is where the server listens or should.
type state struct {
	want  string
	heard bool
}

// NewServer returns a server that listens nowhere yet. changed is called, from
// Run's goroutine, when Addr or Err has news.
func NewServer(pages Pages, log *slog.Logger, changed func()) *Server {
	return &Server{
		pages: pages, log: log, changed: changed, retry: Retry, timeout: Timeout,
		kick: make(chan struct{}, 1),
	}
}

// Listen makes the server listen at address:port; "" is nowhere. It does not
// block.
func (s *Server) Listen(address string) {
	s.mu.Lock()
	news := s.listen != address
	s.listen = address
	s.mu.Unlock()
	if news {
		select {
		case s.kick <- struct{}{}:
		default:
		}
	}
}

// Addr is where the server listens, nil when it does not.
func (s *Server) Addr() net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addr
}

// Err says why the server does not listen although it should; nil when all is
// well.
func (s *Server) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

func (s *Server) String() string { return "metrics" }

// Run serves until ctx ends. It never fails: an address that cannot be had is
// tried again, and said in Err.
func (s *Server) Run(ctx context.Context) error {
	var (
		stop = func() {}
		at   string
		died = make(chan error, 1)
		tick = time.NewTimer(time.Hour)
	)
	tick.Stop()
	defer tick.Stop()
	defer func() { stop() }()
	for {
		s.mu.Lock()
		want := s.listen
		s.mu.Unlock()
		if want != at {
			stop()
			stop, at = func() {}, ""
			tick.Stop()
			if want == "" {
				s.set("", nil, nil)
			} else if end, err := s.start(ctx, want, died); err == nil {
				stop, at = end, want
			} else {
				tick.Reset(s.retry)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.kick:
		case <-tick.C:
		case err := <-died:
			// Only a listener that was not stopped dies.
			stop()
			stop, at = func() {}, ""
			s.set(want, nil, fmt.Errorf("accept on %s: %w", want, err))
			tick.Reset(s.retry)
			// Not at once: what broke it is likely still there.
			select {
			case <-ctx.Done():
				return nil
			case <-s.kick:
			case <-tick.C:
			}
		}
	}
}

// start listens and serves in the background; end stops it and waits.
func (s *Server) start(ctx context.Context, address string, died chan<- error) (end func(), err error) {
	var config net.ListenConfig
	lis, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		s.set(address, nil, err)
		return nil, err
	}
	s.set(address, lis.Addr(), nil)
	s.log.Info("metrics are served", "address", lis.Addr().String())
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.accept(ctx, lis); err != nil && ctx.Err() == nil {
			died <- err
		}
	})
	return func() {
		cancel()
		_ = lis.Close()
		wg.Wait()
	}, nil
}

// accept returns when the listener is closed or broken, after all connections
// have ended.
func (s *Server) accept(ctx context.Context, lis net.Listener) error {
	unblock := context.AfterFunc(ctx, func() { _ = lis.Close() })
	defer unblock()
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, MaxConns)
	for {
		slots <- struct{}{}
		conn, err := lis.Accept()
		if errors.Is(err, unix.ECONNABORTED) {
			<-slots
			continue
		}
		if err != nil {
			return err
		}
		wg.Go(func() {
			defer func() { <-slots }()
			s.serve(ctx, conn)
		})
	}
}

// serve answers one request.
func (s *Server) serve(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if err := conn.SetDeadline(time.Now().Add(s.timeout)); err != nil {
		return
	}
	req, err := readRequest(conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = refuse(408, "the request took too long")
	}
	r := answer(req, err, s.pages)
	if r == nil {
		return
	}
	if err := conn.SetDeadline(time.Now().Add(s.timeout)); err != nil {
		return
	}
	if _, err := conn.Write(r.bytes()); err != nil {
		return
	}
	// A close with unread data is a reset, and may cost the client our answer.
	if c, ok := conn.(*net.TCPConn); ok && c.CloseWrite() == nil {
		_, _ = io.CopyN(io.Discard, conn, linger)
	}
}

// set notes that the server listens at addr, or why it does not listen at want
// although it should, and tells when that is new.
func (s *Server) set(want string, addr net.Addr, err error) {
	now := state{want, addr != nil}
	s.mu.Lock()
	news := s.said != now
	s.addr, s.err, s.said = addr, err, now
	s.mu.Unlock()
	if news {
		s.changed()
	}
}
