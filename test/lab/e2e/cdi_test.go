package e2e

import (
	"context"
	"strings"
	"testing"
)

// With devicePlugin.cdi containers have their device nodes from the container
// runtime, which reads our files; the kubelet gets no node. The config switches it.
func TestCDI(t *testing.T) {
	n := node(t)
	n.vfio()
	doc := func(cdi string) string {
		return `apiVersion: v1alpha1
kind: SRIOVConfig
physicalFunctions:
  - match: {pciAddresses: ["` + pfA + `"]}
    numVFs: 3
    virtualFunctions:
      - {indexes: "0-1", driver: vfio-pci, resourceName: example.com/dpdk}
      - {indexes: "2", resourceName: ` + resource + `}
devicePlugin: {cdi: ` + cdi + `}
`
	}
	const file = "/run/cdi/sriovd-example.com-net-pci-dpdk.json"
	pod := func(name string) {
		t.Helper()
		n.podOf(name, "example.com/dpdk", 2)
		n.running(name)
		log, err := n.PodLogs(n.ctx(), name)
		n.must(err)
		groups := 0
		for _, vf := range n.discover(pfA) {
			if vf.Index < 2 {
				group := n.run("basename $(readlink /sys/bus/pci/devices/" + vf.Address + "/iommu_group)")
				if strings.Contains(log, "VFIO="+group+"\n") {
					groups++
				}
			}
		}
		if groups != 2 || !strings.Contains(log, "VFIO=vfio\n") {
			t.Errorf("pod %s sees %d of 2 groups; it printed:\n%s", name, groups, log)
		}
		n.must(n.DeletePods(n.ctx()))
	}

	n.document(doc("true"))
	n.allReady(1)
	n.must(n.WaitAllocatable(n.ctx(), "example.com/dpdk", 2))
	if got := n.run("ls /run/cdi"); got != "sriovd-example.com-net-pci-dpdk.json" {
		t.Errorf("/run/cdi has %q; kernel VFs have no nodes and need no file", got)
	}
	pod("by-cdi")

	// Without its file the container could not start: the nodes come by no other
	// way. Allocate makes it again.
	n.run("rm " + file)
	pod("file-made-again")
	n.run("test -s " + file)

	// A pod whose devices have no nodes is not concerned.
	n.podOf("kernel", resource, 1)
	n.running("kernel")
	n.must(n.DeletePods(n.ctx()))

	n.document(doc("false"))
	n.must(n.WaitFor(n.ctx(), "wait for the CDI file to go", func(ctx context.Context) (bool, error) {
		_, err := n.Get(ctx, file)
		return err != nil, nil
	}))
	n.registered(2)
	n.must(n.WaitAllocatable(n.ctx(), "example.com/dpdk", 2))
	pod("by-the-kubelet")
}
