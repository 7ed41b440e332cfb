package modelkernel

import (
	"context"

	"golang.org/x/sys/unix"

	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
)

// vdpa is a vDPA device.
type vdpa struct {
	name, driver, override string
}

// LoadVDPA loads vhost_vdpa or virtio_vdpa.
func (k *Kernel) LoadVDPA(driver string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.vdpaDrivers == nil {
		k.vdpaDrivers = map[string]bool{}
	}
	k.vdpaDrivers[driver] = true
	k.mkdir("bus/vdpa/drivers/" + driver)
}

// VDPAAdd implements apply.Links.
func (k *Kernel) VDPAAdd(ctx context.Context, name, _, dev string) error {
	return k.request(ctx, "vdpa/"+name, "add", func() unix.Errno {
		d := k.devices[dev]
		switch {
		case d == nil || d.pf == nil || d.driver == "" || d.pf.eswitch != "switchdev":
			return unix.ENODEV
		case d.vdpa != nil:
			return unix.EEXIST
		}
		d.vdpa = &vdpa{name: name}
		k.mkdir(d.path + "/" + name)
		k.symlink(sysfs.VDPADevice(name), d.path+"/"+name)
		return 0
	})
}

// VDPADel implements apply.Links.
func (k *Kernel) VDPADel(ctx context.Context, name string) error {
	return k.request(ctx, "vdpa/"+name, "del", func() unix.Errno {
		for _, d := range k.devices {
			if d.vdpa != nil && d.vdpa.name == name {
				if d.holder != "" {
					k.violations = append(k.violations, name+" removed while "+d.holder+" holds it")
				}
				k.removeVDPA(d)
				return 0
			}
		}
		return unix.ENODEV
	})
}

func (k *Kernel) removeVDPA(d *device) {
	k.rm(sysfs.VDPADevice(d.vdpa.name))
	k.rm(d.path + "/" + d.vdpa.name)
	d.vdpa = nil
}

// storeVDPA is a write below bus/vdpa.
func (k *Kernel) storeVDPA(dir, attr, value string) unix.Errno {
	name := value
	if attr == sysfs.AttrDriverOverride {
		name = dir
	}
	for _, d := range k.devices {
		if d.vdpa == nil || d.vdpa.name != name {
			continue
		}
		link := d.path + "/" + name + "/" + sysfs.LinkDriver
		switch attr {
		case sysfs.AttrDriverOverride:
			d.vdpa.override = value
		case "bind":
			if !k.vdpaDrivers[dir] {
				return unix.ENOENT
			}
			d.vdpa.driver = dir
			k.symlink(link, "bus/vdpa/drivers/"+dir)
		case "unbind":
			if d.holder != "" {
				k.violations = append(k.violations, name+" unbound while "+d.holder+" holds it")
			}
			d.vdpa.driver = ""
			k.rm(link)
		}
		return 0
	}
	return unix.ENODEV
}
