package deviceplugin

import (
	"context"
	"path/filepath"
	"sync"
	"time"

	"google.golang.org/grpc"
)

// registrar is one way in which the kubelet comes to know a pool's socket: we call
// it ([direct]), or it finds us ([watched]). What it hears goes into the pool's
// [tracker]; none of its methods waits.
type registrar interface {
	// serve adds the services that the kubelet calls for this way.
	serve(to *grpc.Server)
	// renew reports that the link needs another name now, or how long until it
	// does; 0 for never.
	renew(r registration, link string, now time.Time) (yes bool, wait time.Duration)
	// reconcile does what is missing for a registration, and says what is waited for,
	// "" for nothing, and when to call it again without an event, 0 for never. wg
	// counts what it starts.
	reconcile(ctx context.Context, v view, wg *sync.WaitGroup) (waiting string, again time.Duration)
}

// newRegistrar is the one place that knows which way is wanted.
func newRegistrar(resource string, p *place, opts *Options, reg *tracker) registrar {
	log := opts.Log.With("resource", resource)
	if opts.PluginWatcher {
		return &watched{
			resource: resource, reg: reg, log: log,
			link: p.visibleLink, hostPath: opts.HostPath,
		}
	}
	return &direct{
		resource: resource, reg: reg, log: log, seen: opts.Ledger.Seen,
		kubelet: filepath.Join(p.dir, kubeletSocketName), timeout: opts.RegisterTimeout,
	}
}
