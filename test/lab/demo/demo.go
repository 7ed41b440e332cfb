// Package demo goes the way of a user on a node that runs Talos: from the card to two
// pods that reach each other over VFs. Each step is the command that a user types.
package demo

import (
	"context"
	_ "embed"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	lab "github.com/talos-sriov/talos-sriov/test/lab"
)

var (
	//go:embed networks.yaml
	networks []byte
	//go:embed pods.yaml
	pods []byte
)

const (
	resource = "intel.com/82576"
	vfs      = 4
)

// Run does it on a node without a document, and prints the transcript to out.
func Run(ctx context.Context, n *lab.Node, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	sh := func(commands ...string) error {
		for _, c := range commands {
			fmt.Fprintln(out, "$", c)
			printed, err := n.Shell(ctx, c)
			if err != nil {
				return err
			}
			fmt.Fprint(out, printed)
		}
		return nil
	}
	for name, text := range map[string][]byte{"networks.yaml": networks, "pods.yaml": pods} {
		if err := os.WriteFile(filepath.Join(n.Dir(), name), text, 0o644); err != nil {
			return fmt.Errorf("write the demo's files: %w", err)
		}
	}
	if err := sh(
		"sriovctl discover",
		fmt.Sprintf("sriovctl generate patch --nodes %s --pf ens1 --vfs %d --resource %s > vfs.yaml", lab.Address, vfs, resource),
		"talosctl patch machineconfig --patch @vfs.yaml",
	); err != nil {
		return err
	}
	if err := n.WaitAllocatable(ctx, resource, vfs); err != nil {
		return err
	}
	if err := sh(
		`kubectl get nodes -o custom-columns='NAME:.metadata.name,VFS:.status.allocatable.intel\.com/82576'`,
		"sriovctl generate network networks.yaml --manifests > network.yaml",
		"kubectl apply -f network.yaml -f pods.yaml",
		"kubectl wait --for=condition=Ready pod/demo pod/peer --timeout=3m",
		"kubectl logs demo",
	); err != nil {
		return err
	}
	p, err := n.Pod(ctx, "peer")
	if err != nil {
		return err
	}
	peer, err := p.Address("net1")
	if err != nil {
		return err
	}
	return sh("kubectl exec demo -- ping -c 3 -I net1 "+peer, "sriovctl status")
}
