package kevent

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// watch opens a watcher that ends with the test.
func watch(t *testing.T) *Watcher {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	logged := &records{}
	w := Open(ctx, slog.New(logged))
	t.Cleanup(func() {
		cancel()
		for range w.Events() {
		}
		if got := logged.all(); len(got) > 0 {
			t.Errorf("a socket failed: %q", got)
		}
	})
	return w
}

// records are the messages of a log.
type records struct {
	mu   sync.Mutex
	msgs []string
	// first, if set, is closed by the first message.
	first chan struct{}
}

func (r *records) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelInfo }
func (r *records) WithAttrs([]slog.Attr) slog.Handler           { return r }
func (r *records) WithGroup(string) slog.Handler                { return r }
func (r *records) Handle(_ context.Context, e slog.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.msgs = append(r.msgs, e.Level.String()+" "+e.Message); len(r.msgs) == 1 && r.first != nil {
		close(r.first)
	}
	return nil
}

func (r *records) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.msgs)
}

// await returns the first event that ok accepts.
func await(t *testing.T, w *Watcher, what string, ok func(Event) bool) Event {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		select {
		case e, open := <-w.Events():
			if !open {
				t.Fatalf("the watcher ended before %s", what)
			}
			if ok(e) {
				return e
			}
		case <-deadline:
			t.Fatalf("no event for %s", what)
		}
	}
}

// The real kernel's uevent: "change" written to a device's uevent attribute
// makes one, and changes nothing.
func TestRealUevent(t *testing.T) {
	fs, err := sysfs.Open("/sys")
	if err != nil {
		t.Fatal(err)
	}
	defer fs.Close()
	device := ""
	addrs, err := fs.ReadDir(sysfs.PCIDevices)
	if err != nil {
		t.Skipf("no PCI bus: %v", err)
	}
	for _, a := range addrs {
		if class, err := sysfs.ReadString(fs, sysfs.DeviceAttr(a, sysfs.AttrClass)); err == nil && strings.HasPrefix(class, "0x02") {
			device = a
		}
	}
	if device == "" {
		t.Skip("no PCI network device, whose uevents would pass the filter")
	}
	w := watch(t)
	if err := fs.Write(sysfs.DeviceAttr(device, sysfs.AttrUevent), "change"); err != nil {
		t.Skipf("needs root and a writable /sys: %v", err)
	}
	await(t, w, "change of "+device, func(e Event) bool { return e == Event{Device, device} })
}

// inNamespace runs f on a thread with a network namespace of its own; the
// thread ends with it. Sockets made by f stay in that namespace.
func inNamespace(t *testing.T, f func()) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		// Never unlocked: the runtime ends the thread with the goroutine.
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_NEWNET)
		defer func() { done <- err }()
		if err == nil {
			f()
		}
	}()
	if err := <-done; errors.Is(err, unix.EPERM) {
		t.Skip("needs root: no new network namespace")
	} else if err != nil {
		t.Fatal(err)
	}
}

// request sends one rtnetlink request with an acknowledgement and waits for it.
func request(typ, flags uint16, body []byte) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	b := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST|unix.NLM_F_ACK|flags)
	b = append(b, make([]byte, 8)...)
	if err := unix.Sendto(fd, append(b, body...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil {
		return err
	}
	if n < unix.SizeofNlMsghdr+4 {
		return errors.New("short answer")
	}
	if errno := -int32(binary.NativeEndian.Uint32(answer[unix.SizeofNlMsghdr:])); errno != 0 {
		return unix.Errno(errno)
	}
	return nil
}

// newBridge makes an interface that needs no hardware and passes the filter.
func newBridge(name string) error {
	body := make([]byte, unix.SizeofIfInfomsg)
	body = append(body, attr(unix.IFLA_IFNAME, []byte(name+"\x00"))...)
	body = append(body, attr(unix.IFLA_LINKINFO, attr(unix.IFLA_INFO_KIND, []byte("bridge")))...)
	return request(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, body)
}

func setLoopback(up bool) error {
	body := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(body[4:], 1)
	binary.NativeEndian.PutUint32(body[12:], unix.IFF_UP)
	if up {
		binary.NativeEndian.PutUint32(body[8:], unix.IFF_UP)
	}
	return request(unix.RTM_NEWLINK, 0, body)
}

func TestRealLink(t *testing.T) {
	var w *Watcher
	inNamespace(t, func() {
		w = watch(t)
		if err := setLoopback(true); err != nil { // filtered
			t.Error(err)
		}
		if err := newBridge("kevent0"); err != nil {
			t.Error(err)
		}
	})
	if w == nil {
		return
	}
	if e := await(t, w, "kevent0", func(e Event) bool { return e.Kind == Link }); e.Name != "kevent0" {
		t.Errorf("event %+v", e)
	}
}

// A burst that overflows the socket's buffer is announced as Lost, and what comes
// after it is heard.
func TestLost(t *testing.T) {
	var file *os.File
	inNamespace(t, func() {
		var err error
		if file, err = subscribe(unix.NETLINK_ROUTE, unix.RTMGRP_LINK, 1); err != nil {
			t.Error(err)
			return
		}
		for i := range 200 {
			if err := setLoopback(i%2 == 0); err != nil {
				t.Error(err)
				return
			}
		}
	})
	if t.Failed() {
		return
	}
	w := &Watcher{events: make(chan Event), log: slog.New(slog.DiscardHandler)}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.receive(ctx, "rtnetlink", file, decodeRoute, func() {}) }()
	t.Cleanup(func() {
		cancel()
		_ = file.Close()
		<-ended
	})
	e := await(t, w, "the loss", func(e Event) bool { return e.Kind == Lost })
	if e != (Event{Lost, "rtnetlink"}) {
		t.Errorf("event %+v", e)
	}
}

