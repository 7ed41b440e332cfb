package modelkernel

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
)

// Write is what a write(2) to the attribute does. It blocks like the kernel.
func (k *Kernel) Write(name, value string) error {
	defer k.deviceLock(name, value)()
	k.mu.Lock()
	k.writes = append(k.writes, name+"="+value)
	fault := k.fault
	k.mu.Unlock()
	var f Fault
	if fault != nil {
		f = fault(name, value)
	}
	if f.Until != nil {
		<-f.Until
	}
	if f.Errno != 0 && !f.After {
		return k.fail("write", name, value, f.Errno)
	}
	if err := k.store(name, value); err != nil {
		return err
	}
	k.changed()
	if f.Errno != 0 {
		return k.fail("write", name, value, f.Errno)
	}
	return nil
}

// deviceLock takes the device_lock that a read of the attribute, or a write of the value
// to it, takes in the kernel, and returns what lets go of it. There: sriov_numvfs_show
// and _store in drivers/pci/iov.c, driver_override_show in drivers/pci/pci-sysfs.c and
// driver_set_override in drivers/base/driver.c, device_driver_attach and _detach in
// drivers/base/dd.c.
func (k *Kernel) deviceLock(name, value string) (unlock func()) {
	k.mu.Lock()
	var d *device
	switch dir, base := split(name); {
	case strings.HasPrefix(name, "bus/pci/drivers/") && (base == "bind" || base == "unbind"), name == sysfs.DriversProbe():
		d = k.devices[strings.TrimSuffix(value, "\n")]
	case base == sysfs.AttrNumVFs || base == sysfs.AttrDriverOverride:
		if _, at := k.find(dir, true); sysfs.IsPCIAddress(sysfs.Base(at)) {
			d = k.devices[sysfs.Base(at)]
		}
	}
	k.mu.Unlock()
	if d == nil {
		return func() {}
	}
	d.lock.Lock()
	return d.lock.Unlock
}

// store finds the attribute's store function and calls it.
func (k *Kernel) store(name, value string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	errno := unix.Errno(0)
	v := strings.TrimSuffix(value, "\n")
	switch dir, base := split(name); {
	case strings.HasPrefix(name, "bus/vdpa/"):
		errno = k.storeVDPA(sysfs.Base(dir), base, v)
	case name == sysfs.DriversProbe():
		errno = k.storeProbe(v)
	case strings.HasPrefix(name, "bus/pci/drivers/") && (base == "bind" || base == "unbind"):
		errno = k.storeBind(sysfs.Base(dir), v, base == "bind")
	default:
		n, at := k.find(dir, true)
		if n == nil || n.dir[base] == nil {
			return k.fail("open", name, value, unix.ENOENT)
		}
		d := k.devices[sysfs.PCIAddress(at)]
		switch base {
		case sysfs.AttrNumVFs:
			errno = k.storeNumVFs(d, v)
		case sysfs.AttrDriversAutoprobe:
			errno = storeAutoprobe(d, v)
		case sysfs.AttrDriverOverride:
			d.override = v
		default:
			errno = unix.EACCES
		}
	}
	if errno != 0 {
		return k.fail("write", name, value, errno)
	}
	return nil
}

func split(name string) (dir, base string) {
	i := strings.LastIndexByte(name, '/')
	return name[:max(i, 0)], name[i+1:]
}

func storeAutoprobe(d *device, v string) unix.Errno {
	switch v {
	case "0", "1":
		d.autoprobe = v == "1"
		return 0
	}
	return unix.EINVAL
}

