package deviceplugin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"github.com/talos-sriov/talos-sriov/pkg/pool"
)

// stopTimeout bounds the wait for calls that are under way when a server stops.
const stopTimeout = 2 * time.Second

// server is one pool toward the kubelet.
type server struct {
	resource string
	dir      string // the socket folder
	socket   string // our socket in it
	kubelet  string // the kubelet's socket in it
	opts     *Options
	files    *files
	log      *slog.Logger
	changed  func() // the status has news

	kick     chan struct{} // cap 1: look again
	stopping chan struct{} // closed when streams must end

	service *service

	// Of run's goroutine alone.
	grpc      *grpc.Server
	lis       net.Listener
	lisID     fileID
	lisFails  int
	lisAfter  time.Time
	rehearsed bool
	lastLis   error // why there is no socket of ours
	results   chan result
	cancel    context.CancelFunc // of the attempt that is under way
	reported  string             // the last error that was logged

	mu           sync.Mutex
	retiring     bool
	registered   fileID
	registeredAt time.Time
	inflight     fileID
	tried        fileID
	notBefore    time.Time
	fails        int
	dead         bool   // nobody listened on kubelet.sock at the last attempt
	overtaken    bool   // the attempt under way was given up for another kubelet.sock
	attempt      int    // counts attempts, to tell a stream's registration
	renew        bool   // plugin watcher: make our socket anew
	told         string // plugin watcher: the refusal that the status has
	void         int    // the last attempt that counts no more, whatever its answer
	count        int    // successful registrations
	streams      map[int]stream
	nextStream   int
	waiting      string
	lisErr       string
	regErr       string
}

// stream is an open device list stream.
type stream struct {
	attempt int
	opened  time.Time
}

// result is the end of one attempt to register.
type result struct {
	kubelet fileID
	err     error
}

func newServer(dir, resource string, opts *Options, files *files, changed func()) *server {
	name := SocketName(dir, resource)
	s := &server{
		resource: resource,
		dir:      dir,
		socket:   filepath.Join(dir, name),
		kubelet:  filepath.Join(dir, kubeletSocketName),
		opts:     opts,
		files:    files,
		log:      opts.Log.With("resource", resource),
		changed:  changed,
		kick:     make(chan struct{}, 1),
		stopping: make(chan struct{}),
		results:  make(chan result, 1),
		streams:  map[int]stream{},
		waiting:  "the server to be started",
	}
	s.service = newService(s)
	return s
}

// setPool makes p what is offered, unless the server is leaving.
func (s *server) setPool(p *pool.Pool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.retiring {
		s.service.set(p)
	}
}

// retire ends the server after telling the kubelet that there are no devices
// any more. Without that the kubelet would show them as capacity, unhealthy,
// for five minutes.
func (s *server) retire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.retiring {
		s.retiring = true
		s.service.set(&pool.Pool{Resource: s.resource})
		notify(s.kick)
	}
}

func (s *server) status(st *Status) {
	st.Devices, st.Healthy = s.service.counts()
	s.mu.Lock()
	defer s.mu.Unlock()
	st.Registered = s.waiting == ""
	st.Waiting, st.Err, st.Registrations = s.waiting, s.regErr, s.count
	if s.lisErr != "" {
		st.Err = s.lisErr
	}
}

// run serves until ctx is done or the server is retired.
func (s *server) run(ctx context.Context) {
	s.grpc = grpc.NewServer()
	v1beta1.RegisterDevicePluginServer(s.grpc, s.service)
	look := s.look
	if s.opts.PluginWatcher {
		registerapi.RegisterRegistrationServer(s.grpc, registration{owner: s})
		look = s.lookWatched
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer s.shutdown()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Stop()
		if again := look(ctx, &wg); again > 0 {
			timer.Reset(again)
		}
		select {
		case <-ctx.Done():
			return
		case <-s.kick:
		case <-timer.C:
		case r := <-s.results:
			s.answered(r)
		}
		if s.isRetiring() {
			return
		}
	}
}

func (s *server) isRetiring() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.retiring
}

// look does what is missing and returns when to look again without an event; 0
// means never.
func (s *server) look(ctx context.Context, wg *sync.WaitGroup) time.Duration {
	now := time.Now()
	listenErr := s.listen(ctx, now, wg)

	s.mu.Lock()
	before := [3]string{s.waiting, s.lisErr, s.regErr}
	v := view{
		now: now, listening: s.lis != nil, kubelet: lookup(s.kubelet), streams: len(s.streams),
		registered: s.registered, registeredAt: s.registeredAt,
		inflight: s.inflight, tried: s.tried, notBefore: s.notBefore, dead: s.dead,
	}
	for _, st := range s.streams {
		v.fresh = v.fresh || st.attempt == s.attempt
	}
	a := decide(v)
	if a.cancel {
		s.overtaken = true
		s.cancel()
	}
	if a.register {
		s.register(ctx, v.kubelet, wg)
	}
	s.waiting, s.lisErr = a.waiting, ""
	if listenErr != nil {
		s.lisErr = listenErr.Error()
	}
	if !v.kubelet.isSet {
		s.regErr = "" // nobody is there to refuse
	}
	news := before != [3]string{s.waiting, s.lisErr, s.regErr}
	s.mu.Unlock()

	if news {
		s.changed()
	}
	s.report(listenErr)
	again := a.again
	if listenErr != nil {
		if d := max(s.lisAfter.Sub(now), time.Millisecond); again == 0 || d < again {
			again = d
		}
	}
	return again
}

