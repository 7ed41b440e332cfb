package op

import (
	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
)

// SetNumVFs makes N VFs where there are none (sriov_numvfs), or takes all away when
// N is 0.
type SetNumVFs struct {
	OnPF
	Found
	N Count
	// Destroys are the VFs that cease to exist.
	Destroys []int
}

func (SetNumVFs) Kind() Kind       { return KindNumVFs }
func (o SetNumVFs) Object() string { return sysfs.Shown(sysfs.NumVFs(o.Address)) }
func (o SetNumVFs) Want() Value    { return o.N }

// VFs are those that are made, or cease to exist.
func (o SetNumVFs) VFs() []int {
	if o.N == 0 {
		return o.Destroys
	}
	vfs := make([]int, o.N)
	for i := range vfs {
		vfs[i] = i
	}
	return vfs
}

func (o SetNumVFs) Read(pf *inventory.PF) (Value, bool) { return Count(pf.NumVFs), true }

// SetAutoProbe sets whether VFs are offered to drivers as they appear
// (sriov_drivers_autoprobe).
type SetAutoProbe struct {
	OnPF
	Found
	On Flag
}

func (SetAutoProbe) Kind() Kind                            { return KindAutoProbe }
func (o SetAutoProbe) Object() string                      { return sysfs.Shown(sysfs.DriversAutoprobe(o.Address)) }
func (o SetAutoProbe) Want() Value                         { return o.On }
func (o SetAutoProbe) Read(pf *inventory.PF) (Value, bool) { return Flag(pf.AutoProbe), true }

// SetEswitchMode sets the eswitch mode by devlink.
type SetEswitchMode struct {
	OnPF
	Found
	Mode EswitchMode
}

func (SetEswitchMode) Kind() Kind       { return KindEswitch }
func (o SetEswitchMode) Object() string { return "devlink pci/" + o.Address + " eswitch mode" }
func (o SetEswitchMode) Want() Value    { return o.Mode }
func (o SetEswitchMode) Read(pf *inventory.PF) (Value, bool) {
	return EswitchMode(pf.EswitchMode), pf.EswitchMode != ""
}

// SetSteeringMode sets the devlink parameter, where the driver has it.
type SetSteeringMode struct {
	OnPF
	Mode SteeringMode
}

// ParamSteeringMode is the name of the devlink parameter.
const ParamSteeringMode = "flow_steering_mode"

func (SetSteeringMode) Kind() Kind { return KindSteering }
func (o SetSteeringMode) Object() string {
	return "devlink pci/" + o.Address + " param " + ParamSteeringMode
}
func (SetSteeringMode) From() Value                      { return nil }
func (o SetSteeringMode) Want() Value                    { return o.Mode }
func (SetSteeringMode) Read(*inventory.PF) (Value, bool) { return nil, false }

// SetTCOffload sets the ethtool feature hw-tc-offload of the PF's interface.
type SetTCOffload struct {
	OnPF
	On Switch
}

func (SetTCOffload) Kind() Kind       { return KindTCOffload }
func (o SetTCOffload) Object() string { return "ethtool " + o.Name + " hw-tc-offload" }
func (SetTCOffload) From() Value      { return nil }
func (o SetTCOffload) Want() Value    { return o.On }
func (o SetTCOffload) Read(pf *inventory.PF) (Value, bool) {
	if pf.TCOffload == nil {
		return nil, false
	}
	return Switch(*pf.TCOffload), true
}

// SetMTU sets the MTU of one of the PF's interfaces.
type SetMTU struct {
	OnPF
	Found
	Netdev string
	MTU    MTU
}

func (SetMTU) Kind() Kind       { return KindPFMTU }
func (o SetMTU) Object() string { return sysfs.Shown(sysfs.NetAttr(o.Netdev, sysfs.NetMTU)) }
func (o SetMTU) Want() Value    { return o.MTU }
func (o SetMTU) Read(pf *inventory.PF) (Value, bool) {
	if d := netdev(pf.Netdevs, o.Netdev); d != nil {
		return MTU(d.MTU), true
	}
	return nil, false
}

// SetPFUp brings the PF's interface administratively up.
type SetPFUp struct {
	OnPF
	Found
}

func (SetPFUp) Kind() Kind       { return KindPFUp }
func (o SetPFUp) Object() string { return "netlink " + o.Name }
func (SetPFUp) Want() Value      { return AdminUp(true) }
func (o SetPFUp) Read(pf *inventory.PF) (Value, bool) {
	if d := netdev(pf.Netdevs, o.Name); d != nil {
		return AdminUp(d.AdminUp), true
	}
	return nil, false
}

func netdev(netdevs []inventory.Netdev, name string) *inventory.Netdev {
	for i := range netdevs {
		if netdevs[i].Name == name {
			return &netdevs[i]
		}
	}
	return nil
}
