package op

import (
	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
)

// UnbindVF takes the VF from its driver.
type UnbindVF struct {
	OnVF
	Driver Driver // that has it
}

func (UnbindVF) Kind() Kind       { return KindVFUnbind }
func (o UnbindVF) Object() string { return sysfs.Shown(sysfs.DriverUnbind(string(o.Driver))) }
func (o UnbindVF) From() Value    { return o.Driver }
func (UnbindVF) Want() Value      { return Driver("") }
func (o UnbindVF) Read(pf *inventory.PF) (Value, bool) {
	return o.driver(pf)
}

func (v OnVF) driver(pf *inventory.PF) (Value, bool) {
	if vf := pf.VF(v.Index); vf != nil {
		return Driver(vf.Driver), true
	}
	return nil, false
}

// SetDriverOverride names the only driver that may bind the VF; "" lets every
// driver.
type SetDriverOverride struct {
	OnVF
	Found
	Driver Driver
}

func (SetDriverOverride) Kind() Kind { return KindVFOverride }
func (o SetDriverOverride) Object() string {
	return sysfs.Shown(sysfs.VFDriverOverride(o.Address, o.Index))
}
func (o SetDriverOverride) Want() Value { return o.Driver }
func (o SetDriverOverride) Read(pf *inventory.PF) (Value, bool) {
	if vf := pf.VF(o.Index); vf != nil {
		return Driver(vf.DriverOverride), true
	}
	return nil, false
}

// ProbeVF offers an unbound VF to the drivers.
type ProbeVF struct {
	OnVF
	Driver Driver // that is expected to bind it, "" when that is not known
}

func (ProbeVF) Kind() Kind     { return KindVFProbe }
func (ProbeVF) Object() string { return sysfs.Shown(sysfs.DriversProbe()) }
func (ProbeVF) From() Value    { return nil }
func (o ProbeVF) Want() Value {
	if o.Driver == "" {
		return nil
	}
	return o.Driver
}

func (o ProbeVF) Read(pf *inventory.PF) (Value, bool) { return o.driver(pf) }

// SetVFMTU sets the MTU of the VF's interface.
type SetVFMTU struct {
	OnVF
	Found
	Netdev string // "" when its name is not known yet
	MTU    MTU
}

func (SetVFMTU) Kind() Kind { return KindVFMTU }
func (o SetVFMTU) Object() string {
	if o.Netdev == "" {
		return sysfs.Shown(sysfs.VFNetAttr(o.Address, o.Index, sysfs.NetMTU))
	}
	return sysfs.Shown(sysfs.NetAttr(o.Netdev, sysfs.NetMTU))
}
func (o SetVFMTU) Want() Value { return o.MTU }
func (o SetVFMTU) Read(pf *inventory.PF) (Value, bool) {
	if vf := pf.VF(o.Index); vf != nil && len(vf.Netdevs) > 0 {
		return MTU(vf.Netdevs[0].MTU), true
	}
	return nil, false
}
