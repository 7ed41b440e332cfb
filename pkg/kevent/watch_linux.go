package kevent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/talos-sriov/talos-sriov/pkg/nl"
)

const (
	// rcvBuf holds the announcements of some thousand VFs until they are
	// taken; the kernel only uses what is queued.
	rcvBuf = 16 << 20
	// maxMessage is more than either socket sends at once: a uevent is 2 KiB
	// (UEVENT_BUFFER_SIZE), a link message without VF list well below 32.
	maxMessage = 64 << 10
	// ueventGroup is the kernel's own group; udevd sends to group 2.
	ueventGroup = 1

	rtGroups = unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR |
		unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE
)

// rtnetlink is the socket's name in events and logs.
const rtnetlink = "rtnetlink"

// Retries of a socket that failed: the first after minRetry, each later one
// after twice as long, maxRetry at most.
const (
	minRetry = 100 * time.Millisecond
	maxRetry = 30 * time.Second
)

// Watcher gives the kernel's events until its context ends.
type Watcher struct {
	events chan Event
	log    *slog.Logger
	retry  time.Duration // minRetry, but for tests
	wg     sync.WaitGroup
}

// socket is one subscription and how it is made.
type socket struct {
	name   string
	open   func() (*os.File, error)
	decode func([]byte, func(Event))
}

// Open subscribes; every change after its return is announced. A socket that
// cannot be opened, or fails later, is opened again and again, and each time that
// this works a Lost event says that announcements were missed; log has one line
// until the socket works. The watcher ends with ctx: then the channel of events
// is closed and nothing is left running.
func Open(ctx context.Context, log *slog.Logger) *Watcher {
	return start(ctx, log, minRetry,
		socket{"uevent", func() (*os.File, error) { return subscribe(unix.NETLINK_KOBJECT_UEVENT, ueventGroup, rcvBuf) }, decodeUevent},
		socket{rtnetlink, func() (*os.File, error) { return subscribe(unix.NETLINK_ROUTE, rtGroups, rcvBuf) }, decodeRoute},
	)
}

func start(ctx context.Context, log *slog.Logger, retry time.Duration, sockets ...socket) *Watcher {
	w := &Watcher{events: make(chan Event, 64), log: log, retry: retry}
	for _, s := range sockets {
		// The first time here: what happens after Open returned is announced.
		file, err := s.open()
		w.wg.Go(func() { w.keep(ctx, s, file, err) })
	}
	go func() {
		w.wg.Wait()
		close(w.events)
	}()
	return w
}

// Events is closed when the watcher has ended. A consumer that is slow loses
// nothing but time: what the kernel cannot queue is announced by a Lost.
func (w *Watcher) Events() <-chan Event { return w.events }

func (w *Watcher) send(ctx context.Context, e Event) {
	w.log.Debug("kernel event", "kind", e.Kind, "name", e.Name)
	select {
	case w.events <- e:
	case <-ctx.Done():
	}
}

// keep receives from the socket until ctx ends, and opens it again when it
// fails. The other socket goes on meanwhile.
func (w *Watcher) keep(ctx context.Context, s socket, file *os.File, err error) {
	wait, failed := w.retry, false
	for {
		if err == nil {
			worked := false
			err = w.drain(ctx, s, file, func() {
				worked = true
				if failed {
					failed = false
					w.log.Info("kernel event socket works again", "socket", s.name)
				}
			})
			if worked {
				wait = w.retry
			}
		}
		if ctx.Err() != nil {
			return
		}
		if !failed {
			failed = true
			w.log.Warn("kernel event socket failed and is opened again: changes are seen late until it works", "socket", s.name, "err", err)
		}
		if !sleep(ctx, wait) {
			return
		}
		wait = min(2*wait, maxRetry)
		if file, err = s.open(); err == nil {
			w.send(ctx, Event{Lost, s.name})
		}
	}
}

// sleep waits and reports whether ctx still lasts.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// drain receives until the socket fails or ctx ends, and closes it. works is
// called after each successful answer of the socket.
func (w *Watcher) drain(ctx context.Context, s socket, file *os.File, works func()) error {
	defer file.Close()
	stop := context.AfterFunc(ctx, func() { _ = file.Close() })
	defer stop()
	return fmt.Errorf("receive from the %s socket: %w", s.name, w.receive(ctx, s.name, file, s.decode, works))
}

