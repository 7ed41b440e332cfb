package guest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/talos-sriov/talos-sriov/test/lab/internal/extsvc"
)

const (
	restartInterval = 5 * time.Second
	stopGrace       = 10 * time.Second
	logDir          = "/run/lab/log"
	runcRoot        = "/run/lab/runc"
)

// The states of a service, in Talos' words.
const (
	stateWaiting  = "Waiting"
	stateRunning  = "Running"
	stateFinished = "Finished"
	stateFailed   = "Failed"
)

// extension is one extension service and its container.
type extension struct {
	n    *Node
	spec extsvc.Spec

	mu       sync.Mutex
	delivery extsvc.Delivery
	state    string
	message  string
	pid      int // of the container's first process, 0 when there is none
	starts   int
	stop     chan struct{} // closed to stop; nil when the service is not started
	done     chan struct{}
}

func (x *extension) id() string { return "ext-" + x.spec.Name }

func (x *extension) set(state, format string, args ...any) {
	x.mu.Lock()
	x.state, x.message = state, fmt.Sprintf(format, args...)
	x.mu.Unlock()
}

func (x *extension) running() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.state == stateRunning
}

// startService starts the service unless it is started.
func (x *extension) startService() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.stop != nil {
		select {
		case <-x.done: // ended by itself
		default:
			return
		}
	}
	x.stop, x.done = make(chan struct{}), make(chan struct{})
	go x.life(x.stop, x.done)
}

// stopService stops the service and returns when it has ended.
func (x *extension) stopService() {
	x.mu.Lock()
	stop, done := x.stop, x.done
	x.stop = nil
	x.mu.Unlock()
	if stop == nil {
		return
	}
	close(stop)
	<-done
}

// life is a service from its conditions to its end, in Talos' order: wait,
// overlay, mount sources, container spec, then runs until it is stopped.
func (x *extension) life(stop, done chan struct{}) {
	defer close(done)
	x.set(stateWaiting, "conditions")
	if !x.conditions(stop) {
		x.set(stateFinished, "stopped while waiting")
		return
	}
	rootfs := filepath.Join(extsvc.RootfsDir, x.spec.Name)
	base := "/system/overlays/" + strings.ReplaceAll(strings.TrimPrefix(rootfs, "/"), "/", "-")
	if err := overlay(rootfs, base); err != nil {
		x.fail(err)
		return
	}
	spec, err := x.container()
	if err != nil {
		// Talos leaves the overlay mounted here.
		x.fail(err)
		return
	}
	x.loop(spec, stop)
	if err := unmountWait(rootfs, 2*time.Second); err != nil {
		x.n.ev.add("extension-unmount-failed", "%s: %v", x.spec.Name, err)
	}
}

func (x *extension) fail(err error) {
	x.set(stateFailed, "%v", err)
	x.n.ev.add("extension-failed", "%s: %v", x.spec.Name, err)
}

// conditions waits for the spec's dependencies; false means stopped.
func (x *extension) conditions(stop chan struct{}) bool {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	return poll(ctx, 100*time.Millisecond, func() bool {
		for _, d := range x.spec.Depends {
			if !x.met(d) {
				return false
			}
		}
		return true
	}) == nil
}

func (x *extension) met(d extsvc.Dependency) bool {
	switch {
	case d.Service != "":
		return x.n.serviceUp(d.Service)
	case d.Path != "":
		_, err := os.Stat(d.Path)
		return err == nil
	case len(d.Network) > 0, d.Time:
		return x.n.networkUp.Load()
	case d.Configuration:
		x.mu.Lock()
		defer x.mu.Unlock()
		return x.delivery.Document != nil
	}
	return false
}

// container makes missing mount sources and the container's spec, which stays
// the same until the service (not the process) is restarted.
func (x *extension) container() (*specs.Spec, error) {
	x.mu.Lock()
	doc := x.delivery.Document
	x.mu.Unlock()
	for _, m := range x.spec.Container.Mounts {
		if _, err := os.Stat(m.Source); err == nil {
			continue
		} else if !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		if err := os.MkdirAll(m.Source, 0o700); err != nil {
			return nil, fmt.Errorf("Failed to create runner: %w", err) //nolint:staticcheck // Talos' own words
		}
	}
	if f := x.spec.Container.EnvironmentFile; f != "" {
		return nil, fmt.Errorf("environmentFile %q: deprecated by Talos and not supported by the lab", f)
	}
	return extsvc.OCI(x.n.base, x.spec, doc)
}

// loop runs the container again and again as the spec's restart says.
func (x *extension) loop(spec *specs.Spec, stop chan struct{}) {
	for {
		code, err := x.once(spec, stop)
		select {
		case <-stop:
			x.set(stateFinished, "stopped")
			x.n.ev.add("extension-stopped", "%s exit code %d", x.spec.Name, code)
			return
		default:
		}
		if err != nil {
			x.n.ev.add("extension-error", "%s: %v", x.spec.Name, err)
		} else {
			x.n.ev.add("extension-exit", "%s exit code %d", x.spec.Name, code)
		}
		ok := err == nil && code == 0
		switch {
		case x.spec.Restart == extsvc.RestartNever && !ok:
			x.set(stateFailed, "exit code %d", code)
			return
		case x.spec.Restart != extsvc.RestartAlways && ok:
			x.set(stateFinished, "exit code 0")
			return
		}
		x.set(stateWaiting, "exit code %d, going to restart", code)
		select {
		case <-stop:
			x.set(stateFinished, "stopped")
			return
		case <-time.After(restartInterval):
		}
	}
}

