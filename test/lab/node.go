package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/talos-sriov/talos-sriov/test/lab/internal/agent"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/arch"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/artifact"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/cluster"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/controlplane"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/proc"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/qemu"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/registry"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/rundir"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/sparse"
)

// Address is the node's address, for talosctl's and sriovctl's --nodes.
const Address = "10.0.2.15"

const bootTimeout = 15 * time.Minute

// Node is a running node with its control plane.
type Node struct {
	*cluster.Cluster
	opts     Options
	b        *artifact.Builder
	img      artifact.TalosImage
	secrets  *controlplane.Secrets
	dir      string // of this run: disk, logs, configuration
	sockets  string
	machine  qemu.Machine
	vm       *proc.Process
	mon      *qemu.Monitor
	agent    *agent.Client
	cp       *controlplane.ControlPlane
	registry *registry.Registry
	servers  []*http.Server
	apiPort  int
	boot     string // boot id
}

// Build makes everything that a node like that needs, and the module of the kernel's tests.
func Build(ctx context.Context, opts Options) error {
	n, err := newNode(ctx, opts)
	if err != nil {
		return err
	}
	return n.b.Netdevsim(ctx)
}

// newNode builds what is missing, and describes the node.
func newNode(ctx context.Context, opts Options) (*Node, error) {
	b, err := artifact.NewBuilder(opts.Log)
	if err != nil {
		return nil, err
	}
	if opts, err = opts.withDefaults(b.Repo); err != nil {
		return nil, err
	}
	n := &Node{opts: opts, b: b}
	hand, err := n.b.Agent(ctx)
	if err != nil {
		return nil, fmt.Errorf("build the lab: %w", err)
	}
	if n.img, err = n.b.Talos(ctx, opts.Version, append([]string{hand}, opts.Extensions...)); err != nil {
		return nil, fmt.Errorf("build the lab: %w", err)
	}
	unlock, err := n.b.Lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	if n.secrets, err = secrets(ctx, n.talosctl(), n.bundleDir()); err != nil {
		return nil, err
	}
	return n, n.pki().Ensure()
}

func (n *Node) talosctl() string { return n.b.Bin(n.img.Program("talosctl")) }

// bundleDir has the secrets bundle of the version's cluster, and the control plane's
// keys that were made from it.
func (n *Node) bundleDir() string { return filepath.Join(n.b.Out, "pki-"+n.img.Version) }

// Start gives a node whose kubelet is Ready.
func Start(ctx context.Context, opts Options) (*Node, error) {
	n, err := newNode(ctx, opts)
	if err != nil {
		return nil, err
	}
	ctx, cancel := cluster.WithDefault(ctx, bootTimeout)
	defer cancel()
	way, f := "boot", n.bootFresh
	if !n.opts.FreshBoot && n.opts.Document == "" && len(n.opts.KernelArgs) == 0 {
		snap, err := n.ensureSnapshot(ctx)
		if err != nil {
			return nil, err
		}
		way, f = "restore", func(ctx context.Context) error { return n.restore(ctx, snap) }
	}
	if err := n.started(ctx, way, f); err != nil {
		return nil, err
	}
	return n, nil
}

// started starts the node by a way; one that does not start is closed, and leaves its
// logs.
func (n *Node) started(ctx context.Context, way string, f func(context.Context) error) error {
	start := time.Now()
	err := n.prepare(ctx)
	if err == nil {
		err = f(ctx)
	}
	if errors.Is(err, context.Canceled) {
		n.Close()
		return err
	}
	if err != nil {
		logs := n.Diagnose(context.WithoutCancel(ctx), way+"-"+filepath.Base(n.dir))
		n.Close()
		return fmt.Errorf("%s a node with Talos (logs in %s): %w", way, logs, err)
	}
	fmt.Fprintf(n.opts.Log, "lab: %s of %s with Talos %s ... %ds\n", way, n.opts.Name, n.img.Version, int(time.Since(start).Seconds()))
	return nil
}

// prepare makes the directories of a run, and starts what the guest finds on the host.
func (n *Node) prepare(ctx context.Context) error {
	var err error
	if n.dir, n.sockets, err = rundir.New(filepath.Join(n.b.Out, "run")); err != nil {
		return err
	}
	ports, err := proc.Ports(3)
	if err != nil {
		return err
	}
	n.apiPort = ports[2]
	n.machine = qemu.Machine{
		Kernel: n.img.Kernel, Initramfs: n.img.Initramfs, Disk: filepath.Join(n.dir, "disk.raw"),
		Append: kernelArgs(n.opts.KernelArgs...), CPUs: n.opts.CPUs, MemoryMB: n.opts.MemoryMB, NICs: qemu.NICs(n.opts.PFs),
		Ports: map[int]int{50000: ports[0], 10250: ports[1]},
		QMP:   filepath.Join(n.sockets, "qmp"), Console: filepath.Join(n.dir, "console.log"),
		Agents: []string{filepath.Join(n.sockets, "agent0"), filepath.Join(n.sockets, "agent1")},
	}
	n.agent = agent.New(n.machine.Agents[0], n.vmErr)
	if err := n.serveGuest(ctx); err != nil {
		return err
	}
	return n.linkPrograms()
}

