package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// output is a log that a daemon writes and the test reads.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) wait(t *testing.T, text string) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for {
		o.mu.Lock()
		now := o.b.String()
		o.mu.Unlock()
		if strings.Contains(now, text) {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("no %q in the log:\n%s", text, now)
		}
	}
}

// machine is where daemons of a test run.
type machine struct{ dir string }

func newMachine(t *testing.T) machine {
	t.Helper()
	// A name that is short enough for sockets.
	dir, err := os.MkdirTemp("/tmp", "m") //nolint:usetesting // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.MkdirAll(filepath.Join(dir, "sys/bus/pci/devices"), 0o755); err != nil {
		t.Fatal(err)
	}
	return machine{dir}
}

func (m machine) at(path string) string { return filepath.Join(m.dir, path) }

// daemon is a running one.
type daemon struct {
	log  output
	stop context.CancelFunc
	done chan error // its end
}

// start starts a daemon whose state is in the directory of that name.
func (m machine) start(t *testing.T, state string, takeover time.Duration) *daemon {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	d := &daemon{stop: cancel, done: make(chan error, 1)}
	a := &app{stderr: &d.log, takeover: takeover}
	go func() {
		d.done <- a.run(ctx, []string{
			"-config", m.at("config"), "-state-dir", m.at(state), "-kubelet-dir", m.at("kubelet"), "-sysfs", m.at("sys"),
			"-run-dir", m.at("run"), "-host-root", m.at(""), "-opt-dir", m.at("opt"), "-cni-plugin", "",
			"-device-info-dir", m.at("info"), "-cdi-dir", m.at("cdi"),
		})
	}()
	t.Cleanup(cancel)
	return d
}

// TestSecondDaemon does nothing but to say why.
func TestSecondDaemon(t *testing.T) {
	m := newMachine(t)
	if err := os.Mkdir(m.at("two"), 0o755); err != nil {
		t.Fatal(err)
	}
	first := m.start(t, "one", 0)
	first.log.wait(t, "msg=started")
	second := m.start(t, "two", 10*time.Millisecond)
	err := <-second.done
	if err == nil || !strings.Contains(err.Error(), "another sriovd runs on this machine: lock "+m.at("run/sriov/lock")+" is held by process ") {
		t.Errorf("the second ended with %v", err)
	}
	if left, err := os.ReadDir(m.at("two")); err != nil || len(left) > 0 {
		t.Errorf("the second wrote %v, %v", left, err)
	}
	// On another machine it has no rival.
	third := newMachine(t).start(t, "one", 0)
	third.log.wait(t, "msg=started")
	for _, d := range []*daemon{first, third} {
		d.stop()
		if err := <-d.done; err != nil {
			t.Error(err)
		}
	}
}

// TestServiceStartedAgain: the new daemon waits for the end of the old one.
func TestServiceStartedAgain(t *testing.T) {
	m := newMachine(t)
	first := m.start(t, "state", 0)
	first.log.wait(t, "msg=started")
	second := m.start(t, "state", time.Minute)
	second.log.wait(t, "waiting for its end")
	first.stop()
	if err := <-first.done; err != nil {
		t.Error(err)
	}
	second.log.wait(t, "msg=started")
	second.stop()
	if err := <-second.done; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
