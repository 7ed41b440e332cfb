package guest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/talos-sriov/talos-sriov/test/lab/internal/extsvc"
)

const stateDir = "/system/state"

// Node is the running guest.
type Node struct {
	reap *reaper
	ev   *events
	base *specs.Spec

	extensions []*extension
	containerd *service
	kubelet    *service

	networkUp atomic.Bool
	booted    chan struct{} // closed when the boot has ended, well or not
	bootErr   error
	options   map[string]string
}

// Main is PID 1. It does not return unless there is no way on.
func Main() error {
	n := &Node{reap: newReaper(), ev: &events{}, booted: make(chan struct{})}
	n.ev.add("init", "PID 1 runs")
	if err := enterRoot(); err != nil {
		return err
	}
	if err := mountBase(); err != nil {
		return err
	}
	if err := n.ev.open("/run/lab/boot.json"); err != nil {
		return err
	}
	opts, err := kernelOptions()
	if err != nil {
		return err
	}
	n.options = opts
	n.ev.add("root", "read-only root and base mounts are there")
	go n.serveAgents()
	if err := n.boot(context.Background()); err != nil {
		n.bootErr = err
		n.ev.add("boot-failed", "%v", err)
	}
	close(n.booted)
	select {}
}

// kernelOptions reads lab.KEY=VALUE from the kernel's command line.
func kernelOptions() (map[string]string, error) {
	b, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return nil, err
	}
	opts := map[string]string{}
	for _, f := range strings.Fields(string(b)) {
		if kv, ok := strings.CutPrefix(f, "lab."); ok {
			k, v, _ := strings.Cut(kv, "=")
			opts[k] = v
		}
	}
	return opts, nil
}

func list(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' })
}

// boot is Talos' order of things.
func (n *Node) boot(ctx context.Context) error {
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"usr-local", mountExtensions},
		{"udev", n.startUdev},
		{"extensions", n.startExtensions},
		{"config", n.loadConfig},
		{"modules", n.loadModules},
		{"network", n.network},
		{"var", func(context.Context) error { return mountVar() }},
		{"cri", n.startContainerd},
		{"images", n.importImages},
		{"kubelet", n.startKubelet},
	} {
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("boot step %s: %w", step.name, err)
		}
		n.ev.add(step.name, "done")
	}
	return nil
}

// mountExtensions mounts the image with the system extensions, if there is one.
func mountExtensions(context.Context) error {
	dev, err := disk("extension")
	if err != nil {
		return err
	}
	return mountPoint{dev, "/usr/local", "squashfs", unix.MS_RDONLY, ""}.mount()
}

// startUdev loads the drivers of what is there and settles, then goes on in the
// background.
func (n *Node) startUdev(ctx context.Context) error {
	u, fd, err := newUdev(n.reap, n.ev, list(n.options["noautoload"]))
	if err != nil {
		return err
	}
	if err := u.coldplug(ctx); err != nil {
		return err
	}
	go u.run(ctx, fd)
	return nil
}

// startExtensions starts every extension service. It waits, for a bounded time,
// until those without conditions run, so that the order of the boot is the same
// in every run; Talos does not wait, and is slower with what follows.
func (n *Node) startExtensions(ctx context.Context) error {
	b, err := os.ReadFile("/usr/share/lab/oci-base.json")
	if err != nil {
		return err
	}
	if n.base, err = extsvc.ParseBase(b); err != nil {
		return err
	}
	files, err := filepath.Glob(extsvc.ServicesDir + "/*.yaml")
	if err != nil {
		return err
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		spec, err := extsvc.ParseSpec(b)
		if err != nil {
			// Talos has no such service then, and says so in a log only.
			n.ev.add("extension-ignored", "%s: %v", f, err)
			continue
		}
		x := &extension{n: n, spec: spec}
		n.extensions = append(n.extensions, x)
		n.ev.add("extension-start", "%s", spec.Name)
		x.startService()
	}
	wait, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for _, x := range n.extensions {
		if len(x.spec.Depends) > 0 {
			continue
		}
		if err := poll(wait, 20*time.Millisecond, func() bool {
			x.mu.Lock()
			defer x.mu.Unlock()
			return x.starts > 0 || x.state == stateFailed
		}); err != nil {
			n.ev.add("extension-slow", "%s did not start within a minute", x.spec.Name)
		}
	}
	return nil
}

// loadConfig mounts STATE and delivers the documents that are kept there.
func (n *Node) loadConfig(context.Context) error {
	dev, err := disk("state")
	if err != nil {
		return err
	}
	if err := (mountPoint{dev, stateDir, "ext4", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""}).mount(); err != nil {
		return err
	}
	name, err := os.ReadFile(stateDir + "/hostname")
	if err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(strings.TrimSpace(string(name)))); err != nil {
		return fmt.Errorf("set hostname: %w", err)
	}
	files, err := filepath.Glob(stateDir + "/documents/*.yaml")
	if err != nil {
		return err
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		docs, err := extsvc.ParseDocuments(b)
		if err != nil {
			return fmt.Errorf("%s: %w", f, err)
		}
		for _, d := range docs {
			if err := n.setDocument(d, modeTalos); err != nil {
				return err
			}
		}
	}
	return nil
}

