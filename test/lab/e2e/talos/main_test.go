// Package talos_test are the cases that only Talos itself can show. LAB_TALOS names
// its version; without it, it is the newest that the lab has.
package talos_test

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/talos-sriov/talos-sriov/test/lab/talos"
)

const (
	pfA      = "0000:21:00.0" // NUMA node 0
	pfB      = "0000:41:00.0" // NUMA node 1
	resource = "intel.com/82576"
)

var interrupted context.Context

func TestMain(m *testing.M) {
	var stop context.CancelFunc
	interrupted, stop = signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := m.Run()
	stop()
	os.Exit(code)
}

// start gives a node of its own, that leaves its logs when the case fails.
func start(t *testing.T, opts talos.Options) *talos.Node {
	t.Helper()
	n, err := talos.Start(interrupted, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("logs: %s", n.Diagnose(context.Background(), t.Name()))
		}
		n.Close()
	})
	return n
}

// document is an ExtensionServiceConfig with these physicalFunctions.
func document(pfs string) string {
	return "apiVersion: v1alpha1\nkind: ExtensionServiceConfig\nname: sriov\nconfigFiles:\n  - mountPath: /etc/sriov/config.yaml\n    content: |\n" +
		"      apiVersion: v1alpha1\n      kind: SRIOVConfig\n      physicalFunctions:\n        " + strings.ReplaceAll(strings.TrimSpace(pfs), "\n", "\n        ") + "\n"
}

func pf(address string, vfs int) string {
	return fmt.Sprintf("- match: {pciAddresses: [%q]}\n  numVFs: %d\n  resourceName: %s\n", address, vfs, resource)
}

// patch merges a patch into the machine config, as a user does.
func patch(t *testing.T, n *talos.Node, text string) {
	t.Helper()
	if _, err := n.Talosctl(t.Context(), "patch", "machineconfig", "--patch", text); err != nil {
		t.Fatal(err)
	}
}

func allocatable(t *testing.T, n *talos.Node, want int) {
	t.Helper()
	if err := n.WaitAllocatable(t.Context(), resource, want); err != nil {
		t.Fatal(err)
	}
}

// numVFs is what the kernel says.
func numVFs(t *testing.T, n *talos.Node, address string) string {
	t.Helper()
	out, err := n.Exec(t.Context(), "cat /sys/bus/pci/devices/"+address+"/sriov_numvfs")
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

func waitVFs(t *testing.T, n *talos.Node, address, want string) {
	t.Helper()
	if err := n.WaitFor(t.Context(), "wait for "+want+" VFs", func(context.Context) (bool, error) {
		have := numVFs(t, n, address)
		return have == want, fmt.Errorf("the kernel has %s", have)
	}); err != nil {
		t.Fatal(err)
	}
}

// process is how Talos names the process that a service runs in; its last event comes
// first.
var process = regexp.MustCompile(`\(PID (\d+)\)`)

// servicePID is the process of a service.
func servicePID(t *testing.T, n *talos.Node, service string) string {
	t.Helper()
	out, err := n.Talosctl(t.Context(), "service", service)
	if err != nil {
		t.Fatal(err)
	}
	m := process.FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("no process in\n%s", out)
	}
	return m[1]
}

// restarted waits until a service runs in another process than the old one.
func restarted(t *testing.T, n *talos.Node, service, old string) {
	t.Helper()
	if err := n.WaitFor(t.Context(), "wait until Talos has restarted "+service, func(ctx context.Context) (bool, error) {
		out, err := n.Talosctl(ctx, "service", service)
		m := process.FindStringSubmatch(out)
		if err == nil {
			err = fmt.Errorf("it has\n%s", out)
		}
		return m != nil && m[1] != old, err
	}); err != nil {
		t.Fatal(err)
	}
}

// waitFor waits until a command's output has a text, whether the command succeeds or
// not: sriovctl status says by its exit code that a node is not as it should be.
func waitFor(t *testing.T, n *talos.Node, command, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	if err := n.WaitFor(ctx, fmt.Sprintf("wait for %q from %s", want, command), func(ctx context.Context) (bool, error) {
		out, _ := n.Shell(ctx, command)
		return strings.Contains(out, want), fmt.Errorf("it prints\n%s", out)
	}); err != nil {
		t.Fatal(err)
	}
}
