package guest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/talos-sriov/talos-sriov/test/lab/internal/proc"
)

// service is a program that PID 1 keeps running: the container runtime and the
// kubelet.
type service struct {
	n      *Node
	name   string
	cgroup string
	argv   []string
	mounts bool // it gets a mount namespace to itself

	mu     sync.Mutex
	pid    int
	starts int
	stop   chan struct{}
	done   chan struct{}
}

func (s *service) startService() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stop != nil {
		return
	}
	s.stop, s.done = make(chan struct{}), make(chan struct{})
	go s.life(s.stop, s.done)
}

func (s *service) stopService() {
	s.mu.Lock()
	stop, done := s.stop, s.done
	s.stop = nil
	s.mu.Unlock()
	if stop == nil {
		return
	}
	close(stop)
	<-done
}

func (s *service) running() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pid != 0
}

func (s *service) log() string { return filepath.Join(logDir, s.name+".log") }

// describe says what became of the service, for the error of a boot that timed out
// waiting for it: the guest's files go with the machine on which that happened.
// containerd answers SIGUSR1 with the stacks of all goroutines, in its log.
func (s *service) describe() string {
	s.mu.Lock()
	starts, pid := s.starts, s.pid
	s.mu.Unlock()
	state := "not running"
	if pid != 0 {
		state = fmt.Sprintf("running as pid %d", pid)
		_ = unix.Kill(pid, unix.SIGUSR1)
		<-time.After(2 * time.Second)
	}
	return fmt.Sprintf("%s was started %d times and is %s; the end of its log:\n%s", s.name, starts, state, proc.Tail(s.log(), 200))
}

func (s *service) signal(sig unix.Signal) error {
	s.mu.Lock()
	pid := s.pid
	s.mu.Unlock()
	if pid == 0 {
		return fmt.Errorf("%s is not running", s.name)
	}
	return unix.Kill(pid, sig)
}

func (s *service) life(stop, done chan struct{}) {
	defer close(done)
	for {
		p, err := s.start()
		if err != nil {
			s.n.ev.add(s.name+"-error", "%v", err)
		} else {
			s.n.ev.add(s.name+"-started", "pid %d", p.pid)
			select {
			case <-p.done:
			case <-stop:
				s.end(p)
			}
			s.mu.Lock()
			s.pid = 0
			s.mu.Unlock()
			s.n.ev.add(s.name+"-exit", "exit code %d", p.code)
		}
		select {
		case <-stop:
			return
		case <-time.After(restartInterval):
		}
	}
}

func (s *service) start() (*process, error) {
	log, err := os.OpenFile(s.log(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	group, err := os.Open("/sys/fs/cgroup" + s.cgroup)
	if err != nil {
		return nil, err
	}
	defer group.Close()
	cmd := exec.Command(s.argv[0], s.argv[1:]...)
	cmd.Env = toolEnv
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true, UseCgroupFD: true, CgroupFD: int(group.Fd())}
	if s.mounts {
		cmd.SysProcAttr.Cloneflags = unix.CLONE_NEWNS
	}
	p, err := s.n.reap.start(cmd)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.pid = p.pid
	s.starts++
	s.mu.Unlock()
	return p, nil
}

func (s *service) end(p *process) {
	_ = unix.Kill(p.pid, unix.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(stopGrace):
		_ = unix.Kill(p.pid, unix.SIGKILL)
		<-p.done
	}
}
