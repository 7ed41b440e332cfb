package op

import (
	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
)

// AddVDPA makes the VF's vDPA device.
type AddVDPA struct {
	OnVF
	VFAddress string // "" while the VF is not made
}

func (AddVDPA) Kind() Kind     { return KindVDPAAdd }
func (AddVDPA) Object() string { return "netlink vdpa" }
func (AddVDPA) From() Value    { return nil }
func (o AddVDPA) Want() Value  { return VDPAOf{Index: o.Index, Address: o.VFAddress} }
func (o AddVDPA) Read(pf *inventory.PF) (Value, bool) {
	vf := pf.VF(o.Index)
	if vf != nil && vf.VDPA != nil && vf.VDPA.Name == VDPAName(vf.Address) {
		return VDPAOf{Index: o.Index, Address: vf.Address}, true
	}
	return o.vdpa(pf)
}

// vdpa is the vDPA device that the VF has, whoever made it.
func (v OnVF) vdpa(pf *inventory.PF) (Value, bool) {
	vf := pf.VF(v.Index)
	switch {
	case vf == nil:
		return nil, false
	case vf.VDPA == nil:
		return VDPADevice(""), true
	}
	return VDPADevice(vf.VDPA.Name), true
}

// DeleteVDPA removes the VF's vDPA device.
type DeleteVDPA struct {
	OnVF
	Device VDPADevice
}

func (DeleteVDPA) Kind() Kind                            { return KindVDPADel }
func (o DeleteVDPA) Object() string                      { return "netlink vdpa " + o.Device.String() }
func (o DeleteVDPA) From() Value                         { return o.Device }
func (DeleteVDPA) Want() Value                           { return VDPADevice("") }
func (o DeleteVDPA) Read(pf *inventory.PF) (Value, bool) { return o.vdpa(pf) }

// BindVDPA gives the VF's vDPA device to one driver for good.
type BindVDPA struct {
	OnVF
	Found
	Driver Driver
}

func (BindVDPA) Kind() Kind       { return KindVDPADriver }
func (o BindVDPA) Object() string { return sysfs.Shown(sysfs.VDPADriverBind(string(o.Driver))) }
func (o BindVDPA) Want() Value    { return o.Driver }
func (o BindVDPA) Read(pf *inventory.PF) (Value, bool) {
	if vf := pf.VF(o.Index); vf != nil && vf.VDPA != nil {
		return Driver(vf.VDPA.Driver), true
	}
	return nil, false
}
