// Command labagent is the lab's hand on a node that runs Talos: an extension service
// that runs the host's scripts in Talos' own mount namespace, beside the extension
// that is tested. Talos itself has neither a shell nor a program to move its clock.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/talos-sriov/talos-sriov/test/lab/internal/agentd"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/wire"
)

// Where the extension's root filesystem is, for Talos.
const root = "/usr/local/lib/containers/labagent"

func main() {
	if os.Getpid() == 1 {
		os.Exit(reap())
	}
	srv := agentd.Server{Dev: "/host/dev", Handle: handle, Failed: func(err error) { slog.Error("a port is not served", "err", err) }}
	srv.Serve()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	<-ctx.Done()
}

// reap runs the program once more and collects, as the first process of the container,
// what scripts leave behind. It returns the exit code.
func reap() int {
	self, err := os.StartProcess("/proc/self/exe", os.Args, &os.ProcAttr{Env: os.Environ(), Files: []*os.File{nil, os.Stdout, os.Stderr}})
	if err != nil {
		slog.Error("start", "err", err)
		return 1
	}
	sig := make(chan os.Signal, 1)
	signal.Notify(sig, syscall.SIGTERM)
	go func() {
		<-sig
		os.Exit(0) // the others end with the first process
	}()
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, 0, nil)
		if err != nil && !errors.Is(err, unix.EINTR) || pid == self.Pid {
			return 1
		}
	}
}

func handle(ctx context.Context, req wire.Request, in io.Reader, stdout, stderr io.Writer, resp *wire.Response) (any, error) {
	switch req.Op {
	case "exec":
		if req.TimeoutMS > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, time.Duration(req.TimeoutMS)*time.Millisecond)
			defer cancel()
		}
		err := script(ctx, nil, stdout, stderr, req.Env, req.Script)
		resp.TimedOut = errors.Is(ctx.Err(), context.DeadlineExceeded)
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			resp.Code = exit.ExitCode()
			return nil, nil
		}
		return nil, err
	case "put":
		return nil, checked(ctx, in, io.Discard, []string{"F=" + req.Path, fmt.Sprintf("M=%o", req.Mode&0o7777)},
			`mkdir -p "${F%/*}" && cat >"$F.lab-put" && { [ "$M" = 0 ] || chmod "$M" "$F.lab-put"; } && mv "$F.lab-put" "$F"`)
	case "get":
		return nil, checked(ctx, nil, stdout, []string{"F=" + req.Path}, `cat "$F"`)
	case "clock":
		tv := unix.NsecToTimeval(req.UnixNano)
		return nil, unix.Settimeofday(&tv)
	}
	return nil, fmt.Errorf("unknown request %q", req.Op)
}

// script runs a shell script with Talos' own view of the file system. What it leaves in
// the background keeps running, but its output is not waited for.
func script(ctx context.Context, in io.Reader, stdout, stderr io.Writer, env []string, text string) error {
	cmd := exec.CommandContext(ctx, "/bin/busybox", "nsenter", "--mount=/host/proc/1/ns/mnt", root+"/bin/sh", "-c", text)
	cmd.Env = append([]string{"PATH=" + root + "/bin:/usr/bin", "HOME=/root"}, env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, stdout, stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.WaitDelay = 500 * time.Millisecond
	if err := cmd.Run(); !errors.Is(err, exec.ErrWaitDelay) {
		return err
	}
	return nil
}

// checked is script for the agent's own scripts: their error has what they printed.
func checked(ctx context.Context, in io.Reader, stdout io.Writer, env []string, text string) error {
	var stderr tail
	if err := script(ctx, in, stdout, &stderr, env, text); err != nil {
		return fmt.Errorf("%w: %s", err, stderr)
	}
	return nil
}

type tail []byte

func (t *tail) Write(b []byte) (int, error) {
	*t = append(*t, b[:min(len(b), 4096-min(len(*t), 4096))]...)
	return len(b), nil
}

func (t tail) String() string { return string(t) }
