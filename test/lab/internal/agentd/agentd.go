package agentd

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/talos-sriov/talos-sriov/test/lab/internal/wire"
)

// Handler serves one request. What it returns is the answer's value; it may set the
// other fields of the answer itself. The context ends when the host gives up.
type Handler func(ctx context.Context, req wire.Request, in io.Reader, stdout, stderr io.Writer, resp *wire.Response) (any, error)

// Server serves the host on the virtio-serial ports that are meant for it.
type Server struct {
	Dev    string // where the ports' devices are, /dev
	Handle Handler
	Failed func(error) // a port cannot be served
}

// Serve waits for the ports and serves each on a goroutine; it returns once it knows
// of a port.
func (s *Server) Serve() {
	served := map[string]bool{}
	poll(100*time.Millisecond, func() bool {
		names, _ := filepath.Glob("/sys/class/virtio-ports/*/name")
		for _, f := range names {
			b, err := os.ReadFile(f)
			port := filepath.Base(filepath.Dir(f))
			if err == nil && strings.HasPrefix(string(b), "lab.agent.") && !served[port] {
				served[port] = true
				go s.serve(filepath.Join(s.Dev, port))
			}
		}
		return len(served) > 0
	})
}

// poll calls f until it reports true.
func poll(every time.Duration, f func() bool) {
	t := time.NewTicker(every)
	defer t.Stop()
	for !f() {
		<-t.C
	}
}

// port reads and writes a virtio-serial port without Go's poller: while no host
// is connected, reads give nothing and the port is always readable.
type port struct{ fd int }

func (p port) Read(b []byte) (int, error) {
	for {
		n, err := unix.Read(p.fd, b)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN) {
			continue
		}
		if n == 0 && err == nil {
			return 0, io.EOF
		}
		return max(n, 0), err
	}
}

func (p port) Write(b []byte) (int, error) {
	done := 0
	for done < len(b) {
		n, err := unix.Write(p.fd, b[done:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return done, err
		}
		done += n
	}
	return done, nil
}

func (s *Server) serve(path string) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		s.Failed(fmt.Errorf("open %s: %w", path, err))
		return
	}
	p := port{fd}
	out := wire.NewWriter(p)
	for {
		var in *bufio.Reader
		// Only data shows that there is a connection.
		poll(50*time.Millisecond, func() bool {
			in = bufio.NewReader(p)
			_, err := in.Peek(1)
			return err == nil
		})
		s.session(in, out)
	}
}

// session serves one connection of the host until it ends.
func (s *Server) session(in *bufio.Reader, out *wire.Writer) {
	x := &session{handle: s.Handle, out: out, streams: map[uint32]*stream{}}
	defer x.reset()
	for {
		f, err := wire.ReadFrame(in)
		if errors.Is(err, wire.ErrSync) {
			// The rest of an earlier session: skip to the next Hello.
			continue
		}
		if err != nil {
			return
		}
		if f.Type == wire.Hello {
			x.reset()
			if err := out.Ack(f.Payload); err != nil {
				return
			}
			continue
		}
		x.frame(f)
	}
}

type session struct {
	handle Handler
	out    *wire.Writer

	mu      sync.Mutex
	streams map[uint32]*stream
}

// stream is one request under way.
type stream struct {
	cancel context.CancelFunc
	in     *io.PipeWriter
}

func (s *session) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, st := range s.streams {
		st.cancel()
		st.in.CloseWithError(io.ErrUnexpectedEOF)
		delete(s.streams, id)
	}
}

func (s *session) frame(f wire.Frame) {
	if f.Type == wire.Open {
		var req wire.Request
		if err := json.Unmarshal(f.Payload, &req); err != nil {
			_ = s.out.JSON(wire.Result, f.Stream, wire.Response{Code: -1, Error: err.Error()})
			return
		}
		ctx, cancel := context.WithCancel(context.Background())
		pr, pw := io.Pipe()
		st := &stream{cancel, pw}
		s.mu.Lock()
		s.streams[f.Stream] = st
		s.mu.Unlock()
		go s.serve(ctx, f.Stream, st, req, pr)
		return
	}
	s.mu.Lock()
	st := s.streams[f.Stream]
	s.mu.Unlock()
	if st == nil {
		return
	}
	switch f.Type {
	case wire.Data:
		_, _ = st.in.Write(f.Payload)
	case wire.EOF:
		st.in.Close()
	case wire.Cancel:
		st.cancel()
	}
}

func (s *session) serve(ctx context.Context, id uint32, st *stream, req wire.Request, in *io.PipeReader) {
	defer in.Close()
	defer st.cancel()
	resp := wire.Response{}
	v, err := s.handle(ctx, req, in, s.out.Stream(wire.Stdout, id), s.out.Stream(wire.Stderr, id), &resp)
	if err == nil && v != nil {
		resp.Value, err = json.Marshal(v)
	}
	if err != nil {
		resp.Code, resp.Error = -1, err.Error()
	}
	s.mu.Lock()
	current := s.streams[id] == st
	if current {
		delete(s.streams, id)
	}
	s.mu.Unlock()
	if current {
		_ = s.out.JSON(wire.Result, id, resp)
	}
}
