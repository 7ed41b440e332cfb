package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"

	lab "github.com/talos-sriov/talos-sriov/test/lab"
)

// With the topology manager's policy single-numa-node a container gets its CPUs and its
// VFs from one NUMA node, or is not admitted. The kubelet's configuration is the patch
// that the project ships: CPUs 0 and 1 are the system's. So CPU 2 and PF A are on node 0,
// and CPUs 3, 4, 5 and PF B on node 1.
func TestSingleNUMANode(t *testing.T) {
	n := boot(t, lab.Options{CPUs: 6})
	file := "pinned-cpus-document.yaml"
	if n.Version() < "v1.14" {
		file = "pinned-cpus.yaml"
	}
	text, err := os.ReadFile("../../../machineconfig-patches/kubelet/" + file)
	n.must(err)
	// The kubelet refuses to start with the state of another policy: Talos removes it.
	n.must(n.Patch(n.ctx(), string(text)))
	n.document(fmt.Sprintf(`apiVersion: v1alpha1
kind: SRIOVConfig
physicalFunctions:
  - match: {pciAddresses: [%q, %q]}
    numVFs: 4
    resourceName: %s`, pfA, pfB, resource))
	n.allReady(2)
	n.allocatable(8)

	// 5 of 8 are free, but not on one node.
	n.cpuPod("five", 0, 5)
	p, err := n.WaitPod(n.ctx(), "five", "refused", func(p lab.Pod) bool { return p.Status.Phase == "Failed" || p.Ready() })
	n.must(err)
	if p.Status.Phase != "Failed" || p.Status.Reason != "TopologyAffinityError" {
		t.Errorf("a pod that asks for more VFs than one node has is %s: %s: %s", p.Status.Phase, p.Status.Reason, p.Status.Message)
	}
	for _, c := range []struct {
		name      string
		cpus, vfs int
		pf        string
	}{
		{"three-cpus", 3, 2, pfB}, // three free CPUs are on node 1 only
		{"one-cpu", 1, 2, pfA},    // and then one is left, on node 0
		{"no-cpu", 0, 2, ""},      // whichever node has two VFs
	} {
		n.cpuPod(c.name, c.cpus, c.vfs)
		n.running(c.name)
		got := strings.Split(n.env(c.name, env), ",")
		if len(got) != c.vfs {
			t.Errorf("pod %s has the VFs %v, want %d", c.name, got, c.vfs)
		}
		if c.pf == "" {
			c.pf = n.run("basename $(readlink /sys/bus/pci/devices/" + got[0] + "/physfn)")
		}
		for _, addr := range got {
			n.checkVF(addr, c.pf)
		}
		t.Logf("pod %s: CPUs %s, VFs of %s", c.name, n.env(c.name, "CPUS"), c.pf)
	}
}

// cpuPod makes a pod with so many CPUs for itself, or none, and so many VFs.
func (n *node_) cpuPod(name string, cpus, vfs int) {
	n.t.Helper()
	limits := fmt.Sprintf("%s: %d", resource, vfs)
	if cpus > 0 {
		limits += fmt.Sprintf(", cpu: %d, memory: 32Mi", cpus)
	}
	n.must(n.Apply(n.ctx(), fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  dnsPolicy: Default
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  containers:
    - name: main
      image: %s
      command: [sh, -c, "env; sed -n 's/^Cpus_allowed_list:.*\\t/CPUS=/p' /proc/self/status; trap 'exit 0' TERM; while :; do sleep 1; done"]
      resources: {limits: {%s}}
`, name, lab.Image, limits)))
}
