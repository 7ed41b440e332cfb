package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"

	"github.com/talos-sriov/talos-sriov/test/lab/internal/agent"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/artifact"
)

// Running finds the latest run that is alive, for commands from another
// terminal.
func Running() (*Attached, error) {
	b, err := artifact.NewBuilder(nil)
	if err != nil {
		return nil, err
	}
	entries, err := filepath.Glob(filepath.Join(b.Out, "run/*/pid"))
	if err != nil {
		return nil, fmt.Errorf("read the directory of runs: %w", err)
	}
	sort.Sort(sort.Reverse(sort.StringSlice(entries)))
	for _, f := range entries {
		pid, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		if _, err := os.Stat("/proc/" + string(pid)); err != nil {
			continue
		}
		dir := filepath.Dir(f)
		sockets, err := os.ReadFile(filepath.Join(dir, "sockets"))
		if err != nil {
			continue
		}
		return &Attached{
			Dir: dir, kubectl: b.Bin("kubectl"),
			agent: agent.New(filepath.Join(string(sockets), "agent1"), func() error { return nil }),
		}, nil
	}
	return nil, errors.New("no lab is running: start one with the verb up")
}

// Attached is a handle on a run of another process.
type Attached struct {
	Dir     string
	kubectl string
	agent   *agent.Client
}

// Exec runs a script on the node.
func (a *Attached) Exec(ctx context.Context, script string) (string, error) {
	return a.agent.Exec(ctx, script)
}

// Kubectl gives the command that talks to the run's API server.
func (a *Attached) Kubectl(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, a.kubectl, append([]string{"--kubeconfig=" + filepath.Join(a.Dir, "control-plane/kubeconfig")}, args...)...)
}