// storeNumVFs is sriov_numvfs_store. k.mu is held; it is let go while the
// kernel would sleep for a vfio device to be closed.
func (k *Kernel) storeNumVFs(d *device, v string) unix.Errno {
	n, err := strconv.Atoi(v)
	switch {
	case err != nil || n < 0:
		return unix.EINVAL
	case n > d.spec.Total:
		return unix.ERANGE
	case n == len(d.vfs):
		return 0
	case d.driver == "":
		return unix.ENOENT
	case n == 0:
		for len(d.vfs) > 0 {
			vf := d.vfs[len(d.vfs)-1]
			if vf.holder != "" {
				k.violations = append(k.violations, fmt.Sprintf("%s destroyed while %s holds it", vf.addr, vf.holder))
			}
			if c := vf.released; c != nil {
				k.mu.Unlock()
				vf.lock.Lock() // of device_release_driver
				<-c
				vf.lock.Unlock()
				k.mu.Lock()
			}
			k.removeDevice(vf)
			d.vfs = d.vfs[:len(d.vfs)-1]
		}
		return 0
	case len(d.vfs) > 0:
		return unix.EBUSY
	}
	for i := range n {
		vf := &device{
			addr: vfAddress(d.addr, d.spec.Offset+i*d.spec.Stride), pf: d, index: i,
			vendor: d.vendor, id: d.spec.VFDevice, class: d.class, group: k.group(), numa: d.numa,
			admin: newAdmin(), mac: fmt.Sprintf("02:%02x:%02x:%02x:00:%02x", k.nextGrp>>8&0xff, k.nextGrp&0xff, d.ifidx&0xff, i), mtu: 1500,
		}
		vf.path = "devices/pci0000:00/" + vf.addr
		k.addDevice(vf)
		k.symlink(d.path+"/"+sysfs.PrefixVirtFn+strconv.Itoa(i), vf.path)
		k.symlink(vf.path+"/"+sysfs.LinkPhysFn, d.path)
		d.vfs = append(d.vfs, vf)
		k.probe(vf)
	}
	return 0
}

// vfAddress adds the offset to the routing id of the PF.
func vfAddress(pf string, offset int) string {
	bus, _ := strconv.ParseInt(pf[len(pf)-7:len(pf)-5], 16, 32)
	dev, _ := strconv.ParseInt(pf[len(pf)-4:len(pf)-2], 16, 32)
	fn, _ := strconv.ParseInt(pf[len(pf)-1:], 16, 32)
	rid := int(bus<<8|dev<<3|fn) + offset
	return fmt.Sprintf("%s%02x:%02x.%d", pf[:len(pf)-7], rid>>8, rid>>3&0x1f, rid&7)
}

func (k *Kernel) addDevice(d *device) {
	k.devices[d.addr] = d
	k.constant(d.path+"/"+sysfs.AttrVendor, "0x"+d.vendor)
	k.constant(d.path+"/"+sysfs.AttrDevice, "0x"+d.id)
	k.constant(d.path+"/"+sysfs.AttrClass, "0x"+d.class)
	k.constant(d.path+"/"+sysfs.AttrNUMANode, strconv.Itoa(d.numa))
	k.file(d.path+"/"+sysfs.AttrDriverOverride, func() string {
		if d.override == "" {
			return "(null)\n"
		}
		return d.override + "\n"
	})
	g := "kernel/iommu_groups/" + strconv.Itoa(d.group)
	k.constant(g+"/name", "")
	k.symlink(d.path+"/"+sysfs.LinkIOMMUGroup, g)
	k.symlink(sysfs.Device(d.addr), d.path)
}

func (k *Kernel) removeDevice(d *device) {
	k.unbind(d)
	if d.pf != nil {
		k.rm(d.pf.path + "/" + sysfs.PrefixVirtFn + strconv.Itoa(d.index))
	}
	k.rm(sysfs.Device(d.addr))
	k.rm(d.path)
	k.rm("kernel/iommu_groups/" + strconv.Itoa(d.group))
	delete(k.devices, d.addr)
}

// storeProbe is drivers_probe: it succeeds also when no driver wants the
// device.
func (k *Kernel) storeProbe(addr string) unix.Errno {
	d := k.devices[addr]
	if d == nil {
		return unix.ENODEV
	}
	k.probe(d)
	return 0
}

func (k *Kernel) storeBind(driver, addr string, bind bool) unix.Errno {
	drv, d := k.drivers[driver], k.devices[addr]
	switch {
	case drv == nil || !drv.Loaded:
		return unix.ENOENT
	case d == nil:
		return unix.ENODEV
	case !bind:
		if d.driver != driver {
			return unix.ENODEV
		}
		if d.holder != "" {
			k.violations = append(k.violations, fmt.Sprintf("%s unbound while %s holds it", d.addr, d.holder))
		}
		if c := d.released; c != nil {
			k.mu.Unlock()
			<-c
			k.mu.Lock()
		}
		k.unbind(d)
		return 0
	case d.driver != "":
		return unix.EBUSY
	case !k.matches(drv, d) || !canProbe(d):
		return unix.ENODEV
	}
	k.bind(d, driver, "", false)
	return 0
}