// kernelArgs are what Talos asks of the command line, as Debian's kernel can give it:
// page table isolation and the clearing of memory are dear under emulation, and Talos
// looks at the former's first mention only. Others take the place of those of their name.
func kernelArgs(others ...string) []string {
	args := []string{
		"rdinit=/preinit", "loglevel=7", "talos.platform=metal", "talos.dashboard.disabled=1", fmt.Sprintf("talos.config=http://%s:%d/controlplane.yaml", qemu.Host, configPort),
		"init_on_alloc=0", "slab_nomerge=", "pti=on", "pti=off", "mitigations=off", "lsm=landlock,lockdown,yama,safesetid,bpf", "oops=panic", "selinux=0",
		"consoleblank=0", "printk.devkmsg=on", "module.sig_enforce=0", "proc_mem.force_override=never",
		"damon_stat.enabled=0", // Debian's kernel watches its memory, Talos' does not
	}
	for _, o := range others {
		name, _, _ := strings.Cut(o, "=")
		args = slices.DeleteFunc(args, func(a string) bool { return strings.HasPrefix(a, name+"=") })
	}
	return append(args, others...)
}

func (n *Node) bootFresh(ctx context.Context) error {
	if err := writeConfig(ctx, n.talosctl(), n.dir, filepath.Join(n.bundleDir(), "secrets.yaml"), n.img, n.opts.Name, n.opts.Document); err != nil {
		return err
	}
	if err := sparse.CopyFile(n.img.Disk, n.machine.Disk); err != nil {
		return err
	}
	awaitControlPlane := n.startControlPlane(ctx)
	err := errors.Join(n.startVM(ctx), n.setEndpoint(ctx))
	if err := errors.Join(err, awaitControlPlane()); err != nil {
		return err
	}
	if err := n.installCNI(ctx); err != nil {
		return err
	}
	return n.awaitReady(ctx, "")
}

// setEndpoint makes talosctl and sriovctl find the node.
func (n *Node) setEndpoint(ctx context.Context) error {
	for _, args := range [][]string{{"config", "endpoint", fmt.Sprintf("127.0.0.1:%d", n.machine.Ports[50000])}, {"config", "node", Address}} {
		if _, err := n.Talosctl(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

func (n *Node) pki() controlplane.PKI {
	return controlplane.PKI{Dir: filepath.Join(n.bundleDir(), "control-plane"), Talos: n.secrets}
}

// startControlPlane starts it in the background; the result comes when asked.
func (n *Node) startControlPlane(ctx context.Context) func() error {
	type result struct {
		cp  *controlplane.ControlPlane
		err error
	}
	c := make(chan result, 1)
	go func() {
		cp, err := controlplane.Start(ctx, controlplane.Config{
			Dir: filepath.Join(n.dir, "control-plane"), Port: n.apiPort, Sockets: n.sockets, PKI: n.pki(), Bin: n.b.Bin,
		})
		c <- result{cp, err}
	}()
	return func() error {
		r := <-c
		if n.cp = r.cp; r.err != nil {
			return r.err
		}
		r.cp.Node(n.opts.Name, fmt.Sprintf("127.0.0.1:%d", n.machine.Ports[10250]))
		n.Cluster = cluster.New(r.cp, n.opts.Name, n.b.Bin("kubectl"), filepath.Join(n.dir, "kubectl"), n.vmErr)
		return nil
	}
}

// serveGuest starts what the guest finds on the host, and says how it gets there.
func (n *Node) serveGuest(ctx context.Context) error {
	images, err := n.b.TalosImages(ctx, n.img.Talos)
	if err != nil {
		return err
	}
	if n.registry, err = registry.Start(ctx, 0, images); err != nil {
		return err
	}
	registryAt, err := n.registry.Port()
	if err != nil {
		return err
	}
	configAt, err := n.serveConfig()
	if err != nil {
		return err
	}
	plainAt, err := n.servePlain()
	if err != nil {
		return err
	}
	n.machine.Commands = map[int]string{}
	for guest, host := range map[int]int{6443: n.apiPort, registryPort: registryAt, configPort: configAt, plainPort: plainAt} {
		n.machine.Commands[guest] = fmt.Sprintf("%s 127.0.0.1:%d", n.b.Bin("labfwd"), host)
	}
	return nil
}

// startVM starts QEMU.
func (n *Node) startVM(ctx context.Context) error {
	bin, err := findQEMU(arch.Host)
	if err != nil {
		return err
	}
	n.vm, err = proc.Start("QEMU", filepath.Join(n.dir, "qemu.log"), n.dir, bin, n.machine.Args()...)
	if err != nil {
		return err
	}
	n.mon, err = qemu.Dial(ctx, n.machine.QMP, n.vmErr)
	return err
}

func findQEMU(a arch.Arch) (string, error) {
	bin, err := exec.LookPath(a.QEMU())
	if err != nil {
		return "", fmt.Errorf("find QEMU: %w (test/lab/deps.sh %s installs it)", err, a.Packages())
	}
	return bin, nil
}

// serveConfig serves the machine config to a node that has none, and what goes on its
// BOOT partition, and gives the port.
func (n *Node) serveConfig() (int, error) {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, filepath.Join(n.dir, "controlplane.yaml"))
	})
	mux.HandleFunc(bootPath, n.serveBoot)
	return n.serve(mux)
}

