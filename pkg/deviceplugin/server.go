package deviceplugin

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
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

	shelf     *shelf
	reg       *tracker
	registrar registrar
	grpc      *grpc.Server
	stopping  chan struct{} // closed when streams must end

	shown  atomic.Pointer[Status] // after the last reconcile, without what the shelf and the place know
	logged string                 // the last error that was; of run's goroutine alone
}

func newServer(p *pool.Pool, at *place, opts *Options, files *files, changed, cancel func()) *server {
	s := &server{
		resource: p.Resource,
		place:    at,
		opts:     opts,
		files:    files,
		log:      opts.Log.With("resource", p.Resource),
		changed:  changed,
		cancel:   cancel,
		shelf:    newShelf(p),
		reg:      &tracker{wake: make(chan struct{}, 1)},
		grpc:     newGRPC(opts.Ledger),
		stopping: make(chan struct{}),
	}
	s.registrar = newRegistrar(p.Resource, at, opts, s.reg)
	s.shown.Store(&Status{Resource: p.Resource, Waiting: notStarted})
	return s
}

// retire ends the server after reporting to the kubelet that there are no devices
// any more. Without that the kubelet would show them as capacity, unhealthy,
// for five minutes.
func (s *server) retire() {
	if s.shelf.clear() {
		s.cancel()
	}
}

func (s *server) status() Status {
	st, stock := *s.shown.Load(), s.shelf.get()
	_, st.Socket = s.place.paths()
	st.Devices, st.Healthy = len(stock.list.Devices), stock.healthy
	return st
}

// run serves until ctx is done, which [server.retire] cancels too.
func (s *server) run(ctx context.Context) {
	v1beta1.RegisterDevicePluginServer(s.grpc, s)
	s.registrar.serve(s.grpc)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer s.shutdown()
	for ctx.Err() == nil {
		var due <-chan time.Time // never
		if again := s.reconcile(ctx, &wg); again > 0 {
			due = time.After(again)
		}
		select {
		case <-ctx.Done():
		case <-s.reg.wake:
		case <-due:
		}
	}
}

// reconcile does what is missing and returns when to do so again without an event;
// 0 means never.
func (s *server) reconcile(ctx context.Context, wg *sync.WaitGroup) time.Duration {
	now := time.Now()
	_, link := s.place.paths()
	renew, wait := s.registrar.renew(s.reg.get(), link, now)
	if renew {
		s.place.unlink()
	}
	err := s.offer(ctx, now, wg)
	_, link = s.place.paths()
	waiting, again := s.registrar.reconcile(ctx, view{now: now, link: link, err: err}, wg)
	s.show(waiting, err)
	return s.place.sooner(cmp.Or(again, wait), now)
}

// offer makes sure that our socket listens and that the kubelet's directory has a
// link to it.
func (s *server) offer(ctx context.Context, now time.Time, wg *sync.WaitGroup) error {
	if s.place.check(now) {
		s.reg.change(func(r registration) registration { return r.socketLost(now) })
	}
	lis, err := s.place.listen(ctx, now)
	if err != nil {
		return err
	}
	if lis != nil {
		wg.Go(func() {
			lis.ended <- s.grpc.Serve(lis)
			notify(s.reg.wake)
		})
		wg.Go(func() {
			if err := warmUp(ctx, lis.path, s.opts.RegisterTimeout); err != nil && ctx.Err() == nil {
				s.log.Debug("cannot warm up the registration", "err", err)
			}
		})
	}
	return s.place.expose(ctx, now)
}

// show makes it visible where the pool stands: in the status, and an error in the log,
// once however often it is met in a row.
func (s *server) show(waiting string, placeErr error) {
	r := s.reg.get()
	st := Status{
		Resource: s.resource, Registrations: r.count,
		Registered: waiting == "", Waiting: waiting, Err: r.refused,
	}
	if placeErr != nil {
		st.Err = placeErr.Error()
	}
	last := s.shown.Swap(&st)
	if st.Registrations != last.Registrations {
		s.logged = "" // what fails from now on is news
	}
	if st.Err != "" && st.Err != s.logged {
		s.logged = st.Err
		s.log.Warn("pool is not offered to the kubelet", "err", st.Err)
	}
	if st != *last {
		s.changed()
	}
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
