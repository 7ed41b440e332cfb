package kevent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

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

// Watcher gives the kernel's events until its context ends.
type Watcher struct {
	events chan Event
	wg     sync.WaitGroup
	err    error // valid once events is closed
}

// Open subscribes; every change after its return is announced. The watcher
// ends with ctx: then, or after a failure (see [Watcher.Err]), the channel of
// events is closed and nothing is left running.
func Open(ctx context.Context) (*Watcher, error) {
	uevent, err := subscribe(unix.NETLINK_KOBJECT_UEVENT, ueventGroup, rcvBuf)
	if err != nil {
		return nil, fmt.Errorf("subscribe to the kernel's uevents: %w", err)
	}
	route, err := subscribe(unix.NETLINK_ROUTE, rtGroups, rcvBuf)
	if err != nil {
		_ = uevent.Close() // nothing was read from it
		return nil, fmt.Errorf("subscribe to rtnetlink: %w", err)
	}
	w := &Watcher{events: make(chan Event, 64)}
	ctx, cancel := context.WithCancel(ctx)
	var once sync.Once
	for _, s := range []struct {
		name   string
		file   *os.File
		decode func([]byte, func(Event))
	}{
		{"uevent", uevent, decodeUevent},
		{"rtnetlink", route, decodeRoute},
	} {
		w.wg.Go(func() {
			defer s.file.Close()
			stop := context.AfterFunc(ctx, func() { _ = s.file.Close() })
			defer stop()
			// The end of ctx closes the socket, which is no failure.
			if err := w.receive(ctx, s.name, s.file, s.decode); ctx.Err() == nil {
				once.Do(func() { w.err = fmt.Errorf("receive from the %s socket: %w", s.name, err) })
				cancel() // deaf on one ear is no better than on both
			}
		})
	}
	go func() {
		w.wg.Wait()
		cancel()
		close(w.events)
	}()
	return w, nil
}

// Events is closed when the watcher has ended. A consumer that is slow loses
// nothing but time: what the kernel can not queue is announced by a Lost.
func (w *Watcher) Events() <-chan Event { return w.events }

// Err says why the watcher ended, nil when its context did. It may be called
// once Events is closed.
func (w *Watcher) Err() error { return w.err }

func (w *Watcher) send(ctx context.Context, e Event) {
	select {
	case w.events <- e:
	case <-ctx.Done():
	}
}

// receive reads one socket until it is closed or fails, and returns why.
func (w *Watcher) receive(ctx context.Context, name string, file *os.File, decode func([]byte, func(Event))) error {
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
			w.send(ctx, Event{Kind: Lost, Subsystem: name})
		case err == nil:
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
	if e, ok := ParseUevent(b); ok && e.interesting() {
		send(e)
	}
}

// decodeRoute walks the messages in one datagram of rtnetlink.
func decodeRoute(b []byte, send func(Event)) {
	msgs, err := syscall.ParseNetlinkMessage(b)
	if err != nil {
		return // cut short by nobody but the kernel, which does not
	}
	for _, m := range msgs {
		if e, ok := routeEvent(m.Header.Type, m.Data); ok {
			send(e)
		}
	}
}

// routeEvent makes an event of one rtnetlink message; ok is false for what
// can not concern a PF, a VF or the way to the node.
func routeEvent(typ uint16, data []byte) (e Event, ok bool) {
	switch typ {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		l, err := nl.DecodeLink(data)
		// AF_BRIDGE messages tell of bridge ports, and repeat what the
		// interface's own say.
		if err != nil || data[0] != unix.AF_UNSPEC || l.Loopback || !relevantKind(l.Kind) {
			return Event{}, false
		}
		e = Event{Kind: Link, Action: New, Name: l.Name, Index: l.Index, Up: l.Up, Carrier: l.Carrier}
		if l.ParentBus == nl.BusPCI {
			e.Device = l.ParentDev
		}
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		a, err := nl.DecodeAddr(data)
		ip := a.Prefix.Addr()
		if err != nil || !ip.IsValid() || ip.IsLoopback() || ip.IsLinkLocalUnicast() {
			return Event{}, false
		}
		e = Event{Kind: Addr, Action: New, Index: a.Index}
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		r, ok, err := nl.DecodeRoute(data)
		if err != nil || !ok {
			return Event{}, false
		}
		e = Event{Kind: Route, Action: New, Index: r.Indexes[0]}
	default:
		return Event{}, false
	}
	switch typ {
	case unix.RTM_DELLINK, unix.RTM_DELADDR, unix.RTM_DELROUTE:
		e.Action = Del
	}
	return e, true
}

// relevantKind tells hardware and what is stacked on it from the interfaces
// that come and go with pods.
func relevantKind(kind string) bool {
	switch kind {
	case "", "bond", "team", "bridge", "vlan", "macvlan", "macvtap", "ipvlan", "ipvtap", "openvswitch", "ipoib", "netdevsim":
		return true
	}
	return false
}
