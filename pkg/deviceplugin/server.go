package deviceplugin

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"
	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"github.com/talos-sriov/talos-sriov/pkg/pool"
)

// stopTimeout bounds the wait for calls that are under way when a server stops.
const stopTimeout = 2 * time.Second

// server is one pool toward the kubelet, and its DevicePlugin API.
type server struct {
	v1beta1.UnimplementedDevicePluginServer

	resource string
	place    *place
	opts     *Options
	files    *files
	log      *slog.Logger
	changed  func()             // the status has news
	cancel   context.CancelFunc // of what run is given

	kick     chan struct{} // cap 1: reconcile again
	stopping chan struct{} // closed when streams must end

	registrar registrar

	// Of run's goroutine alone.
	grpc     *grpc.Server
	warm     bool
	reported string // the last error that was logged
	shown    Status // what was visible after the last reconcile

	mu sync.Mutex
	standing
	retiring   bool
	streams    map[int]stream
	nextStream int
	waiting    string
	placeErr   string // why there is no socket or link

	pool     *pool.Pool
	devices  map[string]*pool.Device
	healthy  int
	list     *v1beta1.ListAndWatchResponse // never changed, only replaced
	replaced chan struct{}                 // closed when list is replaced
}

func newServer(resource string, p *place, opts *Options, files *files, changed, cancel func()) *server {
	s := &server{
		resource: resource,
		place:    p,
		opts:     opts,
		files:    files,
		log:      opts.Log.With("resource", resource),
		changed:  changed,
		cancel:   cancel,
		kick:     make(chan struct{}, 1),
		stopping: make(chan struct{}),
		streams:  map[int]stream{},
		list:     &v1beta1.ListAndWatchResponse{},
		replaced: make(chan struct{}),
		waiting:  "the server to be started",
	}
	s.registrar = newRegistrar(s)
	return s
}

// setPool makes p what is offered, unless the server is leaving.
func (s *server) setPool(p *pool.Pool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.retiring {
		s.set(p)
	}
}

// retire ends the server after reporting to the kubelet that there are no devices
// any more. Without that the kubelet would show them as capacity, unhealthy,
// for five minutes.
func (s *server) retire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.retiring {
		s.retiring = true
		s.set(&pool.Pool{Resource: s.resource})
		s.cancel()
	}
}

func (s *server) status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.visible()
	_, st.Socket = s.place.paths()
	st.Devices, st.Healthy = len(s.list.Devices), s.healthy
	return st
}

// visible is what only this server knows. The caller has the lock.
func (s *server) visible() Status {
	return Status{
		Resource: s.resource, Registrations: s.count,
		Registered: s.waiting == "", Waiting: s.waiting, Err: cmp.Or(s.placeErr, s.refused),
	}
}

// run serves until ctx is done, which [server.retire] cancels too.
func (s *server) run(ctx context.Context) {
	s.grpc = grpc.NewServer()
	v1beta1.RegisterDevicePluginServer(s.grpc, s)
	s.registrar.serve(s.grpc)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer s.shutdown()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for ctx.Err() == nil {
		timer.Stop()
		if again := s.reconcile(ctx, &wg); again > 0 {
			timer.Reset(again)
		}
		select {
		case <-ctx.Done():
		case <-s.kick:
		case <-timer.C:
		}
	}
}

// reconcile does what is missing and returns when to do so again without an event;
// 0 means never.
func (s *server) reconcile(ctx context.Context, wg *sync.WaitGroup) time.Duration {
	now := time.Now()
	s.mu.Lock()
	renew, wait := s.registrar.usedUp(now)
	s.mu.Unlock()
	if renew {
		s.place.unlink()
	}
	placeErr := s.offer(ctx, now, wg)
	_, link := s.place.paths()

	s.mu.Lock()
	p := s.registrar.reconcile(ctx, now, offering{link: link, err: placeErr, streams: s.streams}, wg)
	s.waiting, s.placeErr = p.waiting, ""
	if placeErr != nil {
		s.placeErr = placeErr.Error()
	}
	shown := s.visible()
	s.mu.Unlock()

	if shown.Registrations != s.shown.Registrations {
		s.reported = "" // what fails from now on is news
	}
	if shown != s.shown {
		s.shown = shown
		s.changed()
	}
	s.report(p.err)
	s.report(placeErr)
	return s.place.sooner(cmp.Or(p.again, wait), now)
}

// offer makes sure that our socket listens and that the kubelet's directory has a
// link to it.
func (s *server) offer(ctx context.Context, now time.Time, wg *sync.WaitGroup) error {
	if s.place.check(now) {
		s.mu.Lock()
		s.retry.after = now
		s.registrar.forget()
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
		if !s.warm {
			s.warm = true
			wg.Go(func() {
				if err := s.warmUp(ctx, lis.path); err != nil && ctx.Err() == nil {
					s.log.Debug("cannot warm up the registration", "err", err)
				}
			})
		}
	}
	return s.place.expose(ctx, now)
}

// report logs an error once, however often it is met in a row.
func (s *server) report(err error) {
	text := fmt.Sprint(err)
	if err == nil || text == s.reported {
		return
	}
	s.reported = text
	s.log.Warn("pool is not offered to the kubelet", "err", err)
}

// kubeletCreated forgets the failures with the kubelet.sock before this one. The
// file's identity alone does not tell two apart that were made within one tick of the
// kernel's clock.
func (s *server) kubeletCreated() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retry.ok()
}

// streamOpened and streamClosed keep count of the device list streams.
func (s *server) streamOpened() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nextStream++
	s.streams[s.nextStream] = stream{attempt: s.attempt, opened: time.Now()}
	notify(s.kick)
	return s.nextStream
}

func (s *server) streamClosed(id int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.streams[id]
	delete(s.streams, id)
	if id == s.nextStream && st.attempt == s.attempt {
		// The kubelet does not open a stream again by itself, and when one ends it
		// forgets whatever endpoint it has for the resource. It dials a new link.
		s.retry.streamLost(st, time.Now())
		s.renew = true
		s.registrar.forget()
	}
	notify(s.kick)
}

// shutdown closes the server and removes our link and our socket.
func (s *server) shutdown() {
	s.place.unlink()
	s.cancel()
	close(s.stopping)
	hard := time.AfterFunc(stopTimeout, s.grpc.Stop)
	defer hard.Stop()
	s.grpc.GracefulStop()
	s.place.close()
}
