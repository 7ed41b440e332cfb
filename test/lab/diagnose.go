package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Diagnose writes all that may explain a failure into _out/lab/logs/NAME and
// returns that directory. A file whose content was not to be read has the reason.
func (n *Node) Diagnose(ctx context.Context, name string) string { return n.keepLogs(ctx, name) }

func (n *Node) keepLogs(ctx context.Context, name string) string {
	name = strings.Map(func(r rune) rune {
		if strings.ContainsRune("/\\ :*?\"<>|", r) {
			return '_'
		}
		return r
	}, name)
	dir := filepath.Join(n.b.Out, "logs", name)
	_ = os.RemoveAll(dir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err.Error()
	}
	put := func(name string, data []byte, err error) {
		if err != nil {
			data = fmt.Appendf(data, "\nlab: could not be had: %v\n", err)
		}
		_ = os.WriteFile(filepath.Join(dir, name), data, 0o644)
	}
	local := map[string]string{"console.log": n.machine.Console, "qemu.log": filepath.Join(n.dir, "qemu.log")}
	if n.cp != nil {
		for _, l := range n.cp.Logs() {
			local[filepath.Base(l)] = l
		}
	}
	for name, path := range local {
		b, err := os.ReadFile(path)
		put(name, b, err)
	}
	if n.vm != nil && n.vmErr() == nil {
		n.keepGuest(ctx, put)
	}
	if n.cp != nil && n.cp.Err() == nil {
		ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		for file, args := range map[string][]string{
			"nodes.yaml":  {"get", "nodes", "-o", "yaml"},
			"pods.yaml":   {"get", "pods", "-A", "-o", "yaml"},
			"events.txt":  {"get", "events", "-A", "--sort-by=.lastTimestamp"},
			"summary.txt": {"get", "nodes,pods", "-A", "-o", "wide"},
		} {
			out, err := n.Kubectl(ctx, args...)
			put(file, []byte(out), err)
		}
	}
	return dir
}

func (n *Node) keepGuest(ctx context.Context, put func(string, []byte, error)) {
	short, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if _, err := n.Status(short); err != nil {
		put("guest.txt", nil, err)
		return
	}
	list, err := n.Exec(short, "ls /run/lab/log")
	if err != nil {
		put("guest.txt", nil, err)
	}
	for _, f := range strings.Fields(list) {
		b, err := n.Get(short, "/run/lab/log/"+f)
		put(f, b, err)
	}
	for file, script := range map[string]string{
		"boot.json": "cat /run/lab/boot.json",
		// The kernel adds the stacks of the tasks that it has blocked.
		"dmesg.txt":         "echo w > /proc/sysrq-trigger; dmesg",
		"sriov-status.yaml": "cat /var/lib/sriov/status.yaml",
		"guest.txt": `exec 2>&1; for c in "date" "ip -d link" "ip addr" "ip route" "ps -o pid,ppid,stat,args" "cat /proc/mounts" \
"grep . /sys/bus/pci/devices/*/sriov_numvfs" "ls -l /sys/bus/pci/drivers/igb /sys/bus/pci/drivers/igbvf /sys/bus/pci/drivers/vfio-pci" \
"ls -lR /system/overlays/extensions /var/lib/sriov /var/lib/kubelet/device-plugins" "df" "free"; do echo "### $c"; $c; done; true`,
	} {
		// A command that hangs, as some do when the kernel does, costs its own output.
		each, cancel := context.WithTimeout(ctx, 15*time.Second)
		out, err := n.Exec(each, script)
		cancel()
		put(file, []byte(out), err)
	}
}

// TB is the part of testing.TB that a case needs.
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
			t.Logf("logs of guest and cluster: %s", n.Diagnose(context.Background(), t.Name()))
		}
	})
}
