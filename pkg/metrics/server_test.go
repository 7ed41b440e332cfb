package metrics

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// running is a server under way.
type running struct {
	*Server
	t       *testing.T
	changes chan struct{}
}

func start(t *testing.T, listen string, tune func(*Server)) *running {
	t.Helper()
	r := &running{t: t, changes: make(chan struct{}, 100)}
	r.Server = NewServer(Pages{registry(), healthy}, slog.New(slog.DiscardHandler), func() { r.changes <- struct{}{} })
	if tune != nil {
		tune(r.Server)
	}
	r.Listen(listen)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return r
}

// next waits for news.
func (r *running) next() {
	r.t.Helper()
	select {
	case <-r.changes:
	case <-time.After(10 * time.Second):
		r.t.Fatal("no news")
	}
}

func get(t *testing.T, addr net.Addr, path string) (int, string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	resp, err := client.Get(fmt.Sprintf("http://%s%s", addr, path))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// breaking is a listener that fails as soon as fail is closed.
type breaking struct {
	net.Listener
	fail <-chan struct{}
}

func (b breaking) Accept() (net.Conn, error) {
	<-b.fail
	return nil, errors.New("the listener broke")
}

// A listener that breaks is reported, and replaced after a while.
func TestListenerBreaks(t *testing.T) {
	fail, first := make(chan struct{}), true
	r := start(t, "127.0.0.1:0", func(s *Server) {
		s.retry = 20 * time.Millisecond
		listen := s.listen
		s.listen = func(ctx context.Context, network, address string) (net.Listener, error) {
			lis, err := listen(ctx, network, address)
			if first && err == nil {
				first, lis = false, breaking{lis, fail}
			}
			return lis, err
		}
	})
	r.next()
	was := r.Addr()
	close(fail)
	r.next()
	if c, err := net.Dial("tcp", was.String()); err == nil {
		_ = c.Close()
		t.Error("the broken listener is still open")
	}
	r.next()
	if r.Err() != nil || r.Addr() == nil {
		t.Fatalf("%v, %v", r.Err(), r.Addr())
	}
	if status, _ := get(t, r.Addr(), "/metrics"); status != 200 {
		t.Errorf("status %d", status)
	}
}

func TestServes(t *testing.T) {
	r := start(t, "127.0.0.1:0", nil)
	r.next()
	for path, want := range map[string]string{"/metrics": "200 " + metricsText, "/healthz": "200 ok\n", "/x": "404 there are /metrics and /healthz\n"} {
		if status, body := get(t, r.Addr(), path); fmt.Sprint(status, " ", body) != want {
			t.Errorf("%s: %d %q", path, status, body)
		}
	}
	// Off, and on again elsewhere.
	was := r.Addr()
	r.Listen("")
	r.next()
	if r.Addr() != nil || r.Err() != nil {
		t.Errorf("off: %v, %v", r.Addr(), r.Err())
	}
	if c, err := net.Dial("tcp", was.String()); err == nil {
		_ = c.Close()
		t.Error("still listening")
	}
	r.Listen("[::1]:0")
	r.next()
	if r.Err() != nil {
		t.Skipf("no IPv6 here: %v", r.Err())
	}
	if status, _ := get(t, r.Addr(), "/metrics"); status != 200 {
		t.Errorf("status %d", status)
	}
}

// An address that somebody else has is reported, tried again, and taken when it is
// free.
func TestAddressInUse(t *testing.T) {
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := start(t, other.Addr().String(), func(s *Server) { s.retry = 20 * time.Millisecond })
	r.next()
	if err := r.Err(); !errors.Is(err, unix.EADDRINUSE) || !strings.Contains(err.Error(), other.Addr().String()) {
		t.Fatalf("error %v", err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	r.next()
	if r.Err() != nil || r.Addr() == nil {
		t.Fatalf("%v, %v", r.Err(), r.Addr())
	}
	if status, _ := get(t, r.Addr(), "/metrics"); status != 200 {
		t.Errorf("status %d", status)
	}
	if len(r.changes) > 0 {
		t.Error("more reports than news")
	}
}

// Clients that send nothing lose their connection and hold up nobody for longer
// than the time they have.
func TestSilentClients(t *testing.T) {
	r := start(t, "127.0.0.1:0", func(s *Server) { s.timeout = 100 * time.Millisecond })
	r.next()
	var conns []net.Conn
	for range MaxConns + 2 {
		c, err := net.Dial("tcp", r.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns = append(conns, c)
	}
	if status, _ := get(t, r.Addr(), "/metrics"); status != 200 {
		t.Errorf("status %d", status)
	}
	if _, err := io.WriteString(conns[MaxConns+1], "GET"); err != nil {
		t.Fatal(err)
	}
	for i, c := range conns {
		if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if response, err := io.ReadAll(c); err != nil || len(response) > 0 && !strings.HasPrefix(string(response), "HTTP/1.1 400 ") {
			t.Errorf("connection %d: %q, %v", i, response, err)
		}
	}
}

// Stopping does not wait for a client.
func TestStopsAtOnce(t *testing.T) {
	listens := make(chan struct{}, 1)
	s := NewServer(Pages{registry(), healthy}, slog.New(slog.DiscardHandler), func() { listens <- struct{}{} })
	s.Listen("127.0.0.1:0")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	<-listens
	c, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	cancel()
	select {
	case <-done:
	case <-time.After(Timeout - time.Second):
		t.Error("it waits for the client")
	}
}
