package deviceplugin

import (
	"sync"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/internal/fileid"
)

// registration is where a pool stands with the kubelet. It is a value: whatever
// happens makes the next one of it, by one of the functions below.
type registration struct {
	attempt attempt
	newest  *stream // of the device list streams the one that was opened last, while it is open
	open    int     // device list streams
	spent   string  // the link that no attempt may use any more: a kubelet may be connected to it
	retry   retry
	count   int    // successful registrations
	refused string // why the last attempt failed
}

// attempt is one call of Register, and what came of it. With the plugin watcher we
// make none.
type attempt struct {
	n       int       // counts the attempts
	kubelet fileid.ID // the kubelet.sock that is asked
	link    string    // full path of the link that it is given
	outcome outcome
	since   time.Time // when it was accepted
}

// outcome is how far an attempt is.
type outcome int

const (
	_         outcome = iota // there was no attempt
	asking                   // the kubelet has not answered yet
	void                     // nor here, and what it answers does not count: our link, socket or stream is gone
	overtaken                // nor here, and we gave it up: kubelet.sock is another one now, or gone
	accepted
	lost    // was accepted or given up, and counts no more
	refused // or failed in another way
	silent  // nobody listens on kubelet.sock
)

// underWay reports whether an answer is still to come.
func (a attempt) underWay() bool {
	return a.outcome == asking || a.outcome == void || a.outcome == overtaken
}

// stream is a device list stream. It is identified by its address.
type stream struct {
	attempt int    // the last one when it was opened
	link    string // that could be found then
	opened  time.Time
}

// fresh reports whether a stream is open that the last attempt brought.
func (r registration) fresh() bool { return r.newest != nil && r.newest.attempt == r.attempt.n }

// usedUp reports whether the link needs another name before the next attempt.
func (r registration) usedUp(link string) bool { return link != "" && link == r.spent }

// acted: what was decided is being done.
func (r registration) acted(a action, v view) registration {
	if !v.kubelet.IsSet() {
		r.refused = "" // nobody is there to refuse
	}
	if a.cancel {
		r.attempt.outcome = overtaken
	}
	if a.register {
		if r.attempt.kubelet != v.kubelet {
			r.retry.fails = 0
		}
		r.attempt = attempt{n: r.attempt.n + 1, kubelet: v.kubelet, link: v.link, outcome: asking}
	}
	return r
}

// answered: the call of the attempt that is under way returned.
func (r registration) answered(now time.Time, err error) registration {
	was := r.attempt.outcome
	r.refused = ""
	switch {
	case err == nil && was == asking:
		r.count++
		r.attempt.outcome, r.attempt.since = accepted, now
	case err == nil:
		r.count++
		r.attempt.outcome = lost
	case was == overtaken:
		r.attempt.outcome, r.spent = lost, r.attempt.link
	case nobodyListens(err):
		r.attempt.outcome = silent
		r.retry = r.retry.next(now)
	default:
		// Whatever it answered, it may be connected to this link.
		r.attempt.outcome, r.spent = refused, r.attempt.link
		r.refused = err.Error()
		r.retry = r.retry.next(now)
	}
	return r
}

// found: a kubelet's plugin watcher says that it has registered us.
func (r registration) found() registration {
	r.count++
	r.refused = ""
	return r
}

// notWanted: a kubelet's plugin watcher does not want what it found at the link.
func (r registration) notWanted(now time.Time, link, why string) registration {
	r.retry = r.retry.next(now)
	r.spent, r.refused = link, why
	return r
}

// streamOpened: the kubelet asks for the device list.
func (r registration) streamOpened(now time.Time, link string) registration {
	r.open++
	r.newest = &stream{attempt: r.attempt.n, link: link, opened: now}
	return r
}

// streamClosed: a stream has ended. The kubelet does not open one again by itself, and
// when the newest ends it forgets whatever endpoint it has for the resource. It dials a
// new link.
func (r registration) streamClosed(now time.Time, st *stream) registration {
	r.open--
	if st != r.newest {
		return r
	}
	r.newest = nil
	if st.attempt != r.attempt.n {
		return r
	}
	if now.Sub(st.opened) >= steadyAfter {
		r.retry.fails = 0
	}
	r.retry = r.retry.next(now)
	r.spent = st.link
	return r.gone()
}

// socketLost: our socket or link was taken away. The next attempt need not wait.
func (r registration) socketLost(now time.Time) registration {
	r.retry.after = now
	return r.gone()
}

// gone: what was registered counts no more.
func (r registration) gone() registration {
	switch r.attempt.outcome {
	case asking:
		r.attempt.outcome = void
	case accepted:
		r.attempt.outcome = lost
	}
	return r
}

// kubeletCreated: a kubelet has made its socket. Two that
// are made within one tick of the kernel's clock have one identity, so failures with
// the one before are forgotten here.
func (r registration) kubeletCreated() registration {
	r.retry = retry{}
	return r
}

// tracker has the registration of this moment, for those who hear from the kubelet
// and the loop that acts on it.
type tracker struct {
	wake chan struct{} // cap 1: the loop has to look again

	mu  sync.Mutex
	reg registration
}

func (t *tracker) get() registration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.reg
}

// change is for the loop itself: it makes next of the registration.
func (t *tracker) change(next func(registration) registration) registration {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.reg = next(t.reg)
	return t.reg
}

// news is change for everybody else.
func (t *tracker) news(next func(registration) registration) registration {
	defer notify(t.wake)
	return t.change(next)
}
