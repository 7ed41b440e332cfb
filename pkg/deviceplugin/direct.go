package deviceplugin

import (
	"context"
	"fmt"
	"log/slog"
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
	resource string
	kubelet  string // the kubelet's socket in its directory
	timeout  time.Duration
	reg      *tracker
	seen     func()
	log      *slog.Logger

	cancel context.CancelFunc // of the attempt that is under way; of the loop alone
}

func (d *direct) serve(*grpc.Server) {}

func (d *direct) renew(r registration, link string, _ time.Time) (yes bool, wait time.Duration) {
	return r.usedUp(link), 0
}

func (d *direct) reconcile(ctx context.Context, v view, wg *sync.WaitGroup) (waiting string, again time.Duration) {
	v.kubelet = fileid.Lookup(d.kubelet)
	var a action
	r := d.reg.change(func(r registration) registration {
		a = decide(r, v)
		return r.acted(a, v)
	})
	if a.cancel {
		d.cancel()
	}
	if a.register {
		d.register(ctx, r.attempt.link, wg)
	}
	return a.waiting, a.again
}

// register calls the kubelet and hands on what it answers.
func (d *direct) register(ctx context.Context, link string, wg *sync.WaitGroup) {
	ctx, d.cancel = context.WithTimeout(ctx, d.timeout)
	cancel := d.cancel
	wg.Go(func() {
		defer cancel()
		err := d.call(ctx, filepath.Base(link))
		if err == nil {
			d.seen()
		}
		r := d.reg.news(func(r registration) registration { return r.answered(time.Now(), err) })
		d.report(r.attempt, err)
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
		ResourceName: d.resource,
		Options:      options(),
	})
	if err != nil {
		return fmt.Errorf("register with the kubelet at %s: %w", d.kubelet, err)
	}
	return nil
}

// report logs what came of an attempt. A refusal is in the status, which is logged.
func (d *direct) report(a attempt, err error) {
	switch {
	case err == nil:
		d.log.Info("registered with the kubelet", "socket", filepath.Base(a.link), "attempt", a.n)
	case a.outcome == silent:
		// A socket that a kubelet left behind when it ended, as after a boot, is no
		// fault: the next one replaces it.
		d.log.Debug("nobody listens on the kubelet's socket", "err", err)
	case a.outcome == lost:
		d.log.Debug("the kubelet's socket changed during a registration", "err", err)
	}
}
