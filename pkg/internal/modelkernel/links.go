package modelkernel

import (
	"context"
	"fmt"
	"net"

	"golang.org/x/sys/unix"

	"github.com/talos-sriov/talos-sriov/pkg/nl"
	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
)

const (
	zeroMAC  = "00:00:00:00:00:00"
	zeroGUID = "00:00:00:00:00:00:00:00"
)

// admin is what a PF holds for a VF.
type admin struct {
	mac              string
	vlan             nl.VLAN
	trust, spoof     bool
	queryRSS         bool
	state            nl.LinkState
	minRate, maxRate int
	node, port       string
}

// newAdmin is what igb gives a VF that it makes.
func newAdmin() admin { return admin{mac: zeroMAC, spoof: true, node: zeroGUID, port: zeroGUID} }

// request is one netlink request: counted, delayed and refused like a write.
func (k *Kernel) request(ctx context.Context, name, value string, do func() unix.Errno) error {
	k.mu.Lock()
	k.writes = append(k.writes, name+"="+value)
	fault := k.fault
	k.mu.Unlock()
	var f Fault
	if fault != nil {
		f = fault(name, value)
	}
	if f.Until != nil {
		select {
		case <-f.Until:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	errno := f.Errno
	if errno == 0 || f.After {
		k.mu.Lock()
		if e := do(); e != 0 {
			errno = e
		}
		k.mu.Unlock()
		k.changed()
	}
	if errno != 0 {
		return &nl.Error{Op: "set", Target: name, Value: value, Err: errno}
	}
	return nil
}

func (k *Kernel) byIndex(index int) *device {
	for _, d := range k.devices {
		if d.ifidx == index && d.ifname != "" && (d.holder == "" || d.pf == nil) {
			return d
		}
	}
	return nil
}

// SetMTU implements apply.Links. A VF cannot have more than its PF.
func (k *Kernel) SetMTU(ctx context.Context, ref nl.LinkRef, mtu int) error {
	return k.request(ctx, "netlink/"+ref.Name+"/mtu", fmt.Sprint(mtu), func() unix.Errno {
		d := k.byIndex(ref.Index)
		switch {
		case d == nil:
			return unix.ENODEV
		case d.pf != nil && mtu > d.pf.mtu:
			return unix.EINVAL
		}
		for _, vf := range d.vfs {
			if vf.holder != "" && mtu < d.mtu {
				k.violations = append(k.violations, fmt.Sprintf("MTU of %s lowered while %s holds %s", d.addr, vf.holder, vf.addr))
			}
			if vf.ifname != "" && vf.mtu > mtu {
				return unix.EINVAL
			}
		}
		d.mtu = mtu
		return 0
	})
}

// SetUp implements apply.Links.
func (k *Kernel) SetUp(ctx context.Context, ref nl.LinkRef, up bool) error {
	return k.request(ctx, "netlink/"+ref.Name+"/up", fmt.Sprint(up), func() unix.Errno {
		d := k.byIndex(ref.Index)
		if d == nil {
			return unix.ENODEV
		}
		d.up = up
		return 0
	})
}

// vfSet is rtnl's do_setvfinfo for one attribute.
func (k *Kernel) vfSet(ctx context.Context, pf nl.LinkRef, index int, attr, value string, set func(pf, vf *device) unix.Errno) error {
	return k.request(ctx, fmt.Sprintf("netlink/%s/vf%d/%s", pf.Name, index, attr), value, func() unix.Errno {
		d := k.byIndex(pf.Index)
		switch {
		case d == nil:
			return unix.ENODEV
		case d.spec.Refuse[attr] != 0:
			return d.spec.Refuse[attr]
		case index < 0 || index >= len(d.vfs):
			return unix.EINVAL
		}
		vf := d.vfs[index]
		if vf.holder != "" {
			k.violations = append(k.violations, fmt.Sprintf("%s of %s set while %s holds it", attr, vf.addr, vf.holder))
		}
		return set(d, vf)
	})
}

// SetVFMAC implements apply.Links. Most VF drivers read the address when they
// bind; ice resets the VF.
func (k *Kernel) SetVFMAC(ctx context.Context, pf nl.LinkRef, vf int, mac net.HardwareAddr) error {
	return k.vfSet(ctx, pf, vf, "mac", mac.String(), func(pf, vf *device) unix.Errno {
		vf.admin.mac = mac.String()
		if pf.driver == "ice" && vf.driver == "iavf" {
			vf.mac = vf.admin.mac
		}
		return 0
	})
}

// SetVFVLAN implements apply.Links.
func (k *Kernel) SetVFVLAN(ctx context.Context, pf nl.LinkRef, vf int, vlan nl.VLAN) error {
	return k.vfSet(ctx, pf, vf, "vlan", fmt.Sprint(vlan), func(pf, vf *device) unix.Errno {
		if vlan.Proto == nl.Proto8021AD && pf.driver == "igb" {
			return unix.EPROTONOSUPPORT
		}
		vf.admin.vlan = vlan
		return 0
	})
}

// SetVFTrust implements apply.Links.
func (k *Kernel) SetVFTrust(ctx context.Context, pf nl.LinkRef, vf int, on bool) error {
	return k.vfSet(ctx, pf, vf, "trust", fmt.Sprint(on), func(_, vf *device) unix.Errno {
		vf.admin.trust = on
		return 0
	})
}

// SetVFSpoofCheck implements apply.Links.
func (k *Kernel) SetVFSpoofCheck(ctx context.Context, pf nl.LinkRef, vf int, on bool) error {
	return k.vfSet(ctx, pf, vf, "spoofchk", fmt.Sprint(on), func(_, vf *device) unix.Errno {
		vf.admin.spoof = on
		return 0
	})
}

// SetVFQueryRSS implements apply.Links. Of the drivers here only ixgbe has it.
func (k *Kernel) SetVFQueryRSS(ctx context.Context, pf nl.LinkRef, vf int, on bool) error {
	return k.vfSet(ctx, pf, vf, "query_rss", fmt.Sprint(on), func(pf, vf *device) unix.Errno {
		if pf.driver != "ixgbe" {
			return unix.EOPNOTSUPP
		}
		vf.admin.queryRSS = on
		return 0
	})
}

// SetVFLinkState implements apply.Links.
func (k *Kernel) SetVFLinkState(ctx context.Context, pf nl.LinkRef, vf int, state nl.LinkState) error {
	return k.vfSet(ctx, pf, vf, "state", state.String(), func(pf, vf *device) unix.Errno {
		if pf.driver == "igb" {
			return unix.EOPNOTSUPP
		}
		vf.admin.state = state
		return 0
	})
}

// SetVFRate implements apply.Links. Drivers answer EINVAL without a link.
func (k *Kernel) SetVFRate(ctx context.Context, pf nl.LinkRef, vf, minRate, maxRate int) error {
	return k.vfSet(ctx, pf, vf, "rate", fmt.Sprint(minRate, maxRate), func(pf, vf *device) unix.Errno {
		if minRate > 0 && pf.driver == "igb" || !pf.carrier() {
			return unix.EINVAL
		}
		vf.admin.minRate, vf.admin.maxRate = minRate, maxRate
		return 0
	})
}

// SetVFNodeGUID implements apply.Links.
func (k *Kernel) SetVFNodeGUID(ctx context.Context, pf nl.LinkRef, vf int, guid net.HardwareAddr) error {
	return k.vfSet(ctx, pf, vf, "node_guid", guid.String(), func(_, vf *device) unix.Errno {
		vf.admin.node = guid.String()
		return 0
	})
}

// SetVFPortGUID implements apply.Links.
func (k *Kernel) SetVFPortGUID(ctx context.Context, pf nl.LinkRef, vf int, guid net.HardwareAddr) error {
	return k.vfSet(ctx, pf, vf, "port_guid", guid.String(), func(_, vf *device) unix.Errno {
		vf.admin.port = guid.String()
		return 0
	})
}

// SetEswitchMode implements apply.Links. ice refuses it with VFs, mlx5 with
// bound VFs.
func (k *Kernel) SetEswitchMode(ctx context.Context, _, dev, mode string) error {
	return k.request(ctx, "devlink/"+dev+"/eswitch", mode, func() unix.Errno {
		d := k.devices[dev]
		switch {
		case d == nil:
			return unix.ENODEV
		case d.eswitch == "":
			return unix.EOPNOTSUPP
		case d.driver == "ice" && len(d.vfs) > 0:
			return unix.EOPNOTSUPP
		}
		for _, vf := range d.vfs {
			if vf.driver != "" {
				return unix.EBUSY
			}
		}
		if d.eswitch != mode {
			d.tcOffload = false
		}
		d.eswitch = mode
		return 0
	})
}

// DevlinkParam implements apply.Links.
func (k *Kernel) DevlinkParam(_ context.Context, _, dev, name string) (nl.Param, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if d := k.devices[dev]; d != nil && d.eswitch != "" && name == "flow_steering_mode" {
		return nl.Param{Type: 5, Value: d.steering}, nil
	}
	return nl.Param{}, &nl.Error{Op: "read", Target: dev, Err: nl.ErrUnsupported}
}

// SetDevlinkParam implements apply.Links.
func (k *Kernel) SetDevlinkParam(ctx context.Context, _, dev, name string, value any) error {
	return k.request(ctx, "devlink/"+dev+"/"+name, fmt.Sprint(value), func() unix.Errno {
		d := k.devices[dev]
		if d == nil {
			return unix.ENODEV
		}
		d.steering = fmt.Sprint(value)
		return 0
	})
}

// SetTCOffload implements apply.Links.
func (k *Kernel) SetTCOffload(ctx context.Context, ifname string, on bool) error {
	return k.request(ctx, "ethtool/"+ifname+"/hw-tc-offload", fmt.Sprint(on), func() unix.Errno {
		for _, d := range k.devices {
			if d.ifname == ifname {
				d.tcOffload = on
				return 0
			}
		}
		return unix.ENODEV
	})
}

// Refuse makes the PF's driver refuse attributes of VFs (as `ip link` calls
// them).
func (k *Kernel) Refuse(pf string, attrs map[string]unix.Errno) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.devices[pf].spec.Refuse = attrs
}

// Mute makes the PF's driver not report settings (trust, spoofCheck).
func (k *Kernel) Mute(pf string, settings ...string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.devices[pf].spec.Mute = settings
}

// IgnoreAdminMAC makes a VF driver not take the address that the PF gives.
func (k *Kernel) IgnoreAdminMAC(driver string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.drivers[driver].DeafMAC = true
}

// AddDriver makes a driver known.
func (k *Kernel) AddDriver(d Driver) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.drivers[d.Name] = &d
	if d.Loaded {
		k.driverDir(d.Name)
	}
}

// Unload takes a driver's module away, as if it had never been loaded; devices
// that it has bound stay.
func (k *Kernel) Unload(name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.drivers[name].Loaded = false
	k.rm(sysfs.DriverDir(name))
}

func (d *device) carrier() bool { return d.up && !d.unplugged }

// Plug puts the cable into the PF's port, or pulls it.
func (k *Kernel) Plug(pf string, in bool) {
	k.mu.Lock()
	k.devices[pf].unplugged = !in
	k.mu.Unlock()
	k.changed()
}
