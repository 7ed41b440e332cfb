package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/talos-sriov/talos-sriov/test/lab/internal/agent"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/cluster"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/extsvc"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/guest"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/kube"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/proc"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/qemu"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/wire"
)

// Exec runs a shell script in the guest and returns its standard output. A
// failed script is an error that has all of its output.
func (n *Node) Exec(ctx context.Context, script string) (string, error) {
	ctx, cancel := withDefault(ctx, DefaultWait)
	defer cancel()
	return n.agent.Exec(ctx, script)
}

// Put writes a file in the guest.
func (n *Node) Put(ctx context.Context, path string, mode os.FileMode, data []byte) error {
	ctx, cancel := withDefault(ctx, DefaultWait)
	defer cancel()
	_, err := n.agent.Do(ctx, wire.Request{Op: "put", Path: path, Mode: uint32(mode)}, bytes.NewReader(data), nil, nil)
	return err
}

// Get reads a file of the guest.
func (n *Node) Get(ctx context.Context, path string) ([]byte, error) {
	ctx, cancel := withDefault(ctx, DefaultWait)
	defer cancel()
	var b bytes.Buffer
	_, err := n.agent.Do(ctx, wire.Request{Op: "get", Path: path}, nil, &b, nil)
	return b.Bytes(), err
}

func withDefault(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return cluster.WithDefault(ctx, d)
}

// Mode is how a document is set.
type Mode string

// Talos does all that Talos does: the file, and the service's restart where
// Talos restarts it. FileOnly writes the file and leaves the service alone.
const (
	Talos    Mode = "talos"
	FileOnly Mode = "file"
)

func onlyDocument(yaml string) (string, error) {
	docs, err := extsvc.ParseDocuments([]byte(yaml))
	if err != nil {
		return "", err
	}
	if len(docs) != 1 {
		return "", fmt.Errorf("want one ExtensionServiceConfig document, have %d", len(docs))
	}
	return docs[0].Name, nil
}

// SetDocument puts an ExtensionServiceConfig document into the machine
// configuration. It outlives a reboot.
func (n *Node) SetDocument(ctx context.Context, mode Mode, yaml string) error {
	name, err := onlyDocument(yaml)
	if err != nil {
		return err
	}
	ctx, cancel := withDefault(ctx, DefaultWait)
	defer cancel()
	return n.agent.Value(ctx, wire.Request{Op: "document", Name: name, How: string(mode), YAML: yaml}, nil)
}

// RemoveDocument removes an extension's document from the machine configuration.
func (n *Node) RemoveDocument(ctx context.Context, mode Mode, name string) error {
	ctx, cancel := withDefault(ctx, DefaultWait)
	defer cancel()
	return n.agent.Value(ctx, wire.Request{Op: "document", Name: name, How: string(mode)}, nil)
}

// The types that Node's methods give.
type (
	Pod          = kube.Pod
	Network      = kube.Network
	KubeNode     = kube.Node
	Status       = guest.Status
	ServiceState = guest.ServiceState
	Event        = guest.Event
	Unmounted    = guest.Unmounted
)

// Status asks PID 1 for the state of the boot and of the services.
func (n *Node) Status(ctx context.Context) (Status, error) {
	ctx, cancel := withDefault(ctx, agentTimeout)
	defer cancel()
	var s Status
	err := n.agent.Value(ctx, wire.Request{Op: "status"}, &s)
	return s, err
}

// BootEvents gives what PID 1 recorded since the boot, in order.
func (n *Node) BootEvents(ctx context.Context) ([]Event, error) {
	ctx, cancel := withDefault(ctx, agentTimeout)
	defer cancel()
	var e []Event
	err := n.agent.Value(ctx, wire.Request{Op: "events"}, &e)
	return e, err
}

// Service is one of "ext-NAME", "kubelet" and "containerd".
func (n *Node) Service(name string) Service { return Service{n, name} }

// Service controls one service of the guest.
type Service struct {
	n    *Node
	name string
}

func (s Service) do(ctx context.Context, how string, sig syscall.Signal) error {
	ctx, cancel := withDefault(ctx, DefaultWait)
	defer cancel()
	return s.n.agent.Value(ctx, wire.Request{Op: "service", Name: s.name, How: how, Signal: int(sig)}, nil)
}

// Start starts the service.
func (s Service) Start(ctx context.Context) error { return s.do(ctx, "start", 0) }

// Stop stops it and returns when it has ended.
func (s Service) Stop(ctx context.Context) error { return s.do(ctx, "stop", 0) }

// Restart stops and starts it, as Talos' API would.
func (s Service) Restart(ctx context.Context) error { return s.do(ctx, "restart", 0) }

// Kill sends a signal to its first process; it is started again as Talos would,
// five seconds after its end.
func (s Service) Kill(ctx context.Context, sig syscall.Signal) error { return s.do(ctx, "kill", sig) }

