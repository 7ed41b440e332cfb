package modelkernel

import (
	"fmt"
	"strconv"

	"github.com/talos-sriov/talos-sriov/pkg/nl"
	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
)

// The parts of a machine that have no behaviour here: they are there, and are read.

// Set makes attributes, by name below /sys.
func (k *Kernel) Set(attributes map[string]string) {
	k.mu.Lock()
	for name, value := range attributes {
		k.constant(name, value)
	}
	k.mu.Unlock()
	k.changed()
}

// AddNIC plugs a network function without SR-IOV in.
func (k *Kernel) AddNIC(p PF) {
	k.mu.Lock()
	d := &device{
		addr: p.Address, path: "devices/pci0000:00/" + p.Address, spec: p,
		vendor: p.Vendor, id: p.Device, class: "020000", group: k.group(), numa: p.NUMA, mac: p.MAC, mtu: 1500, up: !p.Down,
	}
	k.addDevice(d)
	k.bind(d, p.Driver, p.Name, true)
	k.mu.Unlock()
	k.changed()
}

// AddRepresentor makes the interface on the host that stands for a VF in switchdev
// mode.
func (k *Kernel) AddRepresentor(pf, name string, vf int) {
	k.mu.Lock()
	d := k.devices[pf]
	l := nl.Link{
		Index: k.nextIf, Name: name, Type: nl.TypeEthernet, Up: true, MTU: 1500, ParentDev: pf, ParentBus: nl.BusPCI,
		PhysSwitchID: d.spec.SwitchID, PhysPortName: fmt.Sprintf("pf0vf%d", vf),
	}
	k.nextIf++
	k.host.virtual[name] = l
	dir := d.path + "/net/" + name
	k.constant(dir+"/"+sysfs.NetIfIndex, strconv.Itoa(l.Index))
	k.constant(dir+"/"+sysfs.NetPhysPortName, l.PhysPortName)
	k.symlink(sysfs.Net(name), dir)
	k.mu.Unlock()
	k.changed()
}

// AddSubfunction makes a subfunction of the PF, with an interface, an RDMA device
// and a vDPA device. Its names are DRIVER.sf.NUM and what derives from it.
func (k *Kernel) AddSubfunction(pf, driver string, num int) {
	k.mu.Lock()
	name := fmt.Sprintf("%s.sf.%d", driver, num)
	dir := k.devices[pf].path + "/" + name
	k.constant(dir+"/"+sysfs.AttrSFNum, strconv.Itoa(num))
	k.symlink(dir+"/"+sysfs.LinkDriver, "bus/auxiliary/drivers/"+driver)
	k.mkdir("bus/auxiliary/drivers/" + driver)
	k.symlink(sysfs.AuxiliaryDevices+"/"+name, dir)
	ifname := "sf" + strconv.Itoa(num)
	k.host.virtual[ifname] = nl.Link{Index: k.nextIf, Name: ifname, Type: nl.TypeEthernet, MTU: 1500}
	k.nextIf++
	k.constant(dir+"/net/"+ifname+"/"+sysfs.NetIfIndex, strconv.Itoa(k.nextIf-1))
	k.symlink(sysfs.Net(ifname), dir+"/net/"+ifname)
	k.addRDMA(dir, "mlx5_sf"+strconv.Itoa(num))
	k.mkdir(dir + "/vdpa" + strconv.Itoa(num))
	k.symlink(sysfs.VDPADevice("vdpa"+strconv.Itoa(num)), dir+"/vdpa"+strconv.Itoa(num))
	k.mu.Unlock()
	k.changed()
}

// addRDMA makes an RDMA device of the function with the directory.
func (k *Kernel) addRDMA(dir, name string) {
	dev := dir + "/infiniband/" + name
	k.constant(dev+"/node_guid", "0c42:a103:0000:0001")
	k.constant(dev+"/ports/1/pkeys/0", "0xffff")
	k.symlink(sysfs.InfiniBandClass+"/"+name, dev)
	verbs := "uverbs" + strconv.Itoa(k.nextRDMA)
	k.nextRDMA++
	k.constant(dir+"/infiniband_verbs/"+verbs+"/ibdev", name)
	k.symlink(sysfs.VerbsClass+"/"+verbs, dir+"/infiniband_verbs/"+verbs)
}

func (k *Kernel) removeRDMA(dir, name string) {
	k.rm(sysfs.InfiniBandClass + "/" + name)
	if n, _ := k.find(dir+"/infiniband_verbs", false); n != nil {
		for verbs := range n.dir {
			k.rm(sysfs.VerbsClass + "/" + verbs)
		}
	}
	k.rm(dir + "/infiniband")
	k.rm(dir + "/infiniband_verbs")
}

