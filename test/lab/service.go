package lab

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/talos-sriov/talos-sriov/test/lab/internal/cluster"
)

// Service is a service of Talos: "kubelet", or "ext-NAME" of an extension.
func (n *Node) Service(name string) Service { return Service{n, name} }

// Service controls one service of Talos, by its API.
type Service struct {
	n    *Node
	name string
}

// ServiceState is what Talos says of a service.
type ServiceState struct {
	State string // as "Running"
	PID   int    // of the latest process that was started, zero if none was
}

var (
	serviceState = regexp.MustCompile(`(?m)^STATE +(\S+)`)
	// Talos names a process in the event of its start; the latest event comes first.
	serviceProcess = regexp.MustCompile(`\(PID (\d+)\)`)
)

// State is the service's state.
func (s Service) State(ctx context.Context) (ServiceState, error) {
	out, err := s.n.Talosctl(ctx, "service", s.name)
	if err != nil {
		return ServiceState{}, err
	}
	m := serviceState.FindStringSubmatch(out)
	if m == nil {
		return ServiceState{}, fmt.Errorf("talosctl says of the service %s:\n%s", s.name, out)
	}
	state := ServiceState{State: m[1]}
	if m := serviceProcess.FindStringSubmatch(out); m != nil {
		state.PID, err = strconv.Atoi(m[1])
	}
	return state, err
}

// Start starts the service, and waits until it runs.
func (s Service) Start(ctx context.Context) error {
	return s.change(ctx, "start", func(st ServiceState) bool { return st.State == "Running" })
}

// Stop stops the service, and waits until it has ended.
func (s Service) Stop(ctx context.Context) error {
	return s.change(ctx, "stop", func(st ServiceState) bool { return st.State == "Finished" || st.State == "Stopped" })
}

// Restart restarts the service, and waits until it runs in another process.
func (s Service) Restart(ctx context.Context) error {
	old, err := s.State(ctx)
	if err != nil {
		return err
	}
	return s.change(ctx, "restart", func(st ServiceState) bool { return st.State == "Running" && st.PID != old.PID })
}

func (s Service) change(ctx context.Context, how string, done func(ServiceState) bool) error {
	ctx, cancel := cluster.WithDefault(ctx, cluster.Wait)
	defer cancel()
	if _, err := s.n.Talosctl(ctx, "service", s.name, how); err != nil {
		return err
	}
	return s.wait(ctx, how, done)
}

func (s Service) wait(ctx context.Context, what string, done func(ServiceState) bool) error {
	return s.n.WaitFor(ctx, fmt.Sprintf("wait for the %s of service %s", what, s.name), func(ctx context.Context) (bool, error) {
		st, err := s.State(ctx)
		if err == nil && !done(st) {
			err = fmt.Errorf("it is %+v", st)
		}
		return err == nil, err
	})
}

// Kill ends the processes of an extension's service with SIGKILL, and waits until Talos
// has started it again.
func (s Service) Kill(ctx context.Context) error {
	ctx, cancel := cluster.WithDefault(ctx, cluster.Wait)
	defer cancel()
	old, err := s.State(ctx)
	if err != nil {
		return err
	}
	// A script of ours has a PID namespace of its own, and cannot name the process.
	name, ok := strings.CutPrefix(s.name, "ext-")
	if !ok {
		return fmt.Errorf("%s is no service of an extension", s.name)
	}
	if _, err := s.n.Exec(ctx, "echo 1 >/sys/fs/cgroup/system/extensions/"+name+"/cgroup.kill"); err != nil {
		return err
	}
	return s.wait(ctx, "new start", func(st ServiceState) bool { return st.State == "Running" && st.PID != old.PID })
}

// Log is the service's output of this boot.
func (s Service) Log(ctx context.Context) (string, error) { return s.n.Talosctl(ctx, "logs", s.name) }

// SetDocument merges a patch with an ExtensionServiceConfig into the machine config, as
// a user does. Talos restarts the service of a config that changes, and not of one that
// is new.
func (n *Node) SetDocument(ctx context.Context, yaml string) error { return n.Patch(ctx, yaml) }

// RemoveDocument removes an extension's config from the machine config.
func (n *Node) RemoveDocument(ctx context.Context, name string) error {
	return n.Patch(ctx, "apiVersion: v1alpha1\nkind: ExtensionServiceConfig\nname: "+name+"\n$patch: delete\n")
}

// Patch merges a patch into the machine config.
func (n *Node) Patch(ctx context.Context, yaml string) error {
	_, err := n.Talosctl(ctx, "patch", "machineconfig", "--patch", yaml)
	return err
}

// LoadModules lets Talos load kernel modules, by its machine config.
func (n *Node) LoadModules(ctx context.Context, names ...string) error {
	var loaded strings.Builder
	for _, m := range names {
		fmt.Fprintf(&loaded, "[ -e /sys/module/%s ] && ", strings.ReplaceAll(m, "-", "_"))
	}
	if _, err := n.Exec(ctx, loaded.String()+"true"); err == nil {
		return nil
	}
	if err := n.Patch(ctx, n.img.ModulePatch(names...)); err != nil {
		return err
	}
	return n.WaitFor(ctx, "wait for the modules "+strings.Join(names, ", "), func(ctx context.Context) (bool, error) {
		_, err := n.Exec(ctx, loaded.String()+"true")
		return err == nil, err
	})
}