// State is the service's state.
func (s Service) State(ctx context.Context) (ServiceState, error) {
	st, err := s.n.Status(ctx)
	if err != nil {
		return ServiceState{}, err
	}
	for _, x := range st.Services {
		if x.Name == s.name {
			return x, nil
		}
	}
	return ServiceState{}, fmt.Errorf("the guest has no service %q", s.name)
}

// Log is the service's output so far; lines of extensions begin with their time.
func (s Service) Log(ctx context.Context) (string, error) {
	b, err := s.n.Get(ctx, "/run/lab/log/"+s.name+".log")
	return string(b), err
}

// waitBooted waits until the guest has booted, with another boot id than the
// given one.
func (n *Node) waitBooted(ctx context.Context, old string) error {
	return proc.Poll(ctx, "wait for the guest to boot", 200*time.Millisecond, func() (bool, error) {
		try, cancel := context.WithTimeout(ctx, agentTimeout)
		defer cancel()
		st, err := n.Status(try)
		if dead := n.vmErr(); dead != nil {
			return false, &proc.Permanent{Err: dead}
		}
		if n.cp != nil {
			if dead := n.cp.Err(); dead != nil {
				return false, &proc.Permanent{Err: dead}
			}
		}
		if err != nil {
			// The other end may be a boot that is no more.
			n.agent.Drop()
			return false, err
		}
		if st.Error != "" {
			return false, &proc.Permanent{Err: errors.New(st.Error)}
		}
		if st.BootID == old || !st.Booted {
			return false, errors.New("the boot is under way")
		}
		n.boot = st.BootID
		return true, nil
	})
}

// Reboot shuts the guest down in an orderly way, starts it again and waits until it is
// Ready. The machine that boots is a new one with the same disks: after a reset inside
// QEMU while VFs were made, a PF has been found that no longer came up.
func (n *Node) Reboot(ctx context.Context) error {
	return n.powerCycle(ctx, "reboot", func(ctx context.Context) error {
		if err := n.agent.Value(ctx, wire.Request{Op: "power", How: "reboot"}, nil); err != nil {
			return err
		}
		select {
		case <-n.vm.Done():
			return nil
		case <-ctx.Done():
			return fmt.Errorf("wait for the guest to shut down: %w", ctx.Err())
		}
	})
}

// Crash cuts the power: nothing is synced, nothing is stopped. It waits until the guest
// is Ready again.
func (n *Node) Crash(ctx context.Context) error {
	return n.powerCycle(ctx, "crash", func(context.Context) error {
		n.vm.Kill()
		return nil
	})
}

func (n *Node) powerCycle(ctx context.Context, what string, off func(context.Context) error) error {
	ctx, cancel := withDefault(ctx, bootTimeout)
	defer cancel()
	old := n.boot
	if err := off(ctx); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if err := n.startAgain(ctx); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if err := n.awaitBoot(ctx, old); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return n.WaitReady(ctx)
}

// UnmountVar stops what Talos stops before it unmounts the disk with /var, unmounts it,
// and says what became of that. Extension services that depend on nothing run on. The
// node is good for Exec, a reboot and Close then.
func (n *Node) UnmountVar(ctx context.Context) (Unmounted, error) {
	ctx, cancel := withDefault(ctx, DefaultWait)
	defer cancel()
	var u Unmounted
	err := n.agent.Value(ctx, wire.Request{Op: "unmount"}, &u)
	return u, err
}

// LastUnmount is what became of /var at the last orderly shutdown.
func (n *Node) LastUnmount(ctx context.Context) (Unmounted, error) {
	var u Unmounted
	b, err := n.Get(ctx, "/system/state/unmount.json")
	if err == nil {
		err = json.Unmarshal(b, &u)
	}
	return u, err
}

// WaitReady waits until the API server has the node of this boot as Ready.
func (n *Node) WaitReady(ctx context.Context) error {
	ctx, cancel := withDefault(ctx, bootTimeout)
	defer cancel()
	return n.Cluster.WaitReady(ctx, n.boot)
}

// Fatal marks an error of a WaitFor function that ends the wait at once.
func Fatal(err error) error { return cluster.Fatal(err) }

// Name is the node's name.
func (n *Node) Name() string { return n.opts.Name }

// Dir is the directory of this run.
func (n *Node) Dir() string { return n.dir }

// InstallCNI puts the CNI plugin of the extension's image where the container
// runtime looks, unless there is one.
func (n *Node) InstallCNI(ctx context.Context) error {
	_, err := n.Exec(ctx, "test -e /opt/cni/bin/sriov || cp /usr/local/lib/containers/sriov/sriov-cni /opt/cni/bin/sriov")
	return err
}

// Monitor is QEMU's monitor: links, hot plug, and its human commands.
func (n *Node) Monitor() *qemu.Monitor { return n.mon }

// NICs describes the node's network cards; their PCI addresses are the guest's.
func (n *Node) NICs() []qemu.NIC { return n.machine.NICs }

// ExitError is the error of a guest script that failed.
type ExitError = agent.ExitError
