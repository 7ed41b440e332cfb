package agent

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/talos-sriov/talos-sriov/test/lab/internal/proc"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/wire"
)

// Client talks to the guest. It connects when it must and again after the guest
// was rebooted or restored.
type Client struct {
	socket string
	alive  func() error // says why the machine is gone, if it is

	mu   sync.Mutex
	sess *session
	next uint32
}

// New returns a client for the socket of a virtio-serial port.
func New(socket string, alive func() error) *Client {
	return &Client{socket: socket, alive: alive}
}

// ErrLost is returned for a request whose connection ended before the answer.
var ErrLost = errors.New("the connection to the guest ended")

type session struct {
	conn net.Conn
	out  *wire.Writer
	dead chan struct{}
	once sync.Once

	mu      sync.Mutex
	streams map[uint32]*stream
}

type stream struct {
	stdout, stderr io.Writer
	result         chan wire.Response
}

func (s *session) close() {
	s.once.Do(func() {
		close(s.dead)
		s.conn.Close()
	})
}

// connect returns the session, making one if there is none.
func (c *Client) connect(ctx context.Context) (*session, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sess != nil {
		select {
		case <-c.sess.dead:
		default:
			return c.sess, nil
		}
	}
	var s *session
	err := proc.Poll(ctx, "connect to the guest", 50*time.Millisecond, func() (bool, error) {
		if err := c.alive(); err != nil {
			return false, &proc.Permanent{Err: err}
		}
		var err error
		s, err = c.handshake(ctx)
		return err == nil, err
	})
	if err != nil {
		return nil, err
	}
	c.sess = s
	return s, nil
}

// handshake says hello until the guest answers: before it has booted there is
// nobody to read.
func (c *Client) handshake(ctx context.Context) (*session, error) {
	conn, err := net.Dial("unix", c.socket)
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, wire.NonceLen)
	_, _ = rand.Read(nonce)
	out, in := wire.NewWriter(conn), bufio.NewReaderSize(conn, wire.MaxPayload)
	acked := make(chan error, 1)
	go func() { acked <- wire.AwaitAck(in, nonce) }()
	t := time.NewTicker(2 * time.Second)
	defer t.Stop()
	for {
		if err := c.alive(); err != nil {
			conn.Close()
			return nil, err
		}
		if err := conn.SetWriteDeadline(time.Now().Add(2 * time.Second)); err != nil {
			conn.Close()
			return nil, err
		}
		if err := out.Write(wire.Hello, 0, nonce); err != nil {
			conn.Close()
			return nil, err
		}
		select {
		case err := <-acked:
			if err != nil {
				conn.Close()
				return nil, err
			}
			_ = conn.SetWriteDeadline(time.Time{})
			s := &session{conn: conn, out: out, dead: make(chan struct{}), streams: map[uint32]*stream{}}
			go s.read(in)
			return s, nil
		case <-ctx.Done():
			conn.Close()
			return nil, ctx.Err()
		case <-t.C:
		}
	}
}

func (s *session) read(in *bufio.Reader) {
	defer s.close()
	for {
		f, err := wire.ReadFrame(in)
		if errors.Is(err, wire.ErrSync) {
			return
		}
		if err != nil {
			return
		}
		s.mu.Lock()
		st := s.streams[f.Stream]
		if f.Type == wire.Result {
			delete(s.streams, f.Stream)
		}
		s.mu.Unlock()
		if st == nil {
			continue
		}
		switch f.Type {
		case wire.Stdout:
			_, _ = st.stdout.Write(f.Payload)
		case wire.Stderr:
			_, _ = st.stderr.Write(f.Payload)
		case wire.Result:
			var r wire.Response
			if err := json.Unmarshal(f.Payload, &r); err != nil {
				r = wire.Response{Code: -1, Error: err.Error()}
			}
			st.result <- r
		}
	}
}

// Drop forgets the connection: after the machine was rebooted or restored the
// other end is another one.
func (c *Client) Drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sess != nil {
		c.sess.close()
		c.sess = nil
	}
}

// Do sends a request and waits for its answer. Input, output and errors may be
// nil.
func (c *Client) Do(ctx context.Context, req wire.Request, in io.Reader, stdout, stderr io.Writer) (wire.Response, error) {
	s, err := c.connect(ctx)
	if err != nil {
		return wire.Response{}, err
	}
	if stdout == nil {
		stdout = io.Discard
	}
	if stderr == nil {
		stderr = io.Discard
	}
	st := &stream{stdout, stderr, make(chan wire.Response, 1)}
	c.mu.Lock()
	c.next++
	id := c.next
	c.mu.Unlock()
	s.mu.Lock()
	s.streams[id] = st
	s.mu.Unlock()
	if err := s.out.JSON(wire.Open, id, req); err != nil {
		s.close()
		return wire.Response{}, fmt.Errorf("%s: %w: %w", req.Op, ErrLost, err)
	}
	if in != nil {
		if _, err := io.Copy(s.out.Stream(wire.Data, id), in); err != nil {
			return wire.Response{}, fmt.Errorf("%s: send input: %w", req.Op, err)
		}
		if err := s.out.Write(wire.EOF, id, nil); err != nil {
			return wire.Response{}, fmt.Errorf("%s: %w: %w", req.Op, ErrLost, err)
		}
	}
	select {
	case r := <-st.result:
		if r.Error != "" {
			return r, fmt.Errorf("%s: the guest answers: %s", req.Op, r.Error)
		}
		return r, nil
	case <-s.dead:
		return wire.Response{}, fmt.Errorf("%s: %w", req.Op, ErrLost)
	case <-ctx.Done():
		_ = s.out.Write(wire.Cancel, id, nil)
		return wire.Response{}, fmt.Errorf("%s: %w", req.Op, ctx.Err())
	}
}

// Value sends a request and decodes its answer.
func (c *Client) Value(ctx context.Context, req wire.Request, v any) error {
	r, err := c.Do(ctx, req, nil, nil, nil)
	if err != nil {
		return err
	}
	if v == nil {
		return nil
	}
	if err := json.Unmarshal(r.Value, v); err != nil {
		return fmt.Errorf("%s: decode answer: %w", req.Op, err)
	}
	return nil
}

// ExitError is a script that failed.
type ExitError struct {
	Script         string
	Code           int
	TimedOut       bool
	Stdout, Stderr string
}

func (e *ExitError) Error() string {
	how := fmt.Sprintf("exit code %d", e.Code)
	if e.TimedOut {
		how = "timed out"
	}
	return fmt.Sprintf("guest script: %s\n--- script\n%s\n--- stdout\n%s\n--- stderr\n%s", how, e.Script, e.Stdout, e.Stderr)
}

// Exec runs a shell script in the guest and returns its output.
func (c *Client) Exec(ctx context.Context, script string) (string, error) {
	req := wire.Request{Op: "exec", Script: script}
	if d, ok := ctx.Deadline(); ok {
		req.TimeoutMS = time.Until(d).Milliseconds()
	}
	var stdout, stderr bytes.Buffer
	r, err := c.Do(ctx, req, nil, &stdout, &stderr)
	if err != nil {
		return stdout.String(), err
	}
	if r.Code != 0 || r.TimedOut {
		return stdout.String(), &ExitError{script, r.Code, r.TimedOut, stdout.String(), stderr.String()}
	}
	return stdout.String(), nil
}
