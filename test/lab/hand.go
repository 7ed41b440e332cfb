package lab

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/talos-sriov/talos-sriov/test/lab/internal/arch"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/cluster"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/kube"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/qemu"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/wire"
)

// Exec runs a shell script on the node, with Talos' view of the file system, and
// returns its output. A failed script is an error that has all of its output.
func (n *Node) Exec(ctx context.Context, script string) (string, error) {
	ctx, cancel := cluster.WithDefault(ctx, cluster.Wait)
	defer cancel()
	return n.agent.Exec(ctx, script)
}

// Put writes a file on the node.
func (n *Node) Put(ctx context.Context, path string, mode os.FileMode, data []byte) error {
	ctx, cancel := cluster.WithDefault(ctx, cluster.Wait)
	defer cancel()
	_, err := n.agent.Do(ctx, wire.Request{Op: "put", Path: path, Mode: uint32(mode)}, bytes.NewReader(data), nil, nil)
	return err
}

// Get reads a file of the node.
func (n *Node) Get(ctx context.Context, path string) ([]byte, error) {
	ctx, cancel := cluster.WithDefault(ctx, cluster.Wait)
	defer cancel()
	var b bytes.Buffer
	_, err := n.agent.Do(ctx, wire.Request{Op: "get", Path: path}, nil, &b, nil)
	return b.Bytes(), err
}

// What a case sees of the API's objects.
type (
	Pod     = kube.Pod
	Network = kube.Network
)

// Monitor is QEMU's monitor: links, hot plug, and its human commands.
func (n *Node) Monitor() *qemu.Monitor { return n.mon }

// NICs describes the node's network cards; their PCI addresses are the guest's.
func (n *Node) NICs() []qemu.NIC { return n.machine.NICs }

// Fatal marks an error of a WaitFor function that ends the wait at once.
func Fatal(err error) error { return cluster.Fatal(err) }

// WaitAgent waits until Exec works again, after the lab's own extension was restarted.
func (n *Node) WaitAgent(ctx context.Context) error {
	n.agent.Drop()
	_, err := n.Exec(ctx, "true")
	return err
}

// Talosctl runs talosctl, of the node's version, in the directory of the run.
func (n *Node) Talosctl(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := cluster.WithDefault(ctx, cluster.Wait)
	defer cancel()
	return ctl(ctx, n.talosctl(), n.dir, args...)
}

// Shell runs a command on the host as a user of the cluster would: talosctl and kubectl
// are of the node's versions, sriovctl is what make sriovctl has built, and each finds
// its configuration. A failed command is an error that has all of its output.
func (n *Node) Shell(ctx context.Context, command string) (string, error) {
	ctx, cancel := cluster.WithDefault(ctx, cluster.Wait)
	defer cancel()
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, "sh", "-ec", command)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = n.dir, n.env(), &out, &out
	// An interrupt of the terminal is for this program, which ends its commands.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s: %w\n%s", command, err, out.String())
	}
	return out.String(), nil
}

func (n *Node) env() []string {
	return append(os.Environ(),
		"PATH="+filepath.Join(n.dir, "bin")+":"+os.Getenv("PATH"), "HOME="+n.dir,
		"TALOSCONFIG="+filepath.Join(n.dir, "talosconfig"), "KUBECONFIG="+n.cp.Kubeconfig)
}

// linkPrograms makes the directory of the programs of Shell.
func (n *Node) linkPrograms() error {
	dir := filepath.Join(n.dir, "bin")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make directory for programs: %w", err)
	}
	for name, to := range map[string]string{
		"talosctl": n.talosctl(), "kubectl": n.b.Bin("kubectl"), "sriovctl": filepath.Join(n.b.Repo, "_out/sriovctl"),
	} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("link program: %w", err)
		}
	}
	return nil
}

// Reboot shuts Talos down in an orderly way and waits until it is Ready again. The
// machine that boots is a new one with the same disk, as after a power cycle.
func (n *Node) Reboot(ctx context.Context) error {
	return n.shutdown(ctx, "reboot", "--mode=powercycle", "--wait=false")
}

// Reset wipes EPHEMERAL, which has /var, and reboots; the machine config is on STATE and
// stays. It waits until the node is Ready again.
func (n *Node) Reset(ctx context.Context) error {
	return n.shutdown(ctx, "reset", "--system-labels-to-wipe=EPHEMERAL", "--graceful=false", "--reboot", "--wait=false")
}

