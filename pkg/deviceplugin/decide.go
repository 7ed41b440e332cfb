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
}

// next is the delay after one more failure.
func (r retry) next(now time.Time) retry {
	return retry{fails: r.fails + 1, after: now.Add(backoff(r.fails + 1))}
}

// view is what there is besides the registration.
type view struct {
	now     time.Time
	kubelet fileid.ID // kubelet.sock as it is; zero when it is not there
	link    string    // full path of the link to our socket, "" for none
	err     error     // why there is no socket or link
}

// action is what to do about it.
type action struct {
	register bool
	cancel   bool          // the attempt that is under way asks a kubelet that is gone
	again    time.Duration // look again after this; 0 means only when something happens
	waiting  string        // for the status; "" means registered
}

// decide is the whole policy of registering at the kubelet's socket.
func decide(r registration, v view) action {
	const answer = "the kubelet to answer the registration"
	a := r.attempt
	switch {
	case a.underWay() && a.kubelet != v.kubelet:
		return action{cancel: true, waiting: answer}
	case !v.kubelet.IsSet():
		return action{waiting: "the kubelet to create " + kubeletSocketName}
	case v.link == "" || r.usedUp(v.link):
		return action{waiting: "our own socket"}
	case a.underWay():
		return action{waiting: answer}
	case a.kubelet != v.kubelet:
	case a.outcome == accepted:
		grace := a.since.Add(streamGrace).Sub(v.now)
		switch {
		case r.fresh():
			return action{}
		case grace > 0:
			return action{again: grace, waiting: "the kubelet to ask for the device list"}
		case r.open > 0:
			// It kept the stream that it had: odd, but it is served.
			return action{}
		}
	case v.now.Before(r.retry.after):
		waiting := "the next attempt to register"
		if a.outcome == silent {
			waiting = "the kubelet to listen on " + kubeletSocketName
		}
		return action{again: r.retry.after.Sub(v.now), waiting: waiting}
	}
	return action{register: true, waiting: answer}
}

// await is the whole policy of being found by the plugin watcher: what is missing, ""
// for nothing.
func await(r registration, v view) (waiting string) {
	switch {
	case v.err != nil:
		return "our own socket"
	case v.link == "":
		return "the kubelet to create " + registryDirName
	case r.open == 0:
		return "the kubelet to find our socket"
	}
	return ""
}
