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
	if ctxErr := ctx.Err(); ctxErr != nil && err != nil && !isErrno(err) {
		return ctxErr
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("no answer from the kernel within %s: %w", timeout.Round(time.Millisecond), os.ErrDeadlineExceeded)
	}
	return err
}

func isErrno(err error) bool {
	var errno unix.Errno
	return errors.As(err, &errno)
}

// dump repeats a dump until the kernel calls it consistent. begin is called
// before each try, to forget what an interrupted one gave.
func (h *Handle) dump(ctx context.Context, proto int, build func() *nl.NetlinkRequest, begin func(), f func([]byte) error) error {
	var err error
	for range dumpTries {
		begin()
		err = h.do(ctx, proto, build(), f)
		if !errors.Is(err, nl.ErrDumpInterrupted) && !errors.Is(err, unix.EINTR) {
			return err
		}
	}
	return fmt.Errorf("the kernel's tables changed during each of %d tries: %w", dumpTries, err)
}

// family resolves a generic netlink family by name; ENOENT when its module is
// not there.
func (h *Handle) family(ctx context.Context, name string) (uint16, error) {
	req := nl.NewNetlinkRequest(unix.GENL_ID_CTRL, unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	req.AddData(genlHeader{unix.CTRL_CMD_GETFAMILY, 1})
	req.AddData(nl.NewRtAttr(unix.CTRL_ATTR_FAMILY_NAME, nl.ZeroTerminated(name)))
	var id uint16
	err := h.do(ctx, unix.NETLINK_GENERIC, req, func(b []byte) (err error) {
		id, err = decodeFamily(genl(b))
		return err
	})
	if err == nil && id == 0 {
		err = unix.ENOENT
	}
	if errors.Is(err, unix.ENOENT) {
		return 0, fmt.Errorf("%w: the kernel has no netlink family %q: %w", ErrUnsupported, name, err)
	}
	if err != nil {
		return 0, fmt.Errorf("find the netlink family %q: %w", name, err)
	}
	return id, nil
}

// decodeFamily finds a family's number, 0 when it is not there.
func decodeFamily(d *decoder) (id uint16, err error) {
	for d.next() {
		if d.typ == unix.CTRL_ATTR_FAMILY_ID {
			id = d.u16()
		}
	}
	return id, d.err
}

// genlHeader is struct genlmsghdr. The library's own reads two bytes past its
// struct for the reserved field, which the kernel wants to be zero.
type genlHeader struct{ cmd, version uint8 }

func (h genlHeader) Len() int          { return nl.SizeofGenlmsg }
func (h genlHeader) Serialize() []byte { return []byte{h.cmd, h.version, 0, 0} }

// genl is a decoder for the attributes behind the generic netlink header.
func genl(b []byte) *decoder { return decodeAfter(b, nl.SizeofGenlmsg) }

// wrap makes an *Error of a failed request, nil of a good one.
func wrap(err error, op, target, value string) error {
	if err == nil {
		return nil
	}
	return &Error{Op: op, Target: target, Value: value, Err: err}
}
