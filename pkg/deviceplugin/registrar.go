package deviceplugin

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"
)

// registrar is one way in which the kubelet comes to know a pool's socket: we call
// it ([direct]), or it finds us ([watched]). It is part of a server, which calls
// every method but serve with its lock held. None of them waits.
type registrar interface {
	// serve adds the services that the kubelet calls for this way.
	serve(to *grpc.Server)
	// usedUp reports, once, that the link needs another name now, or how long
	// until it does; 0 for never.
	usedUp(now time.Time) (renew bool, wait time.Duration)
	// forget says that the link, the socket or the newest device list stream is gone:
	// what was registered counts no more.
	forget()
	// reconcile does what is missing for the link, "" for none. wg counts what it
	// starts.
	reconcile(ctx context.Context, now time.Time, o offering, wg *sync.WaitGroup) progress
}

// offering is what a registrar needs to know of its server.
type offering struct {
	link    string // full path; "" for none
	err     error  // why there is no socket or link
	streams map[int]stream
}

// progress is how far a registration is.
type progress struct {
	again   time.Duration // reconcile again after this; 0: only when something happens
	waiting string        // for the status; "" means registered
	err     error         // to be logged
}

// standing is how the kubelet took the registrations, whichever way they go.
type standing struct {
	retry   retry
	renew   bool // the link is used up: the next attempt needs another one
	attempt int  // counts our calls of Register, to tell a stream's registration
	count   int  // successful registrations
	refused string
}

// stream is an open device list stream.
type stream struct {
	attempt int
	opened  time.Time
}

// newRegistrar is the one place that knows which way is wanted.
func newRegistrar(s *server) registrar {
	if s.opts.PluginWatcher {
		return &watched{server: s}
	}
	return newDirect(s)
}
