package op

import (
	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
)

// AwaitNetdevs waits until each of the VFs has an interface.
type AwaitNetdevs struct {
	OnPF
	Indexes []int
}

func (AwaitNetdevs) Kind() Kind                       { return KindAwait }
func (o AwaitNetdevs) VFs() []int                     { return o.Indexes }
func (o AwaitNetdevs) Object() string                 { return sysfs.Shown(sysfs.AllVFNets(o.Address)) }
func (AwaitNetdevs) From() Value                      { return nil }
func (AwaitNetdevs) Want() Value                      { return nil }
func (AwaitNetdevs) Read(*inventory.PF) (Value, bool) { return nil, false }
func (AwaitNetdevs) Writes() bool                     { return false }

// AwaitVFAddress waits until the VF's interface has the address. A driver that does
// not take the admin MAC is reported, and not bound again.
type AwaitVFAddress struct {
	OnVF
	MAC MAC
}

func (AwaitVFAddress) Kind() Kind { return KindAwaitAddress }
func (o AwaitVFAddress) Object() string {
	return sysfs.Shown(sysfs.VFNetAttr(o.Address, o.Index, sysfs.NetAddress))
}
func (AwaitVFAddress) From() Value   { return nil }
func (o AwaitVFAddress) Want() Value { return o.MAC }
func (o AwaitVFAddress) Read(pf *inventory.PF) (Value, bool) {
	vf := pf.VF(o.Index)
	if vf == nil || len(vf.Netdevs) == 0 {
		return nil, false
	}
	mac, ok := address(vf.Netdevs[0].MAC)
	return MAC(mac), ok
}
func (AwaitVFAddress) Writes() bool { return false }

// AwaitVFRDMA waits until the VF has an RDMA device.
type AwaitVFRDMA struct{ OnVF }

func (AwaitVFRDMA) Kind() Kind                       { return KindAwaitRDMA }
func (o AwaitVFRDMA) Object() string                 { return sysfs.Shown(sysfs.VFRDMA(o.Address, o.Index)) }
func (AwaitVFRDMA) From() Value                      { return nil }
func (AwaitVFRDMA) Want() Value                      { return nil }
func (AwaitVFRDMA) Read(*inventory.PF) (Value, bool) { return nil, false }
func (AwaitVFRDMA) Writes() bool                     { return false }
