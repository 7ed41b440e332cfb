package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/talos-sriov/talos-sriov/test/lab/internal/agent"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/artifact"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/cluster"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/controlplane"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/proc"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/qemu"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/rundir"
)

// Time-outs are generous: emulation on a loaded machine is several times slower
// than on an idle one. Nothing waits longer than it must.
const (
	bootTimeout   = 10 * time.Minute
	agentTimeout  = 20 * time.Second
	DefaultWait   = cluster.Wait
	saveTimeout   = 3 * time.Minute
	resumeTimeout = time.Minute
)

// Node is a running node with its control plane.
type Node struct {
	*cluster.Cluster
	opts    Options
	b       *artifact.Builder
	dir     string // of this run: disks, logs, configuration
	sockets string
	machine qemu.Machine
	vm      *proc.Process
	mon     *qemu.Monitor
	agent   *agent.Client
	cp      *controlplane.ControlPlane
	port    int
	apiPort int
	boot    string // boot id
}

// Build makes all artifacts.
func Build(ctx context.Context) error {
	b, err := artifact.NewBuilder(nil)
	if err != nil {
		return err
	}
	opts, err := Options{}.withDefaults(b.Repo)
	if err != nil {
		return err
	}
	if _, err = b.Build(ctx, opts.Kubelet); err != nil {
		return err
	}
	return b.Netdevsim(ctx)
}

// Start gives a node whose kubelet is Ready.
func Start(ctx context.Context, opts Options) (*Node, error) {
	b, err := artifact.NewBuilder(opts.Log)
	if err != nil {
		return nil, err
	}
	if opts, err = opts.withDefaults(b.Repo); err != nil {
		return nil, err
	}
	images, err := b.Build(ctx, opts.Kubelet)
	if err != nil {
		return nil, fmt.Errorf("build the lab: %w", err)
	}
	ext, extKey, err := b.Extension(ctx, opts.Extension)
	if err != nil {
		return nil, err
	}
	pki := controlplane.PKI{Dir: filepath.Join(b.Out, "pki")}
	unlock, err := b.Lock()
	if err != nil {
		return nil, err
	}
	err = pki.Ensure()
	unlock()
	if err != nil {
		return nil, err
	}
	parts := parts{images: images, extension: ext, pki: pki}
	if opts.FreshBoot {
		return startFresh(ctx, b, opts, parts)
	}
	token, err := pki.Token()
	if err != nil {
		return nil, err
	}
	qv, err := qemuVersion(ctx)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(strings.Join([]string{images.Key, extKey, token, qv, opts.identity()}, "\n")))
	snap := filepath.Join(b.Out, "snapshot", hex.EncodeToString(sum[:8]))
	if err := ensureSnapshot(ctx, b, opts, parts, snap); err != nil {
		return nil, err
	}
	n, err := restore(ctx, b, opts, parts, snap)
	if err != nil {
		return nil, err
	}
	if opts.Document != "" {
		if err := n.SetDocument(ctx, Talos, opts.Document); err != nil {
			n.Close()
			return nil, err
		}
	}
	return n, nil
}

// parts are the files that a machine is made of.
type parts struct {
	images    artifact.Images
	extension string
	pki       controlplane.PKI
}

func qemuVersion(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "qemu-system-x86_64", "--version").Output()
	if err != nil {
		return "", fmt.Errorf("ask QEMU for its version: %w (test/lab/deps.sh installs it)", err)
	}
	v, _, _ := strings.Cut(string(out), "\n")
	return v, nil
}

// newNode makes the directories of a run and the description of its machine.
func newNode(b *artifact.Builder, opts Options, p parts) (*Node, error) {
	dir, sockets, err := rundir.New(filepath.Join(b.Out, "run"))
	if err != nil {
		return nil, err
	}
	ports, err := proc.Ports(2)
	if err != nil {
		return nil, err
	}
	n := &Node{opts: opts, b: b, dir: dir, sockets: sockets, port: ports[0], apiPort: ports[1]}
	n.machine = qemu.Machine{
		Kernel: p.images.Kernel, Initramfs: p.images.Initramfs, Root: p.images.Root, Extension: p.extension,
		Var: filepath.Join(dir, "var.img"), State: filepath.Join(dir, "state.img"),
		Append: opts.kernelArgs(), CPUs: opts.CPUs, MemoryMB: opts.MemoryMB, NICs: qemu.NICs(opts.PFs),
		Ports: map[int]int{10250: n.port}, QMP: filepath.Join(sockets, "qmp"), Console: filepath.Join(dir, "console.log"),
		Agents: []string{filepath.Join(sockets, "agent0"), filepath.Join(sockets, "agent1")},
	}
	n.agent = agent.New(n.machine.Agents[0], n.vmErr)
	return n, nil
}

// startControlPlane starts it in the background; the result comes when asked.
func (n *Node) startControlPlane(ctx context.Context, pki controlplane.PKI) func() error {
	type result struct {
		cp  *controlplane.ControlPlane
		err error
	}
	c := make(chan result, 1)
	go func() {
		cp, err := controlplane.Start(ctx, controlplane.Config{
			Dir: filepath.Join(n.dir, "control-plane"), Port: n.apiPort, Sockets: n.sockets, PKI: pki, Bin: n.b.Bin,
		})
		c <- result{cp, err}
	}()
	return func() error {
		r := <-c
		n.cp = r.cp
		n.Cluster = cluster.New(r.cp, n.opts.Name, n.b.Bin("kubectl"), filepath.Join(n.dir, "kubectl"), n.vmErr)
		if r.err == nil {
			r.cp.Node(n.opts.Name, fmt.Sprintf("127.0.0.1:%d", n.port))
		}
		return r.err
	}
}