// report logs an error once, however often it is met in a row.
func (s *server) report(err error) {
	if err == nil {
		return
	}
	text := err.Error()
	if text == s.reported {
		return
	}
	s.reported = text
	s.log.Warn("pool is not offered to the kubelet", "err", err)
}

// listen makes sure that our socket is there and is ours. A folder that is not
// there (yet) is no error.
func (s *server) listen(ctx context.Context, now time.Time, wg *sync.WaitGroup) error {
	there := lookup(s.socket)
	if s.lis != nil {
		if there.sameInode(s.lisID) {
			return nil
		}
		// Somebody removed or replaced it: a kubelet that starts does. Calls on
		// open connections go on.
		_ = s.lis.Close()
		s.lis = nil
		s.mu.Lock()
		s.registered, s.notBefore, s.void = fileID{}, now, s.attempt
		s.mu.Unlock()
	}
	if s.lastLis != nil && there.isSet && now.Before(s.lisAfter) {
		return s.lastLis
	}
	lis, err := s.bind(ctx, there)
	if errors.Is(err, fs.ErrNotExist) {
		s.lisFails, s.lastLis = 0, nil
		return nil
	}
	if err != nil {
		s.lisFails++
		s.lisAfter = now.Add(backoff(s.lisFails))
		s.lastLis = err
		return err
	}
	s.lisFails, s.lastLis = 0, nil
	s.lis, s.lisID = lis, lookup(s.socket)
	wg.Go(func() {
		// It returns when the listener is closed, which look or shutdown did.
		_ = s.grpc.Serve(lis)
	})
	if !s.rehearsed {
		s.rehearsed = true
		wg.Go(func() {
			if err := s.rehearse(ctx); err != nil && ctx.Err() == nil {
				s.log.Debug("rehearsal of the registration", "err", err)
			}
		})
	}
	return nil
}

// bind opens our socket, in the place of one that a dead process left behind.
func (s *server) bind(ctx context.Context, there fileID) (net.Listener, error) {
	if len(s.socket) > maxSocketPath {
		return nil, fmt.Errorf("socket %s: the path has %d bytes, a unix socket can have %d: choose a shorter kubelet folder", s.socket, len(s.socket), maxSocketPath)
	}
	if there.isSet {
		if err := s.clear(ctx); err != nil {
			return nil, err
		}
	}
	lis, err := (&net.ListenConfig{}).Listen(ctx, "unix", s.socket)
	if err != nil {
		return nil, fmt.Errorf("create our socket: %w", err)
	}
	if u, ok := lis.(*net.UnixListener); ok {
		// By path, it could remove somebody else's.
		u.SetUnlinkOnClose(false)
	}
	return lis, nil
}

// clear removes a dead socket at our path, and nothing else.
func (s *server) clear(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", s.socket)
	if err == nil {
		_ = conn.Close()
		return fmt.Errorf("socket %s: another process serves this resource (is the SR-IOV device plugin still running on this node?): stop it, or use another resourceName", s.socket)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("socket %s: something is in the way: %w: remove it", s.socket, err)
	}
	fi, err := os.Lstat(s.socket)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at our socket: %w", err)
	}
	if fi.Mode()&fs.ModeSocket == 0 {
		return fmt.Errorf("%s: is in the way and no socket (%s): remove it", s.socket, fi.Mode().Type())
	}
	if err := os.Remove(s.socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the socket of an earlier run: %w", err)
	}
	return nil
}

// startAfresh forgets the failures with the kubelet.sock before this one. The
// file's identity alone does not tell the two apart when they were made within
// one tick of the kernel's clock.
func (s *server) startAfresh() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fails, s.notBefore = 0, time.Time{}
}

// register starts an attempt. s.mu is held.
func (s *server) register(ctx context.Context, kubelet fileID, wg *sync.WaitGroup) {
	if s.tried != kubelet {
		s.fails = 0
	}
	ctx, s.cancel = context.WithTimeout(ctx, s.opts.RegisterTimeout)
	cancel := s.cancel
	s.inflight, s.tried, s.overtaken = kubelet, kubelet, false
	s.attempt++
	wg.Go(func() {
		defer cancel()
		s.results <- result{kubelet: kubelet, err: s.call(ctx)}
	})
}

// call is one Register. The errors of a kubelet that is not there are
// syscall.ECONNREFUSED and fs.ErrNotExist.
func (s *server) call(ctx context.Context) error {
	conn, err := connect(ctx, s.kubelet)
	if err != nil {
		return fmt.Errorf("register with the kubelet: %w", err)
	}
	defer conn.close()
	_, err = v1beta1.NewRegistrationClient(conn.grpc).Register(ctx, &v1beta1.RegisterRequest{
		Version:      v1beta1.Version,
		Endpoint:     filepath.Base(s.socket),
		ResourceName: s.resource,
		Options:      options(),
	})
	if err != nil {
		return fmt.Errorf("register with the kubelet at %s: %w", s.kubelet, err)
	}
	return nil
}

