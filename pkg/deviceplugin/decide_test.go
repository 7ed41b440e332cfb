package deviceplugin

import (
	"errors"
	"io/fs"
	"syscall"
	"testing"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/internal/fileid"
)

// socket is a file as the kernel describes one.
type socket struct {
	fs.FileInfo

	stat syscall.Stat_t
}

func (s *socket) Sys() any    { return &s.stat }
func (s *socket) IsDir() bool { return false }

func identity(ino uint64, ctime int64) fileid.ID {
	return fileid.Of(&socket{stat: syscall.Stat_t{Ino: ino, Ctim: syscall.Timespec{Nsec: ctime}}})
}

func TestDecide(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	k1, k2 := identity(1, 0), identity(1, 7)
	const link = "/a/link"
	await := action{waiting: "the kubelet to create kubelet.sock"}
	register := action{register: true, waiting: "the kubelet to answer the registration"}
	answer := action{waiting: "the kubelet to answer the registration"}
	// tried is an attempt at k1 that came so far, ago.
	tried := func(o outcome, ago time.Duration) attempt {
		return attempt{n: 2, kubelet: k1, link: link, outcome: o, since: now.Add(-ago)}
	}
	fresh, old := &stream{attempt: 2}, &stream{attempt: 1}
	for _, tc := range []struct {
		name    string
		reg     registration
		kubelet fileid.ID
		link    string
		want    action
	}{
		{"no kubelet", registration{}, fileid.ID{}, link, await},
		{"kubelet went away", registration{attempt: tried(accepted, 0), newest: fresh, open: 1}, fileid.ID{}, link, await},
		{"no socket of ours", registration{}, k1, "", action{waiting: "our own socket"}},
		{"the link was used up meanwhile", registration{spent: link}, k1, link, action{waiting: "our own socket"}},
		{"first time", registration{}, k1, link, register},
		{"under way", registration{attempt: tried(asking, 0)}, k1, link, answer},
		{"under way, does not count", registration{attempt: tried(void, 0)}, k1, link, answer},
		{"under way, kubelet replaced", registration{attempt: tried(asking, 0)}, k2, link, action{cancel: true, waiting: answer.waiting}},
		{"under way, kubelet gone", registration{attempt: tried(asking, 0)}, fileid.ID{}, link, action{cancel: true, waiting: answer.waiting}},
		{"done", registration{attempt: tried(accepted, time.Hour), newest: fresh, open: 1}, k1, link, action{}},
		{"accepted, no stream yet", registration{attempt: tried(accepted, time.Second)}, k1, link,
			action{again: 4 * time.Second, waiting: "the kubelet to ask for the device list"}},
		{"accepted, only the old stream yet", registration{attempt: tried(accepted, time.Second), newest: old, open: 1}, k1, link,
			action{again: 4 * time.Second, waiting: "the kubelet to ask for the device list"}},
		{"accepted, never a stream", registration{attempt: tried(accepted, streamGrace)}, k1, link, register},
		{"accepted, kept the old stream", registration{attempt: tried(accepted, streamGrace), newest: old, open: 1}, k1, link, action{}},
		{"kubelet replaced", registration{attempt: tried(accepted, 0), newest: fresh, open: 1, retry: retry{after: now.Add(time.Second)}}, k2, link, register},
		{"refused, too early", registration{attempt: tried(refused, 0), retry: retry{after: now.Add(time.Second)}}, k1, link,
			action{again: time.Second, waiting: "the next attempt to register"}},
		{"nobody listens", registration{attempt: tried(silent, 0), retry: retry{after: now.Add(time.Second)}}, k1, link,
			action{again: time.Second, waiting: "the kubelet to listen on kubelet.sock"}},
		{"refused, due", registration{attempt: tried(refused, 0), retry: retry{after: now}}, k1, link, register},
		{"our socket was replaced, stream alive", registration{attempt: tried(lost, 0), newest: fresh, open: 1, retry: retry{after: now}}, k1, link, register},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := decide(tc.reg, view{now: now, kubelet: tc.kubelet, link: tc.link}); got != tc.want {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
		})
	}
}

// TestRegistration: what happens, in the order in which it does, and where the pool
// stands then.
func TestRegistration(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	const link = "/a/link"
	ask := func(r registration) registration {
		v := view{now: now, kubelet: identity(1, 0), link: link}
		return r.acted(decide(r, v), v)
	}
	replaced := func(r registration) registration {
		v := view{now: now, kubelet: identity(1, 7), link: link}
		return r.acted(decide(r, v), v)
	}
	answer := func(err error) func(registration) registration {
		return func(r registration) registration { return r.answered(now, err) }
	}
	open := func(r registration) registration { return r.streamOpened(now, link) }
	closed := func(r registration) registration { return r.streamClosed(now, r.newest) }
	removed := func(r registration) registration { return r.socketLost(now) }
	dead, no := syscall.ECONNREFUSED, errors.New("no")
	type do = []func(registration) registration
	for _, tc := range []struct {
		name  string
		do    do
		want  outcome
		count int
		spent bool
		fails int
	}{
		{"asked", do{ask}, asking, 0, false, 0},
		{"registered", do{ask, open, answer(nil)}, accepted, 1, false, 0},
		{"stream lost", do{ask, open, answer(nil), closed}, lost, 1, true, 1},
		{"stream lost before the answer", do{ask, open, closed, answer(nil)}, lost, 1, true, 1},
		{"socket removed", do{ask, answer(nil), removed}, lost, 1, false, 0},
		{"socket removed before the answer", do{ask, removed, answer(nil)}, lost, 1, false, 0},
		{"refused", do{ask, answer(no)}, refused, 0, true, 1},
		{"nobody listens", do{ask, answer(dead)}, silent, 0, false, 1},
		{"given up for another kubelet", do{ask, replaced, answer(no)}, lost, 0, true, 0},
		{"accepted by the one that was given up", do{ask, replaced, answer(nil)}, lost, 1, false, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var r registration
			for _, next := range tc.do {
				r = next(r)
			}
			if r.attempt.outcome != tc.want || r.count != tc.count || r.usedUp(link) != tc.spent || r.retry.fails != tc.fails {
				t.Errorf("got %+v, want outcome %d, %d registrations, the link used up %t, %d failures", r, tc.want, tc.count, tc.spent, tc.fails)
			}
		})
	}
	// The stream of an attempt before the last is not missed.
	r := answer(nil)(open(ask(registration{})))
	older := r.newest
	r = open(answer(nil)(ask(removed(r))))
	if r = r.streamClosed(now, older); r.attempt.outcome != accepted || !r.fresh() {
		t.Errorf("after an older stream ended: %+v", r)
	}
}

func TestBackoff(t *testing.T) {
	var last time.Duration
	for n := range 100 {
		d := backoff(n)
		if d < last || d > maxDelay {
			t.Errorf("backoff(%d) = %v after %v", n, d, last)
		}
		last = d
	}
	if backoff(0) != 0 || backoff(1) != firstDelay || last != maxDelay {
		t.Errorf("backoff goes from %v, %v to %v", backoff(0), backoff(1), last)
	}
}
