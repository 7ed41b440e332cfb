package box

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// variable has the Config for the first process of a box.
const variable = "LAB_BOX"

// request is what the first process is asked for; an empty one is for its answer.
type request struct {
	Start *Program
	Kill  []string
}

type answer struct {
	Err   string
	Ended []string // programs that have ended by themselves
}

// Main is the life of a box's first process; in any other it returns at once.
func Main() {
	text, ok := os.LookupEnv(variable)
	if !ok {
		return
	}
	if err := serve([]byte(text), os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "box:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// first is the first process of a box.
type first struct {
	mu      sync.Mutex
	changed *sync.Cond     // a process has ended
	running map[string]int // programs' process IDs
	ended   []string
}

func serve(config []byte, in io.Reader, out io.Writer) error {
	f := &first{running: map[string]int{}}
	f.changed = sync.NewCond(&f.mu)
	if err := os.Unsetenv(variable); err != nil {
		return err
	}
	died := make(chan os.Signal, 1)
	signal.Notify(died, unix.SIGCHLD)
	go f.reap(died)
	enc, dec := json.NewEncoder(out), json.NewDecoder(in)
	err := mounts(config)
	for {
		a := answer{Ended: f.gone()}
		if err != nil {
			a.Err = err.Error()
		}
		if err := enc.Encode(a); err != nil {
			return err
		}
		var r request
		// The pipe ends with the program that has started the box, and the box with it.
		if err := dec.Decode(&r); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		err = f.do(r)
	}
}

// mounts gives the box mounts of its own.
func mounts(text []byte) error {
	var cfg Config
	if err := json.Unmarshal(text, &cfg); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	for to, from := range cfg.Binds {
		if err := unix.Mount(from, to, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("mount %s on %s: %w", from, to, err)
		}
	}
	for _, to := range cfg.Tmpfs {
		if err := unix.Mount("tmpfs", to, "tmpfs", 0, "mode=755"); err != nil {
			return fmt.Errorf("mount a tmpfs on %s: %w", to, err)
		}
	}
	return nil
}

func (f *first) do(r request) error {
	if r.Start != nil {
		if err := f.start(r.Start); err != nil {
			return err
		}
	}
	for _, name := range r.Kill {
		if err := f.kill(name); err != nil {
			return err
		}
	}
	return nil
}

func (f *first) start(p *Program) error {
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close()
	// Until it is entered here, nobody learns that it has ended.
	f.mu.Lock()
	defer f.mu.Unlock()
	proc, err := os.StartProcess(p.Path, append([]string{p.Path}, p.Args...), &os.ProcAttr{
		Dir: "/", Env: append(os.Environ(), p.Env...), Files: []*os.File{null, log, log},
		Sys: &syscall.SysProcAttr{Setpgid: true},
	})
	if err != nil {
		return err
	}
	f.running[p.Name] = proc.Pid
	return proc.Release()
}

func (f *first) kill(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	pid, ok := f.running[name]
	if !ok {
		return fmt.Errorf("%s does not run", name)
	}
	// It has not been waited for, so the ID is still its own.
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		return err
	}
	for f.running[name] == pid {
		f.changed.Wait()
	}
	f.ended = slices.DeleteFunc(f.ended, func(ended string) bool { return ended == name })
	return nil
}

func (f *first) gone() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.ended)
}

// reap waits for every process that has ended: also those whose parents have ended are
// children of the first process.
func (f *first) reap(died <-chan os.Signal) {
	for range died {
		f.mu.Lock()
		for {
			pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if err != nil || pid == 0 {
				break
			}
			for name, running := range f.running {
				if running == pid {
					delete(f.running, name)
					f.ended = append(f.ended, name)
				}
			}
		}
		f.changed.Broadcast()
		f.mu.Unlock()
	}
}