// shutdown is a command of talosctl that ends in a reboot.
func (n *Node) shutdown(ctx context.Context, args ...string) error {
	return n.powerCycle(ctx, func(ctx context.Context) error {
		if _, err := n.Talosctl(ctx, args...); err != nil {
			return err
		}
		select {
		case <-n.vm.Done():
			return nil
		case <-ctx.Done():
			return fmt.Errorf("wait for Talos to shut down: %w; end of its console:\n%s", ctx.Err(), n.ConsoleTail(30))
		}
	})
}

// Crash cuts the power, and waits until the node is Ready again.
func (n *Node) Crash(ctx context.Context) error {
	return n.powerCycle(ctx, func(context.Context) error {
		n.vm.Kill()
		return nil
	})
}

func (n *Node) powerCycle(ctx context.Context, off func(context.Context) error) error {
	ctx, cancel := cluster.WithDefault(ctx, bootTimeout)
	defer cancel()
	if err := off(ctx); err != nil {
		return err
	}
	if err := n.startAgain(ctx); err != nil {
		return err
	}
	return n.awaitReady(ctx, n.boot)
}

// ConsoleTail is the end of what Talos wrote to the console.
func (n *Node) ConsoleTail(lines int) string {
	b, err := os.ReadFile(n.machine.Console)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// Name is the node's name.
func (n *Node) Name() string { return n.opts.Name }

// Arch is the node's architecture.
func (n *Node) Arch() arch.Arch { return n.opts.Arch }

// Version is the version of Talos, with its v.
func (n *Node) Version() string { return n.img.Version }

// Dir is the directory of this run.
func (n *Node) Dir() string { return n.dir }

// TB is the part of testing.TB that Watch needs.
type TB interface {
	Helper()
	Name() string
	Failed() bool
	Cleanup(func())
	Logf(format string, args ...any)
}

// Watch makes a failed test leave its logs, and print where.
func (n *Node) Watch(t TB) {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("logs of node and cluster: %s", n.Diagnose(context.Background(), t.Name()))
		}
	})
}

// Diagnose writes all that may explain a failure into _out/lab/logs/NAME and returns
// that directory. A file whose content was not to be read has the reason.
func (n *Node) Diagnose(ctx context.Context, name string) string {
	dir := filepath.Join(n.b.Out, "logs", strings.NewReplacer("/", "_", " ", "_").Replace(name))
	_ = os.RemoveAll(dir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err.Error()
	}
	put := func(name string, data []byte, err error) {
		if err != nil {
			data = fmt.Appendf(data, "\nlab: not read: %v\n", err)
		}
		_ = os.WriteFile(filepath.Join(dir, name), data, 0o644)
	}
	local := []string{n.machine.Console, filepath.Join(n.dir, "qemu.log")}
	if n.cp != nil {
		local = append(local, n.cp.Logs()...)
	}
	for _, p := range local {
		b, err := os.ReadFile(p)
		put(filepath.Base(p), b, err)
	}
	each := func(file string, run func(context.Context) (string, error)) {
		// A command that hangs costs its own output.
		ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
		defer cancel()
		out, err := run(ctx)
		put(file, []byte(out), err)
	}
	if n.cp != nil && n.cp.Err() == nil {
		for file, args := range map[string][]string{
			"nodes.yaml": {"get", "nodes", "-o", "yaml"}, "pods.yaml": {"get", "pods", "-A", "-o", "yaml"},
			"events.txt": {"get", "events", "-A", "--sort-by=.lastTimestamp"},
		} {
			each(file, func(ctx context.Context) (string, error) { return n.Kubectl(ctx, args...) })
		}
	}
	if n.vm != nil && n.vmErr() == nil {
		for file, args := range map[string][]string{
			"services.txt": {"services"}, "ext-sriov.log": {"logs", "ext-sriov"}, "kubelet.log": {"logs", "kubelet"}, "cri.log": {"logs", "cri"},
			"links.yaml": {"get", "links", "-o", "yaml"},
		} {
			each(file, func(ctx context.Context) (string, error) { return n.Talosctl(ctx, args...) })
		}
		for file, script := range map[string]string{
			"sriov-status.yaml": "cat /var/lib/sriov/status.yaml",
			// The kernel adds the stacks of the tasks that it has blocked.
			"dmesg.txt": "echo w > /proc/sysrq-trigger; dmesg",
			"guest.txt": `exec 2>&1; for c in date "ip addr" "ip route" "ps" "cat /proc/mounts" "grep . /sys/bus/pci/devices/*/sriov_numvfs" df free; do echo "### $c"; $c; done; true`,
		} {
			each(file, func(ctx context.Context) (string, error) { return n.Exec(ctx, script) })
		}
	}
	return dir
}