// startVM starts QEMU. The port of the API server must be known by then.
func (n *Node) startVM(ctx context.Context, apiPort int) error {
	n.machine.Commands = map[int]string{6443: fmt.Sprintf("%s 127.0.0.1:%d", n.b.Bin("labfwd"), apiPort)}
	bin, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		return fmt.Errorf("find QEMU: %w (test/lab/deps.sh installs it)", err)
	}
	n.vm, err = proc.Start("QEMU", filepath.Join(n.dir, "qemu.log"), n.dir, bin, n.machine.Args()...)
	if err != nil {
		return err
	}
	n.mon, err = qemu.Dial(ctx, n.machine.QMP, n.vmErr)
	return err
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
	if err == nil && strings.Contains(string(b), "Kernel panic") {
		return fmt.Errorf("the guest's kernel panicked; end of its console:\n%s", proc.Tail(n.machine.Console, 40))
	}
	return nil
}

// startFresh boots a new node.
func startFresh(ctx context.Context, b *artifact.Builder, opts Options, p parts) (*Node, error) {
	n, err := newNode(b, opts, p)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, bootTimeout)
	defer cancel()
	if err := n.bootFresh(ctx, p); err != nil {
		dir := n.keepLogs(context.WithoutCancel(ctx), "boot-"+filepath.Base(n.dir))
		n.Close()
		return nil, fmt.Errorf("boot the node (logs in %s): %w", dir, err)
	}
	return n, nil
}

func (n *Node) bootFresh(ctx context.Context, p parts) error {
	start := time.Now()
	awaitControlPlane := n.startControlPlane(ctx, p.pki)
	diskErr := n.makeDisks(ctx, p.pki)
	if err := errors.Join(diskErr, awaitControlPlane()); err != nil {
		return err
	}
	if err := n.startVM(ctx, n.cp.Port()); err != nil {
		return err
	}
	if err := n.awaitBoot(ctx, ""); err != nil {
		return err
	}
	if err := n.WaitReady(ctx); err != nil {
		return err
	}
	fmt.Fprintf(n.opts.Log, "lab: booting %s ... %ds\n", n.opts.Name, int(time.Since(start).Seconds()))
	return nil
}

// emulatorTries is how often a boot is tried whose emulator aborts: QEMU's threads
// race when the firmware moves the cards' registers about, and an assertion ends
// it (iotlb_to_section), about once in a hundred boots. The guest has no part in
// it.
const emulatorTries = 3

// awaitBoot is waitBooted for a machine that may have to be started again, with
// the disks as they are, as after a power cut.
func (n *Node) awaitBoot(ctx context.Context, old string) error {
	for try := 1; ; try++ {
		err := n.waitBooted(ctx, old)
		if err == nil || try == emulatorTries || !n.vm.Aborted() {
			return err
		}
		fmt.Fprintf(n.opts.Log, "lab: QEMU aborted while %s booted, it is started again; end of %s:\n%s\n", n.opts.Name, n.vm.Log, proc.Tail(n.vm.Log, 2))
		if err := n.startAgain(ctx); err != nil {
			return err
		}
	}
}

// startAgain starts the machine, whose QEMU has ended, from its disks.
func (n *Node) startAgain(ctx context.Context) error {
	n.agent.Drop()
	n.mon.Close()
	n.machine.Incoming = ""
	return n.startVM(ctx, n.cp.Port())
}

// makeDisks makes the two writable disks: /var, empty, and STATE, with what the
// machine configuration of a Talos node holds.
func (n *Node) makeDisks(ctx context.Context, pki controlplane.PKI) error {
	state := filepath.Join(n.dir, "state")
	token, err := pki.Token()
	if err != nil {
		return err
	}
	ca, err := pki.CA()
	if err != nil {
		return err
	}
	files := map[string]string{
		"hostname":              n.opts.Name + "\n",
		"kubernetes/kubeconfig": controlplane.Kubeconfig("https://"+controlplane.GuestAPIServer+":6443", token, ca),
	}
	if n.opts.KubeletConfig != "" {
		files["kubernetes/kubelet.yaml"] = artifact.KubeletConfig() + n.opts.KubeletConfig
	}
	if n.opts.Document != "" {
		doc, err := onlyDocument(n.opts.Document)
		if err != nil {
			return err
		}
		files["documents/"+doc+".yaml"] = n.opts.Document
	}
	for name, text := range files {
		p := filepath.Join(state, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			return fmt.Errorf("fill STATE: %w", err)
		}
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			return fmt.Errorf("fill STATE: %w", err)
		}
	}
	if err := makeDisk(ctx, n.machine.State, 32, state); err != nil {
		return err
	}
	return makeDisk(ctx, n.machine.Var, 8192, "")
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
	_ = os.RemoveAll(n.sockets)
	// Large, and of no use without the run.
	for _, f := range []string{n.machine.Var, n.machine.State} {
		_ = os.Remove(f)
	}
}

// StubExtension builds the extension with which the lab tests itself; the result
// is for Options.Extension.
func StubExtension(ctx context.Context) (string, error) {
	b, err := artifact.NewBuilder(nil)
	if err != nil {
		return "", err
	}
	return b.Stub(ctx)
}
