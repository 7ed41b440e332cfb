package box

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
)

// Config is what a box has of its own beside its processes.
type Config struct {
	// Binds are files and directories of the host, by the path at which the box has
	// them; something must be there already.
	Binds map[string]string
	// Tmpfs are directories that are empty at each boot. Nothing of Binds is below.
	Tmpfs []string
}

// Program is a program that runs in a box.
type Program struct {
	Name string // by which it is killed
	Path string
	Args []string
	Env  []string // beside the environment of this program
	Log  string   // a file of the host that gets its output
}

// Box is a machine that is on.
type Box struct {
	cmd *exec.Cmd

	mu  sync.Mutex
	in  io.WriteCloser
	enc *json.Encoder
	dec *json.Decoder
}

// Boot switches a box on. It needs root.
func Boot(cfg Config) (*Box, error) {
	text, err := json.Marshal(cfg)
	if err != nil {
		return nil, fmt.Errorf("boot a box: %w", err)
	}
	b := &Box{cmd: exec.Command("/proc/self/exe")}
	b.cmd.Env = append(os.Environ(), variable+"="+string(text))
	b.cmd.Stderr = os.Stderr
	// A process group of its own: an interrupt from the terminal is for us.
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID, Setpgid: true}
	out, err := b.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("boot a box: %w", err)
	}
	if b.in, err = b.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("boot a box: %w", err)
	}
	if err := b.cmd.Start(); err != nil {
		return nil, fmt.Errorf("boot a box: %w", err)
	}
	b.enc, b.dec = json.NewEncoder(b.in), json.NewDecoder(out)
	if _, err := b.answer(); err != nil {
		b.PowerOff()
		return nil, fmt.Errorf("boot a box: %w", err)
	}
	return b, nil
}

// Start starts a program; it returns when the program runs.
func (b *Box) Start(p Program) error {
	if _, err := b.ask(request{Start: &p}); err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	return nil
}

// Kill ends programs, and returns when they have ended.
func (b *Box) Kill(names ...string) error {
	if _, err := b.ask(request{Kill: names}); err != nil {
		return fmt.Errorf("kill %v: %w", names, err)
	}
	return nil
}

// Ended names the programs that have ended by themselves.
func (b *Box) Ended() ([]string, error) {
	a, err := b.ask(request{})
	if err != nil {
		return nil, fmt.Errorf("ask for programs that have ended: %w", err)
	}
	return a.Ended, nil
}

// Path is where the host finds a file of the box while it is on. A symbolic link on the
// way that is absolute leads to the host's files.
func (b *Box) Path(path string) string {
	return filepath.Join("/proc", strconv.Itoa(b.cmd.Process.Pid), "root", path)
}

// PowerOff ends every process of the box at once, and with the last of them its mounts.
func (b *Box) PowerOff() {
	// Killed, the first process of a PID namespace takes all others with it, and is
	// waited for when they are gone.
	_ = b.cmd.Process.Kill()
	_ = b.cmd.Wait()
}

func (b *Box) ask(r request) (answer, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.enc.Encode(r); err != nil {
		return answer{}, fmt.Errorf("the box is off: %w", err)
	}
	return b.answer()
}

func (b *Box) answer() (answer, error) {
	var a answer
	if err := b.dec.Decode(&a); err != nil {
		return a, fmt.Errorf("the box is off: %w", err)
	}
	if a.Err != "" {
		return a, errors.New(a.Err)
	}
	return a, nil
}