// receive reads one socket until it is closed or fails, and returns why.
func (w *Watcher) receive(ctx context.Context, name string, file *os.File, decode func([]byte, func(Event)), works func()) error {
	conn, err := file.SyscallConn()
	if err != nil {
		return err
	}
	buf := make([]byte, maxMessage)
	send := func(e Event) { w.send(ctx, e) }
	for {
		n, err := recv(conn, buf)
		switch {
		case err == nil && n > len(buf), errors.Is(err, unix.ENOBUFS):
			works()
			w.send(ctx, Event{Lost, name})
		case err == nil:
			works()
			decode(buf[:n], send)
		case errors.Is(err, unix.EINTR):
		default:
			return err
		}
	}
}

// recv waits for one message of the kernel and returns its full length, which
// is more than buf holds when it was cut. Messages from other processes are
// answered as empty ones.
func recv(conn syscall.RawConn, buf []byte) (n int, err error) {
	var from unix.Sockaddr
	waitErr := conn.Read(func(fd uintptr) bool {
		n, from, err = unix.Recvfrom(int(fd), buf, unix.MSG_TRUNC)
		return !errors.Is(err, unix.EAGAIN)
	})
	if waitErr != nil {
		return 0, waitErr
	}
	if err != nil {
		return 0, err
	}
	if sa, ok := from.(*unix.SockaddrNetlink); !ok || sa.Pid != 0 {
		return 0, nil
	}
	return n, nil
}

// subscribe opens a netlink socket that the runtime's poller can wait on and
// that queues about buf bytes.
func subscribe(proto int, groups uint32, buf int) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, proto)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	// Above the machine's limit only with CAP_NET_ADMIN; a smaller buffer
	// works too, with Lost events earlier.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, buf) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, buf)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("bind: %w", err)
	}
	return os.NewFile(uintptr(fd), "netlink"), nil
}

func decodeUevent(b []byte, send func(Event)) {
	if e, ok := parseUevent(b); ok && e.interesting() {
		send(Event{Device, e.name})
	}
}

// decodeRoute walks the messages in one datagram of rtnetlink. What a malformed one
// announces is not known.
func decodeRoute(b []byte, send func(Event)) {
	msgs, err := syscall.ParseNetlinkMessage(b)
	if err != nil {
		send(Event{Lost, rtnetlink})
		return
	}
	for _, m := range msgs {
		e, ok, err := routeEvent(m.Header.Type, m.Data)
		switch {
		case err != nil:
			send(Event{Lost, rtnetlink})
		case ok:
			send(e)
		}
	}
}

// routeEvent makes an event of one rtnetlink message; ok is false for what
// cannot concern a PF, a VF or the way to the node.
func routeEvent(typ uint16, data []byte) (e Event, ok bool, err error) {
	switch typ {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		l, err := nl.DecodeLink(data)
		// AF_BRIDGE messages are about bridge ports, and repeat what the
		// interface's own have.
		if err != nil || data[0] != unix.AF_UNSPEC || l.Loopback || !relevantKind(l.Kind) {
			return Event{}, false, err
		}
		return Event{Link, l.Name}, true, nil
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		a, err := nl.DecodeAddr(data)
		ip := a.Prefix.Addr()
		if err != nil || !ip.IsValid() || ip.IsLoopback() || ip.IsLinkLocalUnicast() {
			return Event{}, false, err
		}
		return Event{Addr, strconv.Itoa(a.Index)}, true, nil
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		_, ok, err := nl.DecodeRoute(data)
		return Event{Kind: Route}, ok && err == nil, err
	}
	return Event{}, false, nil
}

// relevantKind separates hardware and what is stacked on it from the interfaces
// that come and go with pods.
func relevantKind(kind string) bool {
	switch kind {
	case "", "bond", "team", "bridge", "vrf", "vlan", "macvlan", "macvtap", "ipvlan", "ipvtap", "openvswitch", "ipoib", "netdevsim":
		return true
	}
	return false
}
