package nl

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// receiver reads the kernel's answers on one socket. Unlike the library's own
// reading it takes messages of any size: what a PF with hundreds of VFs holds for
// them is one message of more than 64 KiB.
type receiver struct {
	file *os.File
	conn syscall.RawConn
	pid  uint32
}

// receive makes a receiver for the socket, which stays open as long as either is.
func receive(sock *nl.NetlinkSocket) (*receiver, error) {
	pid, err := sock.GetPid()
	if err != nil {
		return nil, err
	}
	fd, err := unix.FcntlInt(uintptr(sock.GetFd()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("duplicate the netlink socket: %w", err)
	}
	file := os.NewFile(uintptr(fd), "netlink")
	conn, err := file.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &receiver{file: file, conn: conn, pid: pid}, nil
}

// until bounds the wait for answers: by the time, and by the context.
func (r *receiver) until(ctx context.Context, end time.Time) (stop func() bool, err error) {
	if err := r.file.SetReadDeadline(end); err != nil {
		return nil, err
	}
	return context.AfterFunc(ctx, func() { _ = r.file.SetReadDeadline(time.Unix(1, 0)) }), nil
}

// message is the next message in its full length, and who sent it.
func (r *receiver) message() (b []byte, from unix.Sockaddr, err error) {
	var got error
	err = r.conn.Read(func(fd uintptr) bool {
		n, _, err := unix.Recvfrom(int(fd), nil, unix.MSG_PEEK|unix.MSG_TRUNC)
		if err == nil {
			b = make([]byte, n)
			n, from, err = unix.Recvfrom(int(fd), b, 0)
			b = b[:max(n, 0)]
		}
		got = err
		return err != unix.EAGAIN && err != unix.EINTR
	})
	return b, from, errors.Join(got, err)
}

// answers calls f for the payload of each answer to the request with the number.
func (r *receiver) answers(seq uint32, f func([]byte) error) error {
	interrupted, failed := false, error(nil)
	for {
		b, from, err := r.message()
		if err != nil {
			return err
		}
		if kernel, ok := from.(*unix.SockaddrNetlink); !ok || kernel.Pid != nl.PidKernel {
			continue
		}
		for len(b) > 0 {
			var m message
			if m, b, err = next(b); err != nil {
				return err
			}
			if m.seq != seq || m.pid != r.pid {
				continue
			}
			interrupted = interrupted || m.flags&unix.NLM_F_DUMP_INTR != 0
			last := m.flags&unix.NLM_F_MULTI == 0
			switch m.typ {
			case unix.NLMSG_DONE, unix.NLMSG_ERROR:
				if err := m.result(); err != nil {
					return errors.Join(err, failed)
				}
				last = true
			default:
				if f != nil && failed == nil {
					failed = f(m.data)
				}
			}
			if last && interrupted {
				return errors.Join(nl.ErrDumpInterrupted, failed)
			}
			if last {
				return failed
			}
		}
	}
}

// message is one struct nlmsghdr with what follows it.
type message struct {
	typ, flags uint16
	seq, pid   uint32
	data       []byte
}

// next takes the first message off b.
func next(b []byte) (m message, rest []byte, err error) {
	n := 0
	if len(b) >= unix.NLMSG_HDRLEN {
		n = int(u32(b))
	}
	if n < unix.NLMSG_HDRLEN || n > len(b) {
		return m, nil, fmt.Errorf("a message has the length %d, where %d bytes are left: %w", n, len(b), ErrMalformed)
	}
	m = message{
		typ: u16(b[4:]), flags: u16(b[6:]), seq: u32(b[8:]), pid: u32(b[12:]), data: b[unix.NLMSG_HDRLEN:n:n],
	}
	return m, b[min(align(n), len(b)):], nil
}

// result is the error in a message that ends an answer: struct nlmsgerr, or the
// number alone at the end of a dump.
func (m *message) result() error {
	if len(m.data) < 4 {
		return nil // the end of a dump without one
	}
	errno := int32(u32(m.data))
	if errno == 0 {
		return nil
	}
	err := error(unix.Errno(-errno))
	if m.flags&unix.NLM_F_ACK_TLVS == 0 || len(m.data) < 4+unix.NLMSG_HDRLEN {
		return err
	}
	skip := unix.NLMSG_HDRLEN // the request's header, and the request unless capped
	if m.flags&unix.NLM_F_CAPPED == 0 {
		skip = align(int(u32(m.data[4:])))
	}
	// What is malformed here costs the text and not the answer, which is the errno.
	for d := decode(m.data[min(4+max(skip, 0), len(m.data)):]); d.next(); {
		if d.typ == unix.NLMSGERR_ATTR_MSG {
			return fmt.Errorf("%w: %s", err, d.str())
		}
	}
	return err
}