// canProbe is pci_device_can_probe.
func canProbe(d *device) bool { return d.pf == nil || d.pf.autoprobe || d.override != "" }

// matches is pci_match_device.
func (k *Kernel) matches(drv *Driver, d *device) bool {
	if d.override != "" {
		return d.override == drv.Name
	}
	return slices.Contains(drv.IDs, d.vendor+":"+d.id)
}

// probe offers an unbound device to the drivers.
func (k *Kernel) probe(d *device) {
	if d.driver != "" || !canProbe(d) {
		return
	}
	for _, drv := range k.drivers {
		if drv.Loaded && !drv.Reject && k.matches(drv, d) {
			k.bind(d, drv.Name, "", false)
			return
		}
	}
}

func (k *Kernel) bind(d *device, driver, ifname string, now bool) {
	d.driver = driver
	k.symlink(d.path+"/"+sysfs.LinkDriver, sysfs.DriverDir(driver))
	k.symlink(sysfs.DriverDir(driver)+"/"+d.addr, d.path)
	if d.pf != nil && d.admin.mac != zeroMAC && !k.drivers[driver].DeafMAC {
		d.mac = d.admin.mac
	}
	if k.drivers[driver].RDMA && d.pf != nil {
		d.rdma = "mlx5_" + strconv.Itoa(k.nextRDMA)
		k.addRDMA(d.path, d.rdma)
	}
	if !k.drivers[driver].Netdev || !strings.HasPrefix(d.class, "02") {
		return
	}
	if ifname == "" && d.pf != nil {
		ifname = d.pf.ifname + "v" + strconv.Itoa(d.index)
	} else if ifname == "" {
		ifname = d.spec.Name
	}
	if now || !k.async {
		k.newNetdev(d, ifname)
		return
	}
	k.netdevs.Go(func() {
		k.mu.Lock()
		if k.devices[d.addr] == d && d.driver == driver && d.ifname == "" {
			k.newNetdev(d, ifname)
		}
		k.mu.Unlock()
		k.changed()
	})
}

func (k *Kernel) unbind(d *device) {
	if d.driver == "" {
		return
	}
	// A PF whose driver goes takes its VFs along (pci_disable_sriov in remove).
	for len(d.vfs) > 0 {
		k.removeDevice(d.vfs[len(d.vfs)-1])
		d.vfs = d.vfs[:len(d.vfs)-1]
	}
	if d.ifname != "" {
		k.hideNetdev(d)
		d.ifname = ""
	}
	if d.vdpa != nil {
		k.removeVDPA(d)
	}
	if d.rdma != "" {
		k.removeRDMA(d.path, d.rdma)
		d.rdma = ""
	}
	d.mtu = 1500
	k.rm(d.path + "/" + sysfs.LinkDriver)
	k.rm(sysfs.DriverDir(d.driver) + "/" + d.addr)
	d.driver, d.holder = "", ""
}

func (k *Kernel) newNetdev(d *device, ifname string) {
	d.ifname, d.ifidx = ifname, k.nextIf
	k.nextIf++
	k.showNetdev(d)
}

func (k *Kernel) showNetdev(d *device) {
	p := d.path + "/net/" + d.ifname
	k.constant(p+"/"+sysfs.NetIfIndex, strconv.Itoa(d.ifidx))
	k.constant(p+"/"+sysfs.NetType, "1")
	k.constant(p+"/"+sysfs.NetAddrAssignType, "0")
	k.file(p+"/"+sysfs.NetAddress, func() string { return d.mac + "\n" })
	k.file(p+"/"+sysfs.NetMTU, func() string { return strconv.Itoa(d.mtu) + "\n" })
	k.file(p+"/"+sysfs.NetFlags, func() string {
		if d.up {
			return "0x1003\n"
		}
		return "0x1002\n"
	})
	k.file(p+"/"+sysfs.NetCarrier, func() string {
		if d.carrier() {
			return "1\n"
		}
		return "0\n"
	})
	k.symlink(sysfs.Net(d.ifname), p)
}

func (k *Kernel) hideNetdev(d *device) {
	k.rm(d.path + "/net/" + d.ifname)
	k.rm(d.path + "/net")
	k.rm(sysfs.Net(d.ifname))
}
