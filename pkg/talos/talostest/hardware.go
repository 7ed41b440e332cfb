package talostest

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/siderolabs/talos/pkg/machinery/nethelpers"
	"github.com/siderolabs/talos/pkg/machinery/resources/hardware"
	"github.com/siderolabs/talos/pkg/machinery/resources/network"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/nic"
	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
)

// AddHardware gives the node the resources that Talos makes of its sysfs: a
// LinkStatus for every interface, a PCIDevice for every function but the VFs,
// which Talos does not see because it looks at boot. uplink names the interface
// with the node's address and default route, "" for none.
func (n *Node) AddHardware(tb testing.TB, uplink string) {
	tb.Helper()
	tree, err := sysfs.Open(n.Sys)
	if err != nil {
		tb.Fatal(err)
	}
	defer tree.Close()
	snap, err := inventory.Read(context.Background(), tree, nil)
	if err != nil {
		tb.Fatal(err)
	}
	for i := range snap.PFs {
		n.addFunction(tb, &snap.PFs[i].Function, uplink, true)
		for j := range snap.PFs[i].VFs {
			n.addFunction(tb, &snap.PFs[i].VFs[j].Function, uplink, false)
		}
	}
	for i := range snap.Others {
		n.addFunction(tb, &snap.Others[i], uplink, true)
	}
}

func (n *Node) addFunction(tb testing.TB, f *inventory.Function, uplink string, atBoot bool) {
	tb.Helper()
	if atBoot {
		device := hardware.NewPCIDeviceInfo(f.Address)
		*device.TypedSpec() = hardware.PCIDeviceSpec{
			ClassID: "0x" + f.Class[:2], SubclassID: "0x" + f.Class[2:4], VendorID: "0x" + f.Vendor, ProductID: "0x" + f.Device,
			Product: nic.Name(f.Vendor, f.Device), Driver: f.Driver,
		}
		n.Add(tb, device)
	}
	for _, d := range f.Netdevs {
		link := network.NewLinkStatus(network.NamespaceName, d.Name)
		s := link.TypedSpec()
		s.Index, s.MTU, s.AltNames = uint32(d.Index), uint32(d.MTU), d.AltNames
		s.Type, s.LinkIndex = nethelpers.LinkEther, uint32(d.Index)
		s.BusPath, s.Driver, s.LinkState, s.SpeedMegabits = f.Address, f.Driver, d.Carrier, d.SpeedMbps
		s.PCIID = strings.ToUpper(f.Vendor + ":" + f.Device) // as PCI_ID in the kernel's uevent
		s.HardwareAddr = nethelpers.HardwareAddr(mac(tb, d.MAC))
		s.PermanentAddr = nethelpers.HardwareAddr(mac(tb, d.PermMAC))
		if d.AdminUp {
			s.Flags = nethelpers.LinkFlags(nethelpers.LinkUp)
		}
		n.Add(tb, link)
		if d.Name == uplink {
			n.addUplink(tb, d.Index, d.Name)
		}
	}
}

func (n *Node) addUplink(tb testing.TB, index int, name string) {
	tb.Helper()
	address := network.NewAddressStatus(network.NamespaceName, name+"/10.5.0.3/24")
	address.TypedSpec().Address = netip.MustParsePrefix("10.5.0.3/24")
	address.TypedSpec().LinkIndex, address.TypedSpec().LinkName = uint32(index), name
	route := network.NewRouteStatus(network.NamespaceName, name+"/inet4/10.5.0.1//1024")
	r := route.TypedSpec()
	r.Family, r.Gateway, r.OutLinkIndex, r.OutLinkName = nethelpers.FamilyInet4, netip.MustParseAddr("10.5.0.1"), uint32(index), name
	r.Table, r.Type = nethelpers.TableMain, nethelpers.TypeUnicast
	n.Add(tb, address, route)
}

func mac(tb testing.TB, s string) net.HardwareAddr {
	tb.Helper()
	if s == "" {
		return nil
	}
	a, err := net.ParseMAC(s)
	if err != nil {
		tb.Fatal(err)
	}
	return a
}