// once runs the container to its end.
func (x *extension) once(spec *specs.Spec, stop chan struct{}) (int, error) {
	ctx := context.Background()
	bundle := "/run/lab/bundle/" + x.spec.Name
	if err := os.MkdirAll(bundle, 0o755); err != nil {
		return -1, err
	}
	b, err := json.Marshal(spec)
	if err != nil {
		return -1, fmt.Errorf("encode container spec: %w", err)
	}
	if err := os.WriteFile(bundle+"/config.json", b, 0o644); err != nil {
		return -1, err
	}
	if _, err := os.Stat(filepath.Join(runcRoot, x.id())); err == nil {
		_, _ = x.n.reap.run(ctx, "/usr/bin/runc", "--root", runcRoot, "delete", "--force", x.id())
	}
	pidFile := bundle + "/pid"
	if err := os.Remove(pidFile); err != nil && !errors.Is(err, os.ErrNotExist) {
		return -1, err
	}
	out, err := newLog(x.id())
	if err != nil {
		return -1, err
	}
	cmd := exec.Command("/usr/bin/runc", "--root", runcRoot, "run", "--bundle", bundle, "--pid-file", pidFile, x.id())
	cmd.Env = toolEnv
	cmd.Stdout, cmd.Stderr = out.w, out.w
	p, err := x.n.reap.start(cmd)
	out.w.Close()
	if err != nil {
		return -1, err
	}
	go x.watchStart(p, pidFile)
	x.awaitEnd(p, stop)
	<-out.done
	x.mu.Lock()
	x.pid = 0
	x.mu.Unlock()
	return p.code, nil
}

// watchStart notes when the container's process runs: runc writes the PID file
// when it has started it.
func (x *extension) watchStart(p *process, pidFile string) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-p.done:
			cancel()
		case <-ctx.Done():
		}
	}()
	pid := 0
	if poll(ctx, 20*time.Millisecond, func() bool {
		b, err := os.ReadFile(pidFile)
		if err != nil {
			return false
		}
		pid, err = strconv.Atoi(strings.TrimSpace(string(b)))
		return err == nil
	}) != nil {
		return
	}
	x.mu.Lock()
	x.pid, x.state, x.message = pid, stateRunning, "started"
	x.starts++
	x.mu.Unlock()
	x.n.ev.add("extension-started", "%s pid %d", x.spec.Name, pid)
}

// awaitEnd waits for the end of the container, and brings it about when the
// service is stopped: SIGTERM to all its processes, SIGKILL after ten seconds.
func (x *extension) awaitEnd(p *process, stop chan struct{}) {
	select {
	case <-p.done:
		return
	case <-stop:
	}
	x.n.ev.add("extension-sigterm", "%s", x.spec.Name)
	x.signalAll(unix.SIGTERM)
	select {
	case <-p.done:
		return
	case <-time.After(stopGrace):
	}
	x.n.ev.add("extension-sigkill", "%s", x.spec.Name)
	x.signalAll(unix.SIGKILL)
	<-p.done
}

func (x *extension) signalAll(sig unix.Signal) {
	b, err := os.ReadFile("/sys/fs/cgroup/system/extensions/" + x.spec.Name + "/cgroup.procs")
	if err != nil {
		return
	}
	for _, f := range strings.Fields(string(b)) {
		if pid, err := strconv.Atoi(f); err == nil && pid > 1 {
			_ = unix.Kill(pid, sig)
		}
	}
}

// signal sends a signal to the container's first process.
func (x *extension) signal(sig unix.Signal) error {
	x.mu.Lock()
	pid := x.pid
	x.mu.Unlock()
	if pid == 0 {
		return fmt.Errorf("%s has no process", x.id())
	}
	return unix.Kill(pid, sig)
}

// lineLog puts the time before each line of a service's output.
type lineLog struct {
	w    *os.File
	done chan struct{}
}

func newLog(name string) (*lineLog, error) {
	f, err := os.OpenFile(filepath.Join(logDir, name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	pr, pw, err := os.Pipe()
	if err != nil {
		f.Close()
		return nil, err
	}
	l := &lineLog{w: pw, done: make(chan struct{})}
	go func() {
		defer close(l.done)
		defer f.Close()
		defer pr.Close()
		r := bufio.NewReader(pr)
		for {
			line, err := r.ReadString('\n')
			if line != "" {
				fmt.Fprintf(f, "%s %s\n", time.Now().UTC().Format("2006-01-02T15:04:05.000000Z"), strings.TrimSuffix(line, "\n"))
			}
			if errors.Is(err, io.EOF) || err != nil {
				return
			}
		}
	}()
	return l, nil
}
