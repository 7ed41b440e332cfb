package deviceplugin

import (
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/internal/fileid"
)

const (
	// firstDelay is short because the first refusal is usually a kubelet that
	// has bound its socket and does not listen on it yet.
	firstDelay = 5 * time.Millisecond
	maxDelay   = 10 * time.Second
	// streamGrace is how long a kubelet that accepted a registration may take
	// to open the device list stream.
	streamGrace = 5 * time.Second
	// steadyAfter is how long a stream must have lived for its loss to be a
	// first failure and not the next one of a series.
	steadyAfter = 5 * time.Second
)

// backoff is the delay before the next attempt after n failures in a row.
// There is no jitter: one node's few pools do not need it, and operators can
// predict what they see.
func backoff(n int) time.Duration {
	if n <= 0 {
		return 0
	}
	const most = 11 // doublings, after which it is above maxDelay
	return min(firstDelay<<min(n-1, most), maxDelay)
}

// retry is the delay after failures in a row.
type retry struct {
	fails int
	after time.Time
	err   error
}

func (r *retry) failed(now time.Time, err error) error {
	r.fails++
	r.after, r.err = now.Add(backoff(r.fails)), err
	return err
}

// streamLost is the failure after the loss of a stream, which is a first one when the
// stream has lived.
func (r *retry) streamLost(st stream, now time.Time) {
	if now.Sub(st.opened) >= steadyAfter {
		r.fails = 0
	}
	_ = r.failed(now, nil)
}

func (r *retry) ok() { *r = retry{} }

// view is everything that decides whether a pool must be registered now.
type view struct {
	now       time.Time
	listening bool      // our socket is in place
	kubelet   fileid.ID // kubelet.sock as it is; zero when it is not there
	streams   int       // open device list streams
	fresh     bool      // one of them was opened since the last attempt began

	attempts
	notBefore time.Time // when the next attempt at the kubelet.sock that was tried is due
}

// attempts are what came of those to register until now.
type attempts struct {
	registered   fileid.ID // the kubelet.sock that accepted us; zero for none or lost
	registeredAt time.Time // when it did
	inflight     fileid.ID // the kubelet.sock that is being asked; zero for none
	tried        fileid.ID // the kubelet.sock of the last attempt
	dead         bool      // nobody listened there
}

// action is what to do about a view.
type action struct {
	register bool
	cancel   bool          // the attempt that is under way asks a kubelet that is gone
	again    time.Duration // reconcile again after this; 0 means only when something happens
	waiting  string        // for the status; "" means registered
}

// decide is the whole registration policy.
func decide(v view) action {
	const answer = "the kubelet to answer the registration"
	switch {
	case v.inflight.IsSet() && v.inflight != v.kubelet:
		return action{cancel: true, waiting: answer}
	case !v.kubelet.IsSet():
		return action{waiting: "the kubelet to create " + kubeletSocketName}
	case !v.listening:
		return action{waiting: "our own socket"}
	case v.inflight.IsSet():
		return action{waiting: answer}
	case v.registered == v.kubelet:
		grace := v.registeredAt.Add(streamGrace).Sub(v.now)
		switch {
		case v.fresh:
			return action{}
		case grace > 0:
			return action{again: grace, waiting: "the kubelet to ask for the device list"}
		case v.streams > 0:
			// It kept the stream that it had: odd, but it is served.
			return action{}
		}
	case v.tried == v.kubelet && v.now.Before(v.notBefore):
		waiting := "the next attempt to register"
		if v.dead {
			waiting = "the kubelet to listen on " + kubeletSocketName
		}
		return action{again: v.notBefore.Sub(v.now), waiting: waiting}
	}
	return action{register: true, waiting: answer}
}
