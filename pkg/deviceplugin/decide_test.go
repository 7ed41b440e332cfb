package deviceplugin

import (
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
	for _, tc := range []struct {
		name string
		view view
		want action
	}{
		{"no kubelet", view{listening: true}, action{waiting: "the kubelet to create kubelet.sock"}},
		{"kubelet went away", view{listening: true, streams: 1, fresh: true, attempts: attempts{registered: k1}}, action{waiting: "the kubelet to create kubelet.sock"}},
		{"no socket of ours", view{kubelet: k1}, action{waiting: "our own socket"}},
		{"first time", view{listening: true, kubelet: k1}, action{register: true, waiting: "the kubelet to answer the registration"}},
		{"under way", view{listening: true, kubelet: k1, attempts: attempts{inflight: k1, tried: k1}}, action{waiting: "the kubelet to answer the registration"}},
		{"under way, kubelet replaced", view{listening: true, kubelet: k2, attempts: attempts{inflight: k1, tried: k1}}, action{cancel: true, waiting: "the kubelet to answer the registration"}},
		{"under way, kubelet gone", view{listening: true, attempts: attempts{inflight: k1, tried: k1}}, action{cancel: true, waiting: "the kubelet to answer the registration"}},
		{"done", view{listening: true, kubelet: k1, streams: 1, fresh: true, attempts: attempts{registered: k1, registeredAt: now.Add(-time.Hour)}}, action{}},
		{"accepted, no stream yet", view{listening: true, kubelet: k1, attempts: attempts{registered: k1, registeredAt: now.Add(-time.Second)}},
			action{again: 4 * time.Second, waiting: "the kubelet to ask for the device list"}},
		{"accepted, only the old stream yet", view{listening: true, kubelet: k1, streams: 1, attempts: attempts{registered: k1, registeredAt: now.Add(-time.Second)}},
			action{again: 4 * time.Second, waiting: "the kubelet to ask for the device list"}},
		{"accepted, never a stream", view{listening: true, kubelet: k1, attempts: attempts{registered: k1, registeredAt: now.Add(-streamGrace)}},
			action{register: true, waiting: "the kubelet to answer the registration"}},
		{"accepted, kept the old stream", view{listening: true, kubelet: k1, streams: 1, attempts: attempts{registered: k1, registeredAt: now.Add(-streamGrace)}}, action{}},
		{"kubelet replaced", view{listening: true, kubelet: k2, streams: 1, fresh: true, notBefore: now.Add(time.Second), attempts: attempts{registered: k1, tried: k1}},
			action{register: true, waiting: "the kubelet to answer the registration"}},
		{"refused, too early", view{listening: true, kubelet: k1, notBefore: now.Add(time.Second), attempts: attempts{tried: k1}},
			action{again: time.Second, waiting: "the next attempt to register"}},
		{"nobody listens", view{listening: true, kubelet: k1, notBefore: now.Add(time.Second), attempts: attempts{tried: k1, dead: true}},
			action{again: time.Second, waiting: "the kubelet to listen on kubelet.sock"}},
		{"refused, due", view{listening: true, kubelet: k1, notBefore: now, attempts: attempts{tried: k1}}, action{register: true, waiting: "the kubelet to answer the registration"}},
		{"our socket was replaced, stream alive", view{listening: true, kubelet: k1, notBefore: now, streams: 1, fresh: true, attempts: attempts{tried: k1}},
			action{register: true, waiting: "the kubelet to answer the registration"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.view.now = now
			if got := decide(tc.view); got != tc.want {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
		})
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
