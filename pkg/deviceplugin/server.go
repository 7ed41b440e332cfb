package deviceplugin

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"google.golang.org/grpc"
	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"github.com/talos-sriov/talos-sriov/pkg/internal/fileid"
	"github.com/talos-sriov/talos-sriov/pkg/pool"
)

// stopTimeout bounds the wait for calls that are under way when a server stops.
const stopTimeout = 2 * time.Second

// server is one pool toward the kubelet.
type server struct {
	resource string
	kubelet  string // the kubelet's socket in its directory
	place    *place
	opts     *Options
	files    *files
	log      *slog.Logger
	changed  func() // the status has news

	kick     chan struct{} // cap 1: look again
	stopping chan struct{} // closed when streams must end

	service *service

	// Of run's goroutine alone.
	grpc      *grpc.Server
	rehearsed bool
	results   chan result
	cancel    context.CancelFunc // of the attempt that is under way
	reported  string             // the last error that was logged

	mu           sync.Mutex
	retiring     bool
	registered   fileid.ID
	registeredAt time.Time
	inflight     fileid.ID
	tried        fileid.ID
	notBefore    time.Time
	fails        int
	dead         bool   // nobody listened on kubelet.sock at the last attempt
	overtaken    bool   // the attempt under way was given up for another kubelet.sock
	attempt      int    // counts attempts, to tell a stream's registration
	renew        bool   // the link is used up: the next attempt needs another one
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
	kubelet  fileid.ID
	endpoint string
	err      error
}

func newServer(resource string, p *place, opts *Options, files *files, changed func()) *server {
	s := &server{
		resource: resource,
		kubelet:  filepath.Join(p.dir, kubeletSocketName),
		place:    p,
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
	_, st.Socket = s.place.paths()
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
	if s.takeRenew() {
		s.place.unlink()
	}
	placeErr := s.offer(ctx, now, wg)
	_, link := s.place.paths()

	s.mu.Lock()
	before := [3]string{s.waiting, s.lisErr, s.regErr}
	v := view{
		now: now, listening: link != "", kubelet: fileid.Lookup(s.kubelet), streams: len(s.streams),
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
		s.register(ctx, v.kubelet, filepath.Base(link), wg)
	}
	s.waiting, s.lisErr = a.waiting, ""
	if placeErr != nil {
		s.lisErr = placeErr.Error()
	}
	if !v.kubelet.IsSet() {
		s.regErr = "" // nobody is there to refuse
	}
	news := before != [3]string{s.waiting, s.lisErr, s.regErr}
	s.mu.Unlock()

	if news {
		s.changed()
	}
	s.report(placeErr)
	return s.place.sooner(a.again, now)
}

// takeRenew reports whether the link is used up, once.
func (s *server) takeRenew() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	renew := s.renew
	s.renew = false
	return renew
}

// offer makes sure that our socket listens and that the kubelet's directory has a
// link to it. What was registered under a link that is lost counts no more.
func (s *server) offer(ctx context.Context, now time.Time, wg *sync.WaitGroup) error {
	if s.place.check(now) {
		s.mu.Lock()
		s.registered, s.notBefore, s.void = fileid.ID{}, now, s.attempt
		s.mu.Unlock()
	}
	lis, err := s.place.listen(ctx, now)
	if err != nil {
		return err
	}
	if lis != nil {
		wg.Go(func() {
			lis.ended <- s.grpc.Serve(lis)
			notify(s.kick)
		})
		if !s.rehearsed {
			s.rehearsed = true
			wg.Go(func() {
				if err := s.rehearse(ctx, lis.path); err != nil && ctx.Err() == nil {
					s.log.Debug("rehearsal of the registration", "err", err)
				}
			})
		}
	}
	return s.place.expose(ctx, now)
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

// startAfresh forgets the failures with the kubelet.sock before this one. The
// file's identity alone does not tell the two apart when they were made within
// one tick of the kernel's clock.
func (s *server) startAfresh() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fails, s.notBefore = 0, time.Time{}
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
		s.registered, s.notBefore = fileid.ID{}, now.Add(backoff(s.fails))
		s.void, s.renew = s.attempt, true
	}
	notify(s.kick)
}

// shutdown closes the server and removes our link and our socket.
func (s *server) shutdown() {
	s.place.unlink()
	s.mu.Lock()
	if s.cancel != nil {
		s.cancel()
	}
	s.mu.Unlock()
	close(s.stopping)
	hard := time.AfterFunc(stopTimeout, s.grpc.Stop)
	defer hard.Stop()
	s.grpc.GracefulStop()
	s.place.close()
}