// serve serves on the host's loopback until the node is closed, and gives the port.
func (n *Node) serve(h http.Handler) (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("serve the guest: %w", err)
	}
	s := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	n.servers = append(n.servers, s)
	go func() { _ = s.Serve(l) }()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// vmErr says why the machine cannot answer any more.
func (n *Node) vmErr() error {
	if n.vm == nil {
		return nil
	}
	if err := n.vm.Err(); err != nil {
		return fmt.Errorf("%w\nend of the guest's console:\n%s", err, proc.Tail(n.machine.Console, 20))
	}
	b, err := os.ReadFile(n.machine.Console)
	if err != nil {
		return nil // QEMU has not made it yet
	}
	// After the second, machined waits for ever.
	for _, end := range []string{"Kernel panic", "fatal controller runtime error"} {
		if strings.Contains(string(b), end) {
			return fmt.Errorf("the guest has ended: %s; end of its console:\n%s", end, proc.Tail(n.machine.Console, 40))
		}
	}
	return nil
}

// awaitReady waits until a boot other than the old one is Ready. QEMU's threads race when
// the firmware moves the cards' registers about, and an assertion ends it, about once in
// a hundred boots: the guest has no part in it, and is started again as after a power cut.
func (n *Node) awaitReady(ctx context.Context, old string) error {
	for try := 1; ; try++ {
		err := n.awaitAgent(ctx, old)
		if err == nil {
			return n.WaitReady(ctx, n.boot)
		}
		if try == 3 || !n.vm.Aborted() {
			return err
		}
		fmt.Fprintf(n.opts.Log, "lab: QEMU aborted while %s booted, it is started again; end of %s:\n%s\n", n.opts.Name, n.vm.Log, proc.Tail(n.vm.Log, 2))
		if err := n.startAgain(ctx); err != nil {
			return err
		}
	}
}

// awaitAgent waits until the lab's extension answers, in a boot other than the old one.
func (n *Node) awaitAgent(ctx context.Context, old string) error {
	return proc.Poll(ctx, "wait for the lab's extension on the node", 200*time.Millisecond, func() (bool, error) {
		if dead := errors.Join(n.vmErr(), n.cp.Err()); dead != nil {
			return false, &proc.Permanent{Err: dead}
		}
		try, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		id, err := n.bootID(try)
		if err == nil && id == old {
			err = errors.New("it is the boot before")
		}
		if err != nil {
			n.agent.Drop()
			return false, err
		}
		n.boot = id
		return true, nil
	})
}

// startAgain starts the machine, whose QEMU has ended, from its disk.
func (n *Node) startAgain(ctx context.Context) error {
	n.agent.Drop()
	if n.mon != nil {
		n.mon.Close()
	}
	n.machine.Incoming = ""
	return n.startVM(ctx)
}

func (n *Node) bootID(ctx context.Context) (string, error) {
	out, err := n.agent.Exec(ctx, "cat /proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(out), err
}

// Close ends the machine and the control plane.
func (n *Node) Close() {
	if n.agent != nil {
		n.agent.Drop()
	}
	if n.vm != nil {
		n.vm.Kill()
	}
	if n.mon != nil {
		n.mon.Close()
	}
	if n.cp != nil {
		n.cp.Stop()
	}
	if n.registry != nil {
		n.registry.Close()
	}
	for _, s := range n.servers {
		_ = s.Close()
	}
	_ = os.RemoveAll(n.sockets)
	_ = os.Remove(n.machine.Disk) // large, and of no use without the run
}

// identity is what decides whether a saved state fits.
func (n *Node) identity(ctx context.Context) (string, error) {
	bin, err := findQEMU(arch.Host)
	if err != nil {
		return "", err
	}
	out, err := exec.CommandContext(ctx, bin, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("ask QEMU for its version: %w", err)
	}
	cni, err := n.cniManifest()
	if err != nil {
		return "", err
	}
	patch, err := patchFor(n.img.Version)
	if err != nil {
		return "", err
	}
	m := qemu.Machine{Append: kernelArgs(), CPUs: n.opts.CPUs, MemoryMB: n.opts.MemoryMB, NICs: qemu.NICs(n.opts.PFs)}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %s %s %q %s %s", n.img.Key, out, n.opts.Name, m.Args(), cni, patch))
	return hex.EncodeToString(sum[:8]), nil
}
