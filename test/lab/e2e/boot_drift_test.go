package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	lab "github.com/talos-sriov/talos-sriov/test/lab"
)

const drifting = `apiVersion: v1alpha1
kind: SRIOVConfig
physicalFunctions:
  - match: {pciAddresses: ["` + pfA + `"]}
    numVFs: 4
    mtu: 2000
    resourceName: ` + resource + `
    virtualFunctions:
      - indexes: "0"
        trust: true
        vlan: {id: 100, qos: 3}
        macAddresses: ["02:00:00:00:00:10"]
      - indexes: "1"
        driver: vfio-pci
        resourceName: example.com/dpdk
`

// Whatever is changed by hand is noticed, counted and repaired: from the
// kernel's event where it sends one, else by the slow reconcile, which is every 3 s
// here and not every 5 minutes.
func TestDriftIsRepaired(t *testing.T) {
	n := boot(t, lab.Options{Extensions: variant(t, "-resync=3s")})
	n.vfio()
	n.document(drifting)
	n.allReady(1)
	n.allocatable(3)
	if got := n.drift(); got != 0 {
		t.Errorf("the status counts %d changes by somebody else, and there was none", got)
	}
	const pf, vfN = "/sys/bus/pci/devices/" + pfA, "/sys/bus/pci/devices/" + pfA + "/virtfn%d"
	vf := func(i int, rest string) string { return fmt.Sprintf(vfN, i) + rest }
	const link = "ip -o link show ens1"
	for _, c := range []struct {
		name, change string
		// now reads what was changed, want is what it was before.
		now, want string
	}{
		{"MTU of the PF", "ip link set ens1 mtu 1700", "cat /sys/class/net/ens1/mtu", "2000"},
		{"MTU of a VF", "ip link set $(ls " + vf(2, "/net") + ") mtu 1600", "cat " + vf(2, "/net/*/mtu"), "2000"},
		{"VLAN", "ip link set ens1 vf 0 vlan 7", link + " | grep -o 'vf 0 .*' | grep -o 'vlan 100, qos 3' | head -n 1", "vlan 100, qos 3"},
		{"trust", "ip link set ens1 vf 0 trust off", link + " | grep -o 'vf 0 [^\\\\]*' | grep -o 'trust o[nf]*' | head -n 1", "trust on"},
		{"MAC in the PF's table", "ip link set ens1 vf 0 mac 02:00:00:00:00:99", link + " | grep -o 'vf 0 [^\\\\]*' | grep -o '02:00:00:00:00:..' | head -n 1", "02:00:00:00:00:10"},
		{"driver of a VF for the kernel", "cd " + vf(3, "") + " && a=$(basename $(readlink -f .)) && echo vfio-pci >driver_override && echo $a >driver/unbind && echo $a >/sys/bus/pci/drivers_probe",
			"basename $(readlink " + vf(3, "/driver") + "); cat " + vf(3, "/driver_override"), "igbvf\n(null)"},
		{"driver of a VF for user space", "cd " + vf(1, "") + " && echo $(basename $(readlink -f .)) >driver/unbind",
			"basename $(readlink " + vf(1, "/driver") + ")", "vfio-pci"},
		// The kernel sends no event for these two.
		{"driver_override", "echo vfio-pci >" + vf(2, "/driver_override"), "cat " + vf(2, "/driver_override"), "(null)"},
		{"sriov_drivers_autoprobe", "echo 0 >" + pf + "/sriov_drivers_autoprobe", "cat " + pf + "/sriov_drivers_autoprobe", "1"},
		{"number of VFs", "echo 0 >" + pf + "/sriov_numvfs", "cat " + pf + "/sriov_numvfs", "4"},
		// The last: Talos or the extension brings it up, and what is changed in the meantime is
		// repaired with it and not counted.
		{"PF taken down", "ip link set ens1 down", link + " | grep -o '[<,]UP[,>]' | tr -d '<,>'", "UP"},
	} {
		if got := n.run(c.now); got != c.want {
			t.Fatalf("%s: before the change it is %q, want %q", c.name, got, c.want)
		}
		before := n.drift()
		n.run(c.change)
		if c.name != "PF taken down" {
			n.status(c.name+" counted and repaired", func(s status) bool {
				return len(s.PFs) == 1 && s.PFs[0].Drift > before && s.PFs[0].State == "ready"
			})
		}
		n.must(n.WaitFor(n.ctx(), "wait for the repair of the "+c.name, func(ctx context.Context) (bool, error) {
			got, err := n.Exec(ctx, c.now)
			if err == nil && strings.TrimSpace(got) != c.want {
				err = fmt.Errorf("it is %q, want %q", got, c.want)
			}
			return err == nil, err
		}))
		t.Logf("%s: repaired, counted %d", c.name, n.drift()-before)
	}
	n.allReady(1)
	n.allocatable(3)
}

// drift is how often the status says that PF A was changed by somebody else.
func (n *node_) drift() int {
	n.t.Helper()
	return n.status("a PF", func(s status) bool { return len(s.PFs) > 0 }).PFs[0].Drift
}
