package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	lab "github.com/talos-sriov/talos-sriov/test/lab"
)

// TestTalosLeavesVFsAlone: Talos asks for addresses on interfaces that nobody
// configured, VFs among them, until the patch of sriovctl generate says otherwise.
func TestTalosLeavesVFsAlone(t *testing.T) {
	n := restored(t)
	n.document(vfs(pfA, 4))
	n.allocatable(4)
	asking := func(ctx context.Context) (string, error) {
		out, err := n.Talosctl(ctx, "get", "operatorspecs", "--output", "jsonpath={.metadata.id}")
		if err != nil {
			return "", err
		}
		var vfs []string
		for _, id := range strings.Fields(out) {
			if strings.Contains(id, "ens1v") {
				vfs = append(vfs, id)
			}
		}
		return strings.Join(vfs, " "), nil
	}
	n.must(n.WaitFor(n.ctx(), "wait until Talos asks for an address on a VF", func(ctx context.Context) (bool, error) {
		vfs, err := asking(ctx)
		return vfs != "", err
	}))
	_, err := n.Shell(n.ctx(), "sriovctl generate patch --nodes "+lab.Address+" --pf ens1 --vfs 4 --resource "+resource+" > vfs.yaml")
	n.must(err)
	_, err = n.Shell(n.ctx(), "talosctl patch machineconfig --patch @vfs.yaml")
	n.must(err)
	n.must(n.WaitFor(n.ctx(), "wait until Talos asks for no address on VFs", func(ctx context.Context) (bool, error) {
		vfs, err := asking(ctx)
		if err == nil && vfs != "" {
			err = fmt.Errorf("it asks on %s", vfs)
		}
		return err == nil, err
	}))
	if got := n.numVFs(pfA); got != 4 {
		t.Errorf("the kernel has %d VFs", got)
	}
}