// rehearse calls our own socket as the kubelet will, which loads and initialises
// the code that both directions of a registration need. A kubelet that starts on
// a machine that boots leaves a plugin some ten milliseconds before it looks at its
// pods, and refuses those whose devices it does not know by then.
func (s *server) rehearse(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.opts.RegisterTimeout)
	defer cancel()
	conn, err := connect(ctx, s.socket)
	if err != nil {
		return fmt.Errorf("call our own socket: %w", err)
	}
	defer conn.close()
	if _, err := v1beta1.NewDevicePluginClient(conn.grpc).GetDevicePluginOptions(ctx, &v1beta1.Empty{}); err != nil {
		return fmt.Errorf("call our own socket: %w", err)
	}
	return nil
}

// connection is a gRPC client of one unix socket.
type connection struct {
	grpc  *grpc.ClientConn
	first chan net.Conn
}

// connect connects to a socket itself, because gRPC gives the errno of a
// connection that fails as text alone.
func connect(ctx context.Context, socket string) (*connection, error) {
	dial := func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	c, err := dial(ctx)
	if err != nil {
		return nil, err
	}
	first := make(chan net.Conn, 1)
	first <- c
	conn, err := grpc.NewClient("passthrough:///socket",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithAuthority("localhost"),
		grpc.WithNoProxy(),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			select {
			case c := <-first:
				return c, nil
			default:
				return dial(ctx)
			}
		}))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("connect to %s: %w", socket, err), c.Close())
	}
	return &connection{grpc: conn, first: first}, nil
}

func (c *connection) close() {
	_ = c.grpc.Close()
	select {
	case unused := <-c.first:
		_ = unused.Close()
	default:
	}
}

// answered takes in the end of an attempt.
func (s *server) answered(r result) {
	now := time.Now()
	s.mu.Lock()
	s.inflight = fileID{}
	overtaken := r.err != nil && s.overtaken
	switch {
	case r.err == nil:
		// The stream, or the socket that was registered, can be gone before
		// the answer comes.
		if s.void != s.attempt {
			s.registered, s.registeredAt = r.kubelet, now
		}
		s.count++
		s.regErr, s.dead = "", false
	case overtaken:
		// We gave it up ourselves: the socket is another one now, or gone.
		s.regErr, s.dead = "", false
	default:
		s.fails++
		s.notBefore = now.Add(backoff(s.fails))
		// A socket that a kubelet left behind when it ended, as after a boot, is
		// no fault: the next one makes it anew.
		if s.dead = errors.Is(r.err, syscall.ECONNREFUSED) || errors.Is(r.err, fs.ErrNotExist); s.dead {
			s.regErr = ""
		} else {
			s.regErr = r.err.Error()
		}
	}
	attempt, dead := s.attempt, s.dead
	s.mu.Unlock()

	switch {
	case r.err == nil:
		s.reported = ""
		s.log.Info("registered with the kubelet", "socket", filepath.Base(s.socket), "attempt", attempt)
	case overtaken:
		s.log.Debug("the kubelet's socket changed during a registration", "err", r.err)
	case dead:
		s.log.Debug("nobody listens on the kubelet's socket", "err", r.err)
	default:
		s.report(r.err)
	}
	s.changed()
}

// streamOpened and streamClosed are called by the service.
func (s *server) streamOpened() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nextStream++
	s.streams[s.nextStream] = stream{attempt: s.attempt, opened: time.Now()}
	notify(s.kick)
	return s.nextStream
}

// streamClosed takes the end of the newest stream for the loss of the
// registration. The kubelet does not open a stream again by itself, and when a
// stream ends it forgets whatever endpoint it has for the resource.
func (s *server) streamClosed(id int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.streams[id]
	delete(s.streams, id)
	if id == s.nextStream && st.attempt == s.attempt {
		now := time.Now()
		if now.Sub(st.opened) >= steadyAfter {
			s.fails = 0
		}
		s.fails++
		s.registered, s.notBefore = fileID{}, now.Add(backoff(s.fails))
		s.void = s.attempt
		s.renew = true
	}
	notify(s.kick)
}

// shutdown closes the server and removes our socket, if it is ours.
func (s *server) shutdown() {
	if s.lis != nil && lookup(s.socket).sameInode(s.lisID) {
		if err := os.Remove(s.socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.log.Warn("our socket is left behind", "err", err)
		}
	}
	s.mu.Lock()
	if s.cancel != nil {
		s.cancel()
	}
	s.mu.Unlock()
	close(s.stopping)
	hard := time.AfterFunc(stopTimeout, s.grpc.Stop)
	defer hard.Stop()
	s.grpc.GracefulStop()
	if s.lis != nil {
		_ = s.lis.Close()
	}
}
