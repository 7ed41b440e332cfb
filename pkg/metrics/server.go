package metrics

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/net/netutil"
)

const (
	// Timeout is how long a client has for its request, and for taking the
	// response.
	Timeout = 5 * time.Second
	// MaxHeader is the most that the header of a request may have, in bytes;
	// net/http allows 4 KiB on top.
	MaxHeader = 4 << 10
	// MaxConns is how many connections are served at a time; more wait in the kernel.
	MaxConns = 8
	// Retry is how long after a failure it is tried again to listen.
	Retry = 30 * time.Second
)

// Server serves the pages at the address that Listen set last.
type Server struct {
	handler http.Handler
	log     *slog.Logger
	changed func() // Addr or Err has news
	retry   time.Duration
	timeout time.Duration
	listen  func(ctx context.Context, network, address string) (net.Listener, error)

	kick chan struct{} // cap 1

	mu       sync.Mutex
	wanted   string
	addr     net.Addr
	err      error
	reported state // with the last call of changed
}

// state is where the server listens or should.
type state struct {
	wanted    string
	listening bool
}

// NewServer returns a server that listens nowhere yet. changed is called, from
// Run's goroutine, when Addr or Err has news.
func NewServer(pages Pages, log *slog.Logger, changed func()) *Server {
	var config net.ListenConfig
	return &Server{
		handler: handler(pages, log), log: log, changed: changed,
		retry: Retry, timeout: Timeout, listen: config.Listen,
		kick: make(chan struct{}, 1),
	}
}

// Listen makes the server listen at address:port; "" is nowhere. It does not
// block.
func (s *Server) Listen(address string) {
	s.mu.Lock()
	news := s.wanted != address
	s.wanted = address
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

// Run serves until ctx ends. It never fails: what keeps it from listening is
// reported by Err and tried again.
func (s *Server) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		address := s.address()
		if address == "" {
			s.set("", nil, nil)
			s.pause(ctx, nil)
			continue
		}
		if err := s.serve(ctx, address); err != nil {
			s.set(address, nil, err)
			retry := time.NewTimer(s.retry)
			s.pause(ctx, retry.C)
			retry.Stop()
		}
	}
	return nil
}

func (s *Server) address() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.wanted
}

// pause waits for another address, the retry or the end.
func (s *Server) pause(ctx context.Context, retry <-chan time.Time) {
	select {
	case <-ctx.Done():
	case <-s.kick:
	case <-retry:
	}
}

// serve serves at address until ctx ends or another address is wanted. The error
// is why it cannot listen there, or no longer.
func (s *Server) serve(ctx context.Context, address string) error {
	lis, err := s.listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	server := http.Server{
		Handler:        s.handler,
		ReadTimeout:    s.timeout,
		WriteTimeout:   s.timeout,
		MaxHeaderBytes: MaxHeader,
		// "OPTIONS *" is refused like every method but GET and HEAD.
		DisableGeneralOptionsHandler: true,
		// What a client does wrong is nobody's problem but its own.
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	// A client that keeps its connection would keep one of few.
	server.SetKeepAlivesEnabled(false)
	broken := make(chan error, 1)
	var wg sync.WaitGroup
	wg.Go(func() { broken <- server.Serve(netutil.LimitListener(lis, MaxConns)) })
	defer wg.Wait()
	// Not Shutdown, which waits for clients.
	defer func() { _ = server.Close() }()

	s.set(address, lis.Addr(), nil)
	s.log.Info("metrics are served", "address", lis.Addr().String())
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.kick:
			if s.address() != address {
				return nil
			}
		case err := <-broken:
			return fmt.Errorf("accept on %s: %w", address, err)
		}
	}
}

// set notes that the server listens at addr, or why it does not listen at wanted
// although it should, and calls changed when that is new.
func (s *Server) set(wanted string, addr net.Addr, err error) {
	now := state{wanted, addr != nil}
	s.mu.Lock()
	news := s.reported != now
	s.addr, s.err, s.reported = addr, err, now
	s.mu.Unlock()
	if news {
		s.changed()
	}
}
