package apply

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/talos-sriov/talos-sriov/pkg/nic"
	"github.com/talos-sriov/talos-sriov/pkg/nl"
	"github.com/talos-sriov/talos-sriov/pkg/op"
	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
)

// vfAddress is the PCI address of the VF with the index now.
func (r *run) vfAddress(index int) (string, error) {
	l, err := r.a.sys.ReadLink(sysfs.VirtFn(r.pf.Address, index))
	if err != nil {
		return "", err
	}
	return sysfs.Base(l), nil
}

// vfLink is the VF's interface; errNotYet when it has none here.
func (r *run) vfLink(vf op.OnVF) (nl.LinkRef, error) {
	l, err := r.link(sysfs.VirtFn(vf.Address, vf.Index), "")
	if errors.Is(err, unix.ENODEV) {
		return l, errNotYet
	}
	return l, err
}

// link is the interface of the device: the one with the name, else the first
// that is no representor.
func (r *run) link(device, name string) (nl.LinkRef, error) {
	names, err := r.a.sys.ReadDir(sysfs.Netdevs(device))
	if err != nil && !sysfs.IsAbsent(err) {
		return nl.LinkRef{}, err
	}
	found := ""
	for _, n := range names {
		port, _ := sysfs.ReadString(r.a.sys, sysfs.NetAttr(n, sysfs.NetPhysPortName))
		if n == name || found == "" && !nic.ParsePort(port).Representor {
			found = n
		}
	}
	if found == "" {
		return nl.LinkRef{}, fmt.Errorf("%s has no network interface: %w", device, unix.ENODEV)
	}
	index, err := sysfs.ReadInt(r.a.sys, sysfs.NetAttr(found, sysfs.NetIfIndex))
	if err != nil {
		return nl.LinkRef{}, err
	}
	return nl.LinkRef{Index: index, Name: found}, nil
}

// carrier reports whether the PF's port has a link now: making VFs takes it down
// for a moment with some drivers, so what the plan saw does not count.
func (r *run) carrier() bool {
	l, err := r.link(sysfs.Device(r.pf.Address), r.pf.Name)
	if err != nil {
		return false
	}
	on, err := sysfs.ReadInt(r.a.sys, sysfs.NetAttr(l.Name, sysfs.NetCarrier))
	return err == nil && on == 1
}
