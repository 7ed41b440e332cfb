package differential

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

// request is what the test asks its child for.
type request struct {
	Machine      string
	Theirs, Ours string // the programs
	Cases        []string
	Dir          string // for scratch files
}

// result is what was seen of both in one case.
type result struct {
	Theirs, Ours observation
	// Log of a program whose observation says "exit" or "late".
	TheirLog, OurLog string
}

// serve is the child's life: it makes the machine of its namespaces, and
// observes both programs in each case.
func serve() error {
	var req request
	if err := json.NewDecoder(os.Stdin).Decode(&req); err != nil {
		return err
	}
	files, err := machines[req.Machine]().build()
	if err != nil {
		return err
	}
	results := map[string]result{}
	for _, name := range req.Cases {
		c := caseNamed(name)
		r := result{}
		if r.Theirs, r.TheirLog, err = req.theirs(c); err != nil {
			return fmt.Errorf("%s: theirs: %w\n%s", name, err, r.TheirLog)
		}
		if r.Ours, r.OurLog, err = req.ours(c); err != nil {
			return fmt.Errorf("%s: ours: %w\n%s", name, err, r.OurLog)
		}
		results[name] = r
	}
	runtime.KeepAlive(files)
	return json.NewEncoder(os.Stdout).Encode(results)
}

// pciIDs keeps the other program from another database.
const pciIDs = "8086  Intel Corporation\nC 02  Network controller\n\t00  Ethernet controller\n"

func (req *request) theirs(c *diffCase) (observation, string, error) {
	config, ids := filepath.Join(req.Dir, "config.json"), filepath.Join(req.Dir, "pci.ids")
	if err := all(os.WriteFile(config, []byte(c.config), 0o600), os.WriteFile(ids, []byte(pciIDs), 0o600)); err != nil {
		return nil, "", err
	}
	args := []string{"-logtostderr", "-config-file", config}
	if c.cdi {
		args = append(args, "-use-cdi")
	}
	cmd := exec.Command(req.Theirs, args...)
	cmd.Env = append(os.Environ(), "PCIDB_PATH="+ids)
	return run(c, cmd, func(k *kubelet, log string) bool {
		servers := strings.Count(log, "New resource server is created")
		return strings.Contains(log, "Listening for term signals") && len(k.listed()) == servers
	})
}

func (req *request) ours(c *diffCase) (observation, string, error) {
	config := filepath.Join(req.Dir, "config.yaml")
	text := strings.Replace(c.config, "{", fmt.Sprintf(`{"apiVersion": "v1alpha1", "kind": "SRIOVConfig", "devicePlugin": {"cdi": %v}, `, c.cdi), 1)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, "", err
	}
	// A document that is refused changes nothing, so there would be nothing to
	// wait for.
	if _, err := spec.LoadFile(config, []byte(text)); err != nil {
		return observation{"refused": "yes"}, err.Error(), nil
	}
	args := []string{"run", "-config", config, "-state-dir", stateDir, "-kubelet-dir", kubeletDir, "-run-dir", "/run", "-device-info-dir", infoDir, "-cdi-dir", cdiDir}
	if c.watcher {
		args = append(args, "-plugin-watcher")
	}
	var doc struct {
		ResourceList []struct{ ResourceName string }
	}
	if err := yaml.Unmarshal([]byte(c.config), &doc); err != nil {
		return nil, "", err
	}
	return run(c, exec.Command(req.Ours, args...), func(k *kubelet, _ string) bool {
		return len(k.listed()) == len(doc.ResourceList)
	})
}

// buffer is a log that a process writes and the test reads.
type buffer struct {
	mu  sync.Mutex
	b   bytes.Buffer
	new chan struct{} // cap 1
}

func (l *buffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case l.new <- struct{}{}:
	default:
	}
	return l.b.Write(p)
}

func (l *buffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// process is a running program.
type process struct {
	cmd    *exec.Cmd
	log    *buffer
	exited chan struct{}
}

func start(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, log: &buffer{new: make(chan struct{}, 1)}, exited: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.log, p.log
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() { _ = cmd.Wait(); close(p.exited) }()
	return p, nil
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.exited
}

var errExited = errors.New("the program ended")

// wait returns when the program is ready.
func (p *process) wait(ctx context.Context, k *kubelet, ready func(k *kubelet, log string) bool) error {
	for !ready(k, p.log.String()) {
		select {
		case <-k.changed:
		case <-p.log.new:
		case <-p.exited:
			return errExited
		case <-ctx.Done():
			return fmt.Errorf("not ready after 30 s: resources %v", k.names())
		}
	}
	return nil
}

// run starts the program beside a kubelet, observes it as soon as it is ready,
// and ends it.
func run(c *diffCase, cmd *exec.Cmd, ready func(k *kubelet, log string) bool) (observation, string, error) {
	if err := clean(); err != nil {
		return nil, "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	k, err := startKubelet(ctx, c.watcher)
	if err != nil {
		return nil, "", err
	}
	defer k.stop()
	defer cancel()
	p, err := start(cmd)
	if err != nil {
		return nil, "", err
	}
	defer func() { p.kill() }()
	if err := p.wait(ctx, k, ready); errors.Is(err, errExited) {
		return observation{"refused": "yes"}, p.log.String(), nil
	} else if err != nil {
		return nil, p.log.String(), err
	}
	out, err := k.observe(ctx, c.odd)
	if err != nil || !c.life {
		return out, p.log.String(), err
	}

	// An orderly end, and another start: what becomes of the files?
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return nil, p.log.String(), err
	}
	select {
	case <-p.exited:
	case <-ctx.Done():
		return nil, p.log.String(), errors.New("SIGTERM did not end the program")
	}
	if err := out.files("stopped"); err != nil {
		return nil, p.log.String(), err
	}
	k.forget()
	again := exec.Command(cmd.Path, cmd.Args[1:]...)
	again.Env = cmd.Env
	if p, err = start(again); err != nil {
		return nil, "", err
	}
	if err := p.wait(ctx, k, ready); err != nil {
		return nil, p.log.String(), err
	}
	return out, p.log.String(), out.files("restarted")
}

// lastLines are the end of a log.
func lastLines(s string, n int) string {
	var lines []string
	sc := bufio.NewScanner(strings.NewReader(s))
	for sc.Scan() {
		lines = append(lines, sc.Text())
	}
	for i := range lines {
		lines[i] = lines[i][:min(len(lines[i]), 300)]
	}
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
