package guest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// reaper starts every child and collects every exit. PID 1 inherits all
// orphans, so it must wait for any process, and nobody else may wait.
type reaper struct {
	mu      sync.Mutex
	waiting map[int]chan unix.WaitStatus
}

func newReaper() *reaper {
	r := &reaper{waiting: map[int]chan unix.WaitStatus{}}
	sig := make(chan os.Signal, 8)
	signal.Notify(sig, unix.SIGCHLD)
	go func() {
		for range sig {
			r.collect()
		}
	}()
	return r
}

func (r *reaper) collect() {
	for {
		// The lock keeps a child that ends at once from being collected
		// before start has noted its PID.
		r.mu.Lock()
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, unix.WNOHANG, nil)
		if pid > 0 {
			if ch := r.waiting[pid]; ch != nil {
				delete(r.waiting, pid)
				ch <- ws
			}
		}
		r.mu.Unlock()
		if err != nil && errors.Is(err, unix.EINTR) {
			continue
		}
		if pid <= 0 {
			return
		}
	}
}

// process is a started child.
type process struct {
	pid  int
	done chan struct{}
	code int // valid after done; 128+n after signal n
}

// start starts cmd, whose stdin, stdout and stderr must be files or nil.
func (r *reaper) start(cmd *exec.Cmd) (*process, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	ch := make(chan unix.WaitStatus, 1)
	p := &process{pid: cmd.Process.Pid, done: make(chan struct{})}
	r.waiting[p.pid] = ch
	go func() {
		ws := <-ch
		if p.code = ws.ExitStatus(); ws.Signaled() {
			p.code = 128 + int(ws.Signal())
		}
		close(p.done)
	}()
	return p, nil
}

// run runs a program to its end and returns its joined output.
func (r *reaper) run(ctx context.Context, name string, args ...string) (string, error) {
	pr, pw, err := os.Pipe()
	if err != nil {
		return "", fmt.Errorf("pipe for %s: %w", name, err)
	}
	defer pr.Close()
	cmd := exec.Command(name, args...)
	cmd.Env = toolEnv
	cmd.Stdout, cmd.Stderr = pw, pw
	p, err := r.start(cmd)
	pw.Close()
	if err != nil {
		return "", err
	}
	stop := context.AfterFunc(ctx, func() { _ = unix.Kill(p.pid, unix.SIGKILL) })
	defer stop()
	var out strings.Builder
	buf := make([]byte, 4096)
	for {
		n, err := pr.Read(buf)
		out.Write(buf[:n])
		if err != nil {
			break
		}
	}
	<-p.done
	if p.code != 0 {
		return out.String(), fmt.Errorf("%s %s: exit code %d: %s", name, strings.Join(args, " "), p.code, strings.TrimSpace(out.String()))
	}
	return out.String(), nil
}

// toolEnv is the environment of what PID 1 runs, but not of extensions.
var toolEnv = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"}

// poll calls f until it reports true or the context ends.
func poll(ctx context.Context, every time.Duration, f func() bool) error {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		if f() {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
	}
}