// loadModules loads what the machine configuration would name.
func (n *Node) loadModules(ctx context.Context) error {
	mods := append([]string{"overlay", "bridge", "br_netfilter", "veth"}, list(n.options["modules"])...)
	for _, m := range mods {
		if _, err := n.reap.run(ctx, "/usr/sbin/modprobe", m); err != nil {
			return err
		}
	}
	return nil
}

// network brings up the management interface and the links of all physical
// interfaces, as Talos does with interfaces nobody configured. VFs are left
// alone: what a node's configuration must say to have that on Talos is in the
// patches of this project.
func (n *Node) network(ctx context.Context) error {
	names, err := ethernets(false)
	if err != nil {
		return err
	}
	var b strings.Builder
	b.WriteString("link set lo up\n")
	for _, name := range names {
		fmt.Fprintf(&b, "link set %s up\n", name)
		drv, err := os.Readlink("/sys/class/net/" + name + "/device/driver")
		if err == nil && filepath.Base(drv) == "virtio_net" {
			fmt.Fprintf(&b, "addr add 10.0.2.15/24 dev %s\n", name)
			if n.wayOut(name) {
				b.WriteString("route add default via 10.0.2.2\n")
			}
		}
	}
	const batch = "/run/lab/network.batch"
	if err := os.WriteFile(batch, []byte(b.String()), 0o644); err != nil {
		return err
	}
	if _, err := n.reap.run(ctx, "/usr/sbin/ip", "-batch", batch); err != nil {
		return err
	}
	for f, v := range map[string]string{
		"/proc/sys/net/ipv4/ip_forward":                "1",
		"/proc/sys/net/bridge/bridge-nf-call-iptables": "1",
		"/proc/sys/kernel/panic":                       "10",
		"/proc/sys/kernel/panic_on_oops":               "1",
		"/proc/sys/vm/overcommit_memory":               "1",
	} {
		if err := os.WriteFile(f, []byte(v), 0); err != nil {
			return err
		}
	}
	n.networkUp.Store(true)
	return nil
}

// wayOut reports whether the node gets a default route. A test may take it away, and
// the router's IPv6 advertisements with it; the API server is on the node's own
// network.
func (n *Node) wayOut(name string) bool {
	if _, err := os.Stat(stateDir + "/no-default-route"); err != nil {
		return true
	}
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/accept_ra", []byte("0"), 0); err != nil {
		n.ev.add("network-error", "%v", err)
	}
	return false
}

const criSocket = "/run/containerd/containerd.sock"

func (n *Node) startContainerd(ctx context.Context) error {
	n.containerd = &service{n: n, name: "containerd", cgroup: "/podruntime/runtime", argv: []string{"/usr/bin/containerd", "--config", "/etc/cri/containerd.toml"}}
	n.containerd.startService()
	wait, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	if err := poll(wait, 50*time.Millisecond, func() bool {
		fi, err := os.Stat(criSocket)
		return err == nil && fi.Mode()&os.ModeSocket != 0
	}); err != nil {
		return fmt.Errorf("containerd's socket %s did not appear: %w; %s", criSocket, err, n.containerd.describe())
	}
	return nil
}

// importImages imports the pod images, once in the life of /var.
func (n *Node) importImages(ctx context.Context) error {
	files, err := filepath.Glob("/usr/share/lab/images/*.tar")
	if err != nil {
		return err
	}
	for _, f := range files {
		fi, err := os.Stat(f)
		if err != nil {
			return err
		}
		// The size is part of the mark: a new image replaces the old one.
		mark := fmt.Sprintf("/var/lib/lab/%s-%d", filepath.Base(f), fi.Size())
		if _, err := os.Stat(mark); err == nil {
			continue
		}
		if _, err := n.reap.run(ctx, "/usr/bin/ctr", "-n", "k8s.io", "images", "import", "--digests=false", f); err != nil {
			return err
		}
		if err := os.WriteFile(mark, nil, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// serviceUp reports whether a service that an extension depends on is up.
func (n *Node) serviceUp(name string) bool {
	switch name {
	case "containerd": // Talos' own, which is not the CRI's
		return true
	case "cri":
		_, err := os.Stat(criSocket)
		return err == nil
	case "kubelet":
		return n.kubelet != nil && n.kubelet.running()
	}
	for _, x := range n.extensions {
		if x.id() == name {
			return x.running()
		}
	}
	return false
}
