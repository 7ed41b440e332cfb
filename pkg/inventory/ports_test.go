package inventory_test

import (
	"fmt"
	"testing"

	"github.com/talos-sriov/talos-sriov/pkg/internal/sysfstest"
	"github.com/talos-sriov/talos-sriov/pkg/inventory"
)

// TestPortsOfOneFunction: the first interface of a card with two ports on one
// function is its first port, whatever the ports are called: stable addresses and
// what the PF holds for its VFs are the same after interfaces changed their names.
func TestPortsOfOneFunction(t *testing.T) {
	const card = `devices/pci0000:00/0000:03:00.0
  vendor = 0x15b3
  device = 0x1007
  class = 0x020000
  driver -> mlx4_core
  sriov_totalvfs = 8
  sriov_numvfs = 1
  virtfn0 -> 0000:03:00.1
devices/pci0000:00/0000:03:00.1
  vendor = 0x15b3
  device = 0x1004
  class = 0x020000
  driver -> mlx4_core
`
	netdev := func(function, name string, port, index int) string {
		return fmt.Sprintf("devices/pci0000:00/%s/net/%s\n  ifindex = %d\n  address = 02:00:00:00:00:0%d\n  addr_assign_type = 0\n  flags = 0x1003\n  type = 1\n  mtu = 1500\n  dev_port = %d\n",
			function, name, index, port+1, port)
	}
	for _, names := range [][2]string{{"ens3", "ens3d1"}, {"ens3d1", "ens3"}, {"a", "b"}, {"b", "a"}} {
		text := card
		for port, name := range names {
			text += netdev("0000:03:00.0", name, port, 10+port) + netdev("0000:03:00.1", name+"v0", port, 20+port)
		}
		s, err := inventory.Read(t.Context(), sysfstest.Parse(t, "mlx4", text).Tree(t), nil)
		if err != nil {
			t.Fatal(err)
		}
		pf := &s.PFs[0]
		if len(pf.Netdevs) != 2 || pf.Name() != names[0] || pf.Netdevs[0].PermMAC != "02:00:00:00:00:01" || pf.VFs[0].Netdevs[0].Name != names[0]+"v0" {
			t.Errorf("ports %v: PF %+v, VF %+v", names, pf.Netdevs, pf.VFs[0].Netdevs)
		}
	}
}
