package guest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/talos-sriov/talos-sriov/test/lab/internal/agentd"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/wire"
)

// serveAgents serves the host on every port that is meant for it.
func (n *Node) serveAgents() {
	srv := agentd.Server{Dev: "/dev", Handle: n.request, Failed: func(err error) { n.ev.add("agent-failed", "%v", err) }}
	srv.Serve()
}

// ServiceState is the state of a service as the host gets it.
type ServiceState struct {
	Name    string `json:"name"`
	State   string `json:"state"`
	Message string `json:"message,omitempty"`
	PID     int    `json:"pid,omitempty"`
	Starts  int    `json:"starts"`
}

// Status is the state of the guest as the host gets it.
type Status struct {
	BootID   string         `json:"bootID"`
	Booted   bool           `json:"booted"`
	Error    string         `json:"error,omitempty"`
	Services []ServiceState `json:"services"`
}

func (n *Node) status() (Status, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return Status{}, err
	}
	st := Status{BootID: strings.TrimSpace(string(id))}
	select {
	case <-n.booted:
		st.Booted = n.bootErr == nil
		if n.bootErr != nil {
			st.Error = n.bootErr.Error()
		}
	default:
		return st, nil
	}
	for _, x := range n.extensions {
		x.mu.Lock()
		st.Services = append(st.Services, ServiceState{x.id(), x.state, x.message, x.pid, x.starts})
		x.mu.Unlock()
	}
	for _, s := range []*service{n.containerd, n.kubelet} {
		if s == nil {
			continue
		}
		s.mu.Lock()
		state := stateWaiting
		if s.pid != 0 {
			state = stateRunning
		}
		st.Services = append(st.Services, ServiceState{s.name, state, "", s.pid, s.starts})
		s.mu.Unlock()
	}
	return st, nil
}

func (n *Node) request(ctx context.Context, req wire.Request, in io.Reader, stdout, stderr io.Writer, resp *wire.Response) (any, error) {
	switch req.Op {
	case "exec":
		return nil, n.exec(ctx, req, stdout, stderr, resp)
	case "put":
		return nil, put(req, in)
	case "get":
		f, err := os.Open(req.Path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		_, err = io.Copy(stdout, f)
		return nil, err
	case "status":
		return n.status()
	case "events":
		return n.ev.snapshot(), nil
	case "clock":
		tv := unix.NsecToTimeval(req.UnixNano)
		return nil, unix.Settimeofday(&tv)
	case "document":
		return nil, n.changeDocument(req.Name, req.YAML, req.How)
	case "service":
		return nil, n.service(req)
	case "power":
		return nil, n.power(req.How)
	case "unmount":
		return n.unmountVar(), nil
	}
	return nil, fmt.Errorf("unknown request %q", req.Op)
}

func put(req wire.Request, in io.Reader) error {
	if err := os.MkdirAll(filepath.Dir(req.Path), 0o755); err != nil {
		return err
	}
	mode := os.FileMode(req.Mode)
	if mode == 0 {
		mode = 0o644
	}
	tmp := req.Path + ".lab-put"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, in); err != nil {
		f.Close()
		os.Remove(tmp)
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(tmp, req.Path)
}

// exec runs a script. What it leaves in the background keeps running, but its
// output is not waited for.
func (n *Node) exec(ctx context.Context, req wire.Request, stdout, stderr io.Writer, resp *wire.Response) error {
	cmd := exec.Command("/bin/sh", "-c", req.Script)
	cmd.Env = append(append([]string{}, toolEnv...), req.Env...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true}
	var wg sync.WaitGroup
	var readers, writers []*os.File
	for _, w := range []io.Writer{stdout, stderr} {
		pr, pw, err := os.Pipe()
		if err != nil {
			return err
		}
		readers, writers = append(readers, pr), append(writers, pw)
		wg.Go(func() { _, _ = io.Copy(w, pr) })
	}
	cmd.Stdout, cmd.Stderr = writers[0], writers[1]
	p, err := n.reap.start(cmd)
	for _, w := range writers {
		w.Close()
	}
	if err != nil {
		return err
	}
	var timeout <-chan time.Time
	if req.TimeoutMS > 0 {
		timeout = time.After(time.Duration(req.TimeoutMS) * time.Millisecond)
	}
	select {
	case <-p.done:
	case <-timeout:
		resp.TimedOut = true
		_ = unix.Kill(-p.pid, unix.SIGKILL)
	case <-ctx.Done():
		_ = unix.Kill(-p.pid, unix.SIGKILL)
	}
	<-p.done
	// A child in the background may hold the pipes: give what is left in them a
	// moment, then let go.
	for _, r := range readers {
		_ = r.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
	}
	wg.Wait()
	for _, r := range readers {
		r.Close()
	}
	resp.Code = p.code
	return nil
}

type controllable interface {
	startService()
	stopService()
	signal(unix.Signal) error
}

func (n *Node) service(req wire.Request) error {
	var c controllable
	select {
	case <-n.booted:
	default:
		return errors.New("the node is booting")
	}
	switch {
	case req.Name == "kubelet" && n.kubelet != nil:
		c = n.kubelet
	case req.Name == "containerd" && n.containerd != nil:
		c = n.containerd
	default:
		x := n.extension(strings.TrimPrefix(req.Name, "ext-"))
		if x == nil {
			return fmt.Errorf("no service %q", req.Name)
		}
		c = x
	}
	switch req.How {
	case "start":
		c.startService()
	case "stop":
		c.stopService()
	case "restart":
		c.stopService()
		c.startService()
	case "kill":
		return c.signal(unix.Signal(req.Signal))
	default:
		return fmt.Errorf("service verb %q: want start, stop, restart or kill", req.How)
	}
	return nil
}

// power ends this boot in an orderly way. The answer is sent before it begins.
func (n *Node) power(how string) error {
	cmd := unix.LINUX_REBOOT_CMD_RESTART
	switch how {
	case "reboot":
	case "poweroff":
		cmd = unix.LINUX_REBOOT_CMD_POWER_OFF
	default:
		return fmt.Errorf("power %q: want reboot or poweroff", how)
	}
	go func() {
		<-time.After(50 * time.Millisecond) // for the answer to leave
		n.shutdown()
		if err := unix.Reboot(cmd); err != nil {
			n.ev.add("power-failed", "%v", err)
		}
	}()
	return nil
}