// Full is a machine with something in every field that inventory.Read fills of one
// that answers.
func Full() *Kernel {
	const igb, mlx, ice, nic = "0000:21:00.0", "0000:01:00.0", "0000:17:00.0", "0000:05:00.0"
	k := New(append(Standard(), Driver{Name: "uio_pci_generic", Loaded: true}, Driver{Name: "e1000e", Netdev: true, Loaded: true})...)
	k.AddPF(PF{Address: igb, Vendor: "8086", Device: "10c9", VFDevice: "10ca", Driver: "igb", Total: 7, Name: "enp33s0", MAC: "52:54:00:00:00:01", AltNames: []string{"lan"}, NUMA: 1})
	k.AddPF(PF{Address: mlx, Vendor: "15b3", Device: "1021", VFDevice: "101e", Driver: "mlx5_core", Total: 8, Name: "enp1s0f0np0", MAC: "b8:3f:d2:00:00:01", Offset: 2, Stride: 1, Eswitch: true, SwitchID: "0100d2", PortName: "p0"})
	k.AddPF(PF{Address: ice, Vendor: "8086", Device: "159b", VFDevice: "1889", Driver: "ice", Total: 8, Name: "ens1f0", MAC: "b4:96:91:00:00:01", Offset: 8, Stride: 1, Eswitch: true, DDP: "ICE COMMS Package", Mute: []string{"trust"}})
	k.AddNIC(PF{Address: nic, Vendor: "8086", Device: "10d3", Driver: "e1000e", Name: "enp5s0", MAC: "52:54:00:00:00:09"})
	write := func(name, value string) { _ = k.Write(name, value) } // a test of the model would see it fail
	write(sysfs.NumVFs(mlx), "2")
	k.edit(mlx, func(d *device) { d.eswitch, d.tcOffload = "switchdev", true })
	k.AddRepresentor(mlx, "eth0", 0)
	k.LoadVDPA("vhost_vdpa")
	k.edit("0000:01:00.2", func(d *device) {
		d.vdpa = &vdpa{name: "vdpa0", driver: "vhost_vdpa"}
		k.mkdir(d.path + "/vdpa0/vhost-vdpa-0")
		k.symlink(d.path+"/vdpa0/"+sysfs.LinkDriver, "bus/vdpa/drivers/vhost_vdpa")
		k.symlink(sysfs.VDPADevice("vdpa0"), d.path+"/vdpa0")
	})
	k.AddSubfunction(mlx, "mlx5_core", 4)

	write(sysfs.NumVFs(ice), "3")
	k.edit(ice, func(d *device) {
		d.vfs[0].admin.vlan, d.vfs[0].admin.minRate, d.vfs[0].admin.maxRate = nl.VLAN{ID: 5, QoS: 3, Proto: nl.Proto8021AD}, 1, 2
		d.vfs[0].admin.state = nl.LinkStateEnable
	})
	write(sysfs.NumVFs(igb), "3")
	k.edit(igb, func(d *device) { d.vfs[2].admin.trust = true })
	for i, driver := range []string{"vfio-pci", "uio_pci_generic"} {
		vf := fmt.Sprintf("0000:21:10.%d", 2*i)
		write(sysfs.DriverUnbind("igbvf"), vf)
		write(sysfs.DriverOverride(vf), driver)
		write(sysfs.DriversProbe(), vf)
	}
	k.edit("0000:21:10.0", func(d *device) { k.constant(sysfs.IOMMUGroupName(d.group), "vfio-noiommu") })
	k.edit("0000:21:10.2", func(d *device) {
		k.mkdir(d.path + "/uio/uio0")
		k.symlink(sysfs.UIOClass+"/uio0", d.path+"/uio/uio0")
	})
	k.Set(map[string]string{
		"devices/pci0000:00/" + nic + "/" + sysfs.AttrACPIIndex: "3", "devices/pci0000:00/" + igb + "/" + sysfs.AttrACPIIndex: "1",
		"devices/pci0000:00/" + igb + "/" + sysfs.AttrAERFatal: "TOTAL_ERR_FATAL 1", "devices/pci0000:00/" + igb + "/" + sysfs.AttrAERNonFatal: "TOTAL_ERR_NONFATAL 2",
		"devices/pci0000:00/" + igb + "/net/enp33s0/" + sysfs.NetSpeed: "1000",
		sysfs.MiscClass + "/vhost-net/dev":                             "10:238", sysfs.MiscClass + "/tun/dev": "10:200", sysfs.MiscClass + "/rdma_cm/dev": "10:121",
	})
	k.AddLink("bond0", "bond", "")
	k.SetMaster("enp33s0", "bond0")
	k.SetAddrs("bond0", "10.0.0.5/24")
	k.SetDefaultRoute("bond0")
	k.SetAddrs("enp33s0v2", "10.9.0.7/24")
	k.SetAddrs("enp5s0", "10.8.0.7/24")
	return k
}

// edit changes a device.
func (k *Kernel) edit(addr string, f func(*device)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f(k.devices[addr])
}
