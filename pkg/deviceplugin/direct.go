package deviceplugin

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"google.golang.org/grpc"
	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"github.com/talos-sriov/talos-sriov/pkg/internal/fileid"
)

// direct is the way of calling Register at the kubelet's own socket, each time
// that socket is another one.
type direct struct {
	server  *server
	kubelet string // the kubelet's socket in its directory

	// With the server's lock.
	cancel context.CancelFunc // of the attempt that is under way
	attempts
	overtaken bool  // the attempt under way was given up for another kubelet.sock
	void      int   // the last attempt that counts no more, whatever its answer
	failure   error // of the last attempt, until it is reported
}

func newDirect(s *server) *direct {
	return &direct{server: s, kubelet: filepath.Join(s.place.dir, kubeletSocketName)}
}

func (d *direct) serve(*grpc.Server) {}

func (d *direct) usedUp(time.Time) (renew bool, wait time.Duration) {
	renew, d.server.renew = d.server.renew, false
	return renew, 0
}

func (d *direct) forget() { d.registered, d.void = fileid.ID{}, d.server.attempt }

func (d *direct) reconcile(ctx context.Context, now time.Time, o offering, wg *sync.WaitGroup) progress {
	v := view{
		now: now, listening: o.link != "", kubelet: fileid.Lookup(d.kubelet), streams: len(o.streams),
		attempts: d.attempts, notBefore: d.server.retry.after,
	}
	for _, st := range o.streams {
		v.fresh = v.fresh || st.attempt == d.server.attempt
	}
	a := decide(v)
	if a.cancel {
		d.overtaken = true
		d.cancel()
	}
	if a.register {
		d.register(ctx, v.kubelet, filepath.Base(o.link), wg)
	}
	if !v.kubelet.IsSet() {
		d.server.refused = "" // nobody is there to refuse
	}
	p := progress{again: a.again, waiting: a.waiting, err: d.failure}
	d.failure = nil
	return p
}

// register starts an attempt with the link of that name.
func (d *direct) register(ctx context.Context, kubelet fileid.ID, endpoint string, wg *sync.WaitGroup) {
	if d.tried != kubelet {
		d.server.retry.fails = 0
	}
	ctx, d.cancel = context.WithTimeout(ctx, d.server.opts.RegisterTimeout)
	cancel := d.cancel
	d.inflight, d.tried, d.overtaken = kubelet, kubelet, false
	d.server.attempt++
	wg.Go(func() {
		defer cancel()
		err := d.call(ctx, endpoint)
		d.server.mu.Lock()
		defer d.server.mu.Unlock()
		d.answered(kubelet, endpoint, err)
		notify(d.server.kick)
	})
}

// call is one Register. The errors of a kubelet that is not there are
// syscall.ECONNREFUSED and fs.ErrNotExist.
func (d *direct) call(ctx context.Context, endpoint string) error {
	conn, done, err := connect(ctx, d.kubelet)
	if err != nil {
		return fmt.Errorf("register with the kubelet: %w", err)
	}
	defer done()
	_, err = v1beta1.NewRegistrationClient(conn).Register(ctx, &v1beta1.RegisterRequest{
		Version:      v1beta1.Version,
		Endpoint:     endpoint,
		ResourceName: d.server.resource,
		Options:      options(),
	})
	if err != nil {
		return fmt.Errorf("register with the kubelet at %s: %w", d.kubelet, err)
	}
	return nil
}

// answered takes in the end of an attempt with the link of that name.
func (d *direct) answered(kubelet fileid.ID, endpoint string, err error) {
	s, now := d.server, time.Now()
	d.inflight, d.dead, s.refused = fileid.ID{}, false, ""
	switch {
	case err == nil:
		// The stream, or the socket that was registered, can be gone before
		// the answer comes.
		if d.void != s.attempt {
			d.registered, d.registeredAt = kubelet, now
		}
		s.count++
		d.failure = nil
		s.log.Info("registered with the kubelet", "socket", endpoint, "attempt", s.attempt)
	case d.overtaken:
		// We gave it up ourselves: the socket is another one now, or gone.
		s.renew = true
		s.log.Debug("the kubelet's socket changed during a registration", "err", err)
	case nobodyListens(err):
		// A socket that a kubelet left behind when it ended, as after a boot, is no
		// fault: the next one replaces it.
		_ = s.retry.failed(now, err)
		d.dead = true
		s.log.Debug("nobody listens on the kubelet's socket", "err", err)
	default:
		_ = s.retry.failed(now, err)
		// Whatever it answered, it may be connected to this link.
		d.failure, s.refused, s.renew = err, err.Error(), true
	}
}
