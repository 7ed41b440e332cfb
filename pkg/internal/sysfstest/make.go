package sysfstest

import (
	"fmt"
	"strings"
	"testing"
)

// Make makes a tree with the given number of PFs (at most 255), each with the
// given number of VFs (at most 256), like an Intel E810's: VFs with interface
// and driver iavf, each in its IOMMU group, with AER counters. It returns the
// tree's root.
func Make(tb testing.TB, pfs, vfs int) string {
	tb.Helper()
	if pfs > 255 || vfs > 256 {
		tb.Fatalf("Make(%d, %d): at most 255 PFs of 256 VFs", pfs, vfs)
	}
	var b strings.Builder
	group, ifindex := 0, 2
	function := func(dir, device, driver, ifname string, mac int) {
		fmt.Fprintf(&b, "%s\n", dir)
		fmt.Fprintf(&b, "  vendor = 0x8086\n  device = 0x%s\n  class = 0x020000\n  driver -> %s\n", device, driver)
		fmt.Fprintf(&b, "  numa_node = %d\n  driver_override = (null)\n  iommu_group -> %d\n", mac%2, group)
		fmt.Fprintf(&b, "  aer_dev_fatal = \"Undefined 0\\nDLP 0\\nTOTAL_ERR_FATAL 0\"\n")
		fmt.Fprintf(&b, "  aer_dev_nonfatal = \"Undefined 0\\nDLP 0\\nTOTAL_ERR_NONFATAL 0\"\n")
		fmt.Fprintf(&b, "%s/net/%s\n", dir, ifname)
		fmt.Fprintf(&b, "  ifindex = %d\n  address = 02:00:00:%02x:%02x:%02x\n  mtu = 1500\n  flags = 0x1003\n  type = 1\n  carrier = 1\n",
			ifindex, mac>>16&0xff, mac>>8&0xff, mac&0xff)
		group++
		ifindex++
	}
	for p := range pfs {
		bus := fmt.Sprintf("devices/pci0000:%02x", p)
		addr := func(n int) string { return fmt.Sprintf("%04x:%02x:%02x.%d", 0, p, n/8, n%8) }
		if vfs > 255 {
			addr = func(n int) string { return fmt.Sprintf("%04x:%02x:%02x.%d", n/256, p, n%256/8, n%8) }
		}
		pf := bus + "/" + addr(0)
		function(pf, "1593", "ice", fmt.Sprintf("ens%df0", p), p<<16)
		fmt.Fprintf(&b, "%s\n  sriov_totalvfs = %d\n  sriov_numvfs = %d\n  sriov_drivers_autoprobe = 1\n  sriov_vf_device = 1889\n", pf, vfs, vfs)
		for v := range vfs {
			fmt.Fprintf(&b, "  virtfn%d -> %s\n", v, addr(v+1))
		}
		for v := range vfs {
			function(bus+"/"+addr(v+1), "1889", "iavf", fmt.Sprintf("ens%df0v%d", p, v), p<<16+v+1)
		}
	}
	return Parse(tb, "made", b.String()).Root
}
