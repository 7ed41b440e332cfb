package vf

import (
	"context"
	"errors"
	"io/fs"
	"slices"

	"github.com/talos-sriov/talos-sriov/pkg/cni/fault"
	"github.com/talos-sriov/talos-sriov/pkg/nic"
	"github.com/talos-sriov/talos-sriov/pkg/nl"
	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
)

// VF is what sysfs has of a virtual function now.
type VF struct {
	Address string // PCI address
	Master  string // name of the PF's interface
	Index   int    // at its PF
	Driver  string // "" when unbound
	Netdev  string // its interface in the host's network namespace, "" when none
	RDMA    []string
}

// Userspace reports whether a program drives the VF itself (DPDK, a VM).
func (v VF) Userspace() bool { return nic.Userspace(v.Driver) }

// PFRef selects the PF's interface.
func (v VF) PFRef() nl.LinkRef { return nl.LinkRef{Name: v.Master} }

// Find finds the VF with the PCI address. The error has in which way it is no VF.
func Find(t sysfs.Tree, addr string) (VF, error) {
	vf := VF{Address: addr, Index: -1}
	link, err := t.ReadLink(sysfs.DeviceAttr(addr, sysfs.LinkPhysFn))
	if err != nil {
		return vf, noVF(t, addr, err)
	}
	pf := sysfs.Base(link)
	if vf.Index, err = index(t, pf, addr); err != nil {
		return vf, err
	}
	if vf.Master, err = uplink(t, pf); err != nil {
		return vf, err
	}
	if to, err := t.ReadLink(sysfs.Driver(addr)); err == nil {
		vf.Driver = sysfs.Base(to)
	}
	netdevs, err := Netdevs(t, addr)
	if err != nil {
		return vf, fault.Wrapf(err, fault.CodeReadVF, "", "list the interfaces of VF %s", addr)
	}
	if len(netdevs) > 0 {
		vf.Netdev = netdevs[0]
	}
	vf.RDMA, err = list(t, sysfs.RDMADevices(sysfs.Device(addr)))
	return vf, fault.Wrapf(err, fault.CodeReadVF, "", "list the RDMA devices of VF %s", addr)
}

// index is the VF's place among those of its PF.
func index(t sysfs.Tree, pf, addr string) (int, error) {
	names, err := list(t, sysfs.Device(pf))
	if err != nil {
		return -1, fault.Wrapf(err, fault.CodeReadVF, "", "list the VFs of PF %s", pf)
	}
	for _, name := range names {
		i, ok := sysfs.VirtFnIndex(name)
		if !ok {
			continue
		}
		to, err := t.ReadLink(sysfs.DeviceAttr(pf, name))
		if err == nil && sysfs.Base(to) == addr { // a VF that goes away meanwhile is not this one
			return i, nil
		}
	}
	return -1, fault.Newf(fault.CodeGone, "the PF's VFs are being made or removed; the retry will see",
		"VF %s is not among those of PF %s", addr, pf)
}

// noVF distinguishes a PF, a plain function and nothing at all.
func noVF(t sysfs.Tree, addr string, err error) error {
	if !sysfs.IsAbsent(err) {
		return fault.Wrapf(err, fault.CodeReadVF, "", "look up VF %s", addr)
	}
	if _, err := t.ReadFile(sysfs.TotalVFs(addr)); err == nil {
		return fault.Newf(fault.CodeIsPF, "give a VF's address; handing out a PF needs the host-device plugin", "%s is a PF, not a VF", addr)
	}
	if _, err := t.ReadDir(sysfs.Device(addr)); err == nil {
		return fault.Newf(fault.CodeNotVF, "deviceID must be the address of a virtual function of an SR-IOV NIC", "%s is not a VF: it has no PF", addr)
	}
	return fault.Newf(fault.CodeGone, "the PF's VFs were removed or created again since the device was allotted; delete the pod, its controller will make a new one",
		"there is no PCI function %s on this node", addr)
}

// uplink is the PF's own interface. In switchdev mode the VFs' representors
// are in the same directory.
func uplink(t sysfs.Tree, pf string) (string, error) {
	names, err := Netdevs(t, pf)
	if err != nil {
		return "", fault.Wrapf(err, fault.CodeReadVF, "", "list the interfaces of PF %s", pf)
	}
	for _, name := range names {
		port, _ := sysfs.ReadString(t, sysfs.NetAttr(name, sysfs.NetPhysPortName))
		if !nic.ParsePort(port).Representor {
			return name, nil
		}
	}
	return "", fault.Newf(fault.CodeReadVF, "is the PF's driver bound, or was its interface moved to another network namespace?",
		"PF %s has no network interface on the host", pf)
}

// Netdevs lists a function's interfaces in the host's network namespace.
func Netdevs(t sysfs.Tree, addr string) ([]string, error) {
	return list(t, sysfs.Netdevs(sysfs.Device(addr)))
}

// Reader reads the attributes of a PF's VFs.
type Reader interface {
	VFs(ctx context.Context, pf nl.LinkRef) ([]nl.VFInfo, error)
}

// Info is what the PF holds for the VF; ok is false when its driver reports
// nothing.
func Info(ctx context.Context, host Reader, v VF) (info nl.VFInfo, ok bool, err error) {
	all, err := host.VFs(ctx, v.PFRef())
	if err != nil {
		return nl.VFInfo{}, false, err
	}
	i := slices.IndexFunc(all, func(x nl.VFInfo) bool { return x.Index == v.Index })
	if i < 0 {
		return nl.VFInfo{}, false, nil
	}
	return all[i], true, nil
}

// list is ReadDir where a missing directory has no entries.
func list(t sysfs.Tree, name string) ([]string, error) {
	names, err := t.ReadDir(name)
	if err != nil && (sysfs.IsAbsent(err) || errors.Is(err, fs.ErrNotExist)) {
		return nil, nil
	}
	return names, err
}
