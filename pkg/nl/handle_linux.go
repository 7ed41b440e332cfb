package nl

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// dumpTries bounds how often an interrupted dump is repeated. Interfaces that
// come and go while VFs are made interrupt dumps, but not five in a row.
const dumpTries = 5

// replyTimeout bounds the wait for an answer when the context has no deadline.
// The kernel answers when it is done, and a driver may take long over it.
const replyTimeout = 60 * time.Second

// Handle asks the kernel in one network namespace. It holds no socket: each
// request opens its own, so that requests for different PFs do not wait for
// each other. It is safe for concurrent use.
type Handle struct {
	ns netns.NsHandle // closed: the caller's own
}

// Open returns a handle on the process' network namespace.
func Open() *Handle { return &Handle{ns: netns.None()} }

// OpenAt returns a handle on the network namespace at path
// (/var/run/netns/NAME, /proc/PID/ns/net), [ErrNoNamespace] when there is none.
// It opens nothing else, whatever lies at path. It must be closed.
func OpenAt(path string) (*Handle, error) {
	fd, err := openNamespace(path)
	if err != nil {
		return nil, err
	}
	return &Handle{ns: netns.NsHandle(fd)}, nil
}

// Close releases the namespace.
func (h *Handle) Close() error {
	if !h.ns.IsOpen() {
		return nil
	}
	return h.ns.Close()
}

// do sends one request and calls f for the payload of each answer. Sending is
// where the kernel acts on rtnetlink requests, and is not interruptible; the
// context bounds the wait for the answer.
func (h *Handle) do(ctx context.Context, proto int, req *nl.NetlinkRequest, f func([]byte) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	sock, err := nl.GetNetlinkSocketAt(h.ns, netns.None(), proto)
	if err != nil {
		return err
	}
	defer sock.Close()
	// Kernels before 4.12 have no extended messages; errno is enough then.
	_ = sock.SetExtAck(true)
	timeout := replyTimeout
	if d, ok := ctx.Deadline(); ok {
		timeout = max(time.Until(d), time.Millisecond)
	}
	in, err := receive(sock)
	if err != nil {
		return err
	}
	defer in.file.Close()
	stop, err := in.until(ctx, time.Now().Add(timeout))
	if err != nil {
		return err
	}
	defer stop()
	if err := sock.Send(req); err != nil {
		return err
	}
	err = in.answers(req.Seq, f)
	if _, answered := errors.AsType[unix.Errno](err); err != nil && ctx.Err() != nil && !answered {
		return ctx.Err()
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("no answer from the kernel within %s: %w", timeout.Round(time.Millisecond), os.ErrDeadlineExceeded)
	}
	return err
}

// ask sends one request and decodes the answer.
func ask[T any](ctx context.Context, h *Handle, proto int, req *nl.NetlinkRequest,
	decode func([]byte) (T, error),
) (T, error) {
	var out T
	err := h.do(ctx, proto, req, func(b []byte) (err error) {
		out, err = decode(b)
		return err
	})
	return out, err
}

// list asks for a dump and decodes each of its messages; ok says whether it counts.
func list[T any](ctx context.Context, h *Handle, proto int, req *nl.NetlinkRequest,
	decode func([]byte) (v T, ok bool, err error),
) ([]T, error) {
	var out []T
	err := h.dump(ctx, proto, req, func() { out = nil }, func(b []byte) error {
		v, ok, err := decode(b)
		if ok {
			out = append(out, v)
		}
		return err
	})
	return out, err
}

// dump repeats a dump until the kernel calls it consistent. begin is called
// before each try, to forget what an interrupted one gave.
func (h *Handle) dump(ctx context.Context, proto int, req *nl.NetlinkRequest, begin func(), f func([]byte) error) error {
	var err error
	for range dumpTries {
		begin()
		err = h.do(ctx, proto, req, f) // on a socket of its own, so that the number may be the same
		if !errors.Is(err, nl.ErrDumpInterrupted) && !errors.Is(err, unix.EINTR) {
			return err
		}
	}
	return fmt.Errorf("the kernel's tables changed during each of %d tries: %w", dumpTries, err)
}

// wrap makes an *Error of a failed request, nil of a good one.
func wrap(err error, op, target, value string) error {
	if err == nil {
		return nil
	}
	return &Error{Op: op, Target: target, Value: value, Err: err}
}
