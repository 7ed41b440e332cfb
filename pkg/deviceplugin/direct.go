package deviceplugin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"
	"syscall"
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
	ended   chan result

	// With the server's lock.
	cancel context.CancelFunc // of the attempt that is under way
	attempts
	retry     retry
	overtaken bool // the attempt under way was given up for another kubelet.sock
	attempt   int  // counts attempts, to tell a stream's registration
	renew     bool // the link is used up: the next attempt needs another one
	void      int  // the last attempt that counts no more, whatever its answer
	count     int  // successful registrations
	refused   string
}

func newDirect(s *server) *direct {
	return &direct{server: s, kubelet: filepath.Join(s.place.dir, kubeletSocketName), ended: make(chan result, 1)}
}

func (d *direct) serve(*grpc.Server) {}

func (d *direct) usedUp(time.Time) (renew bool, wait time.Duration) {
	renew, d.renew = d.renew, false
	return renew, 0
}

func (d *direct) lost(now time.Time) {
	d.registered, d.retry.after, d.void = fileid.ID{}, now, d.attempt
}

func (d *direct) reconcile(ctx context.Context, now time.Time, o offering, wg *sync.WaitGroup) progress {
	v := view{
		now: now, listening: o.link != "", kubelet: fileid.Lookup(d.kubelet), streams: len(o.streams),
		attempts: d.attempts, notBefore: d.retry.after,
	}
	for _, st := range o.streams {
		v.fresh = v.fresh || st.attempt == d.attempt
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
		d.refused = "" // nobody is there to refuse
	}
	return progress{again: a.again, waiting: a.waiting}
}

// register starts an attempt with the link of that name.
func (d *direct) register(ctx context.Context, kubelet fileid.ID, endpoint string, wg *sync.WaitGroup) {
	if d.tried != kubelet {
		d.retry.fails = 0
	}
	ctx, d.cancel = context.WithTimeout(ctx, d.server.opts.RegisterTimeout)
	cancel := d.cancel
	d.inflight, d.tried, d.overtaken = kubelet, kubelet, false
	d.attempt++
	wg.Go(func() {
		defer cancel()
		d.ended <- result{kubelet: kubelet, endpoint: endpoint, err: d.call(ctx, endpoint)}
	})
}

// call is one Register. The errors of a kubelet that is not there are
// syscall.ECONNREFUSED and fs.ErrNotExist.
func (d *direct) call(ctx context.Context, endpoint string) error {
	conn, err := connect(ctx, d.kubelet)
	if err != nil {
		return fmt.Errorf("register with the kubelet: %w", err)
	}
	defer conn.close()
	_, err = v1beta1.NewRegistrationClient(conn.grpc).Register(ctx, &v1beta1.RegisterRequest{
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

func (d *direct) results() <-chan result { return d.ended }

func (d *direct) answered(r result, now time.Time) error {
	log := d.server.log
	d.inflight = fileid.ID{}
	switch {
	case r.err == nil:
		// The stream, or the socket that was registered, can be gone before
		// the answer comes.
		if d.void != d.attempt {
			d.registered, d.registeredAt = r.kubelet, now
		}
		d.count++
		d.refused, d.dead = "", false
		log.Info("registered with the kubelet", "socket", r.endpoint, "attempt", d.attempt)
		return nil
	case d.overtaken:
		// We gave it up ourselves: the socket is another one now, or gone.
		d.refused, d.dead, d.renew = "", false, true
		log.Debug("the kubelet's socket changed during a registration", "err", r.err)
		return nil
	}
	_ = d.retry.failed(now, r.err)
	// A socket that a kubelet left behind when it ended, as after a boot, is no
	// fault: the next one replaces it.
	if d.dead = errors.Is(r.err, syscall.ECONNREFUSED) || errors.Is(r.err, fs.ErrNotExist); d.dead {
		d.refused = ""
		log.Debug("nobody listens on the kubelet's socket", "err", r.err)
		return nil
	}
	// Whatever it answered, it may be connected to this link.
	d.refused, d.renew = r.err.Error(), true
	return r.err
}

func (d *direct) streamOpened() int { return d.attempt }

// streamLost takes it for the loss of the registration. The kubelet does not open
// a stream again by itself, and when a stream ends it forgets whatever endpoint it
// has for the resource.
func (d *direct) streamLost(st stream, now time.Time) {
	if st.attempt != d.attempt {
		return
	}
	d.retry.streamLost(st, now)
	d.registered, d.void, d.renew = fileid.ID{}, d.attempt, true
}

func (d *direct) kubeletCreated()         { d.retry.ok() }
func (d *direct) standing() (int, string) { return d.count, d.refused }

func (d *direct) stop() {
	if d.cancel != nil {
		d.cancel()
	}
}