// A consumer that does not take events does not keep the watcher from ending.
func TestEndsUnread(t *testing.T) {
	var w *Watcher
	var logged records
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	inNamespace(t, func() {
		w = Open(ctx, slog.New(&logged))
		for i := range 100 { // more than the channel holds
			if err := newBridge("kev" + string(rune('a'+i/26)) + string(rune('a'+i%26))); err != nil {
				t.Error(err)
				return
			}
		}
	})
	cancel()
	if w == nil {
		return
	}
	n := 0
	for range w.Events() {
		n++
	}
	if got := logged.all(); len(got) > 0 || n > 100 {
		t.Errorf("%d events, log %q", n, got)
	}
}

// noSocket opens what answers every receive with ENOTSOCK.
func noSocket(t *testing.T) (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = w.Close() })
	return r, nil
}

// A socket that cannot be opened, or fails, is opened again. Each time that this
// works, what was missed is announced; the log has one line about it.
func TestFailedSocketIsOpenedAgain(t *testing.T) {
	logged := &records{}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	opens := 0
	w := start(ctx, slog.New(logged), time.Microsecond, socket{"uevent", func() (*os.File, error) {
		opens++
		switch {
		case opens%2 == 1:
			return nil, unix.EMFILE
		case opens < 10:
			return noSocket(t)
		}
		return subscribe(unix.NETLINK_ROUTE, unix.RTMGRP_LINK, 1)
	}, decodeUevent})
	for range 5 { // opens 2, 4, 6, 8 and 10
		if e := await(t, w, "what was missed", func(Event) bool { return true }); e != (Event{Lost, "uevent"}) {
			t.Errorf("event %+v", e)
		}
	}
	cancel()
	for e := range w.Events() {
		t.Errorf("event %+v of a socket that works", e)
	}
	if opens != 10 {
		t.Errorf("opened %d times, want 10", opens)
	}
	if got := logged.all(); len(got) != 1 || !strings.HasPrefix(got[0], "WARN ") {
		t.Errorf("log %q, want one warning", got)
	}
}

// What one socket announces is heard while the other one fails.
func TestOtherSocketGoesOn(t *testing.T) {
	logged := &records{first: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var w *Watcher
	inNamespace(t, func() {
		file, err := subscribe(unix.NETLINK_ROUTE, rtGroups, 1<<16)
		w = start(ctx, slog.New(logged), time.Hour,
			socket{"uevent", func() (*os.File, error) { return nil, unix.EPROTONOSUPPORT }, decodeUevent},
			socket{"rtnetlink", func() (*os.File, error) { return file, err }, decodeRoute})
		if err := newBridge("kevent1"); err != nil {
			t.Error(err)
		}
	})
	if w == nil {
		return
	}
	await(t, w, "kevent1", func(e Event) bool { return e.Kind == Link && e.Name == "kevent1" })
	<-logged.first
	cancel()
	for range w.Events() {
	}
	if got := logged.all(); len(got) != 1 || !strings.Contains(got[0], "kernel event socket failed") {
		t.Errorf("log %q, want one line about the uevent socket", got)
	}
}
