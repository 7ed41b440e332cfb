package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	lab "github.com/talos-sriov/talos-sriov/test/lab"
)

// RDMA over Ethernet, in software, on a VF: its device joins the pool of RDMA
// devices when it appears, and a pod gets its character devices.
func TestSoftRDMA(t *testing.T) {
	n := node(t)
	t.Cleanup(func() { _, _ = n.Exec(context.Background(), "rdma link delete rxe0") })
	n.document(fmt.Sprintf(`apiVersion: v1alpha1
kind: SRIOVConfig
physicalFunctions:
  - match: {pciAddresses: [%q]}
    numVFs: 2
resourceList:
  - resourceName: soft_rdma
    resourcePrefix: example.com
    selectors: {pfNames: [ens1], drivers: [igbvf], isRdma: true}
  - resourceName: plain
    resourcePrefix: example.com
    selectors: {pfNames: [ens1], drivers: [igbvf]}`, pfA))
	n.must(n.WaitAllocatable(n.ctx(), "example.com/plain", 2))
	n.must(n.WaitAllocatable(n.ctx(), "example.com/soft_rdma", 0))

	addr := n.discover(pfA)[1].Address
	n.must(n.LoadModules(n.ctx(), "rdma_rxe", "ib_umad", "rdma_ucm"))
	n.run("link=$(ls /sys/bus/pci/devices/" + addr + "/net) && ip link set $link up && rdma link add rxe0 type rxe netdev $link")
	n.must(n.WaitAllocatable(n.ctx(), "example.com/soft_rdma", 1))
	n.must(n.WaitAllocatable(n.ctx(), "example.com/plain", 1))
	if mode := n.snapshot().RDMANetns; mode != "shared" {
		t.Errorf("the kernel's RDMA mode is read as %q", mode)
	}
	n.status("the RDMA mode", func(s status) bool { return s.RDMANetns == "shared" })

	n.must(n.Apply(n.ctx(), fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: rdma}
spec:
  dnsPolicy: Default
  terminationGracePeriodSeconds: 1
  containers:
    - name: main
      image: %s
      command: [sh, -c, "env; echo NODES=$(ls /dev/infiniband); for d in /dev/infiniband/uverbs*; do exec 3<>$d && echo OPENED=$d; done; trap 'exit 0' TERM; while :; do sleep 1; done"]
      resources: {limits: {example.com/soft_rdma: 1}}
`, lab.Image)))
	n.running("rdma")
	if got := n.env("rdma", "PCIDEVICE_EXAMPLE_COM_SOFT_RDMA"); got != addr {
		t.Errorf("the pod has %s, want %s", got, addr)
	}
	if got := n.env("rdma", "OPENED"); !strings.HasPrefix(got, "/dev/infiniband/uverbs") {
		t.Errorf("the pod opened %q", got)
	}
	nodes := n.env("rdma", "NODES")
	for _, want := range []string{"rdma_cm", "umad", "uverbs"} {
		if !strings.Contains(nodes, want) {
			t.Errorf("the pod's /dev/infiniband has %q, want %s", nodes, want)
		}
	}

	n.must(n.DeletePods(n.ctx()))
	n.run("rdma link delete rxe0")
	n.must(n.WaitAllocatable(n.ctx(), "example.com/soft_rdma", 0))
	n.must(n.WaitAllocatable(n.ctx(), "example.com/plain", 2))
}
