package apply

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/talos-sriov/talos-sriov/pkg/nic"
	"github.com/talos-sriov/talos-sriov/pkg/nl"
	"github.com/talos-sriov/talos-sriov/pkg/op"
	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
)

// errNotYet says that the thing a step is about is not there yet. An earlier
// step has reported it already.
var errNotYet = errors.New("not there yet")

// ErrNotBound says that the kernel offered a VF to its driver and the driver did
// not bind: the kernel answers such a probe with success.
var ErrNotBound = errors.New("the driver did not bind the VF")

// target is what an operation is about as it is now, as far as the operation does not
// name it.
type target struct {
	vf   string     // address of the VF
	link nl.LinkRef // interface of the VF, or of the PF
}

// find finds what the operation is about before anything is written, so that an
// error here is no write.
func (r *run) find(o op.Op) (t target, err error) {
	switch o := o.(type) {
	case op.SetAutoProbe, op.SetNumVFs, op.SetEswitchMode, op.SetSteeringMode, op.DeleteVDPA:
	case op.UnbindVF, op.SetDriverOverride, op.ProbeVF, op.AddVDPA, op.BindVDPA:
		t.vf, err = r.vfAddress(o.VFs()[0])
	case op.SetMTU:
		t.link, err = r.link(sysfs.Device(o.Address), o.Netdev)
	case op.SetVFMTU:
		t.link, err = r.vfLink(o.OnVF)
	default:
		// A change of the eswitch mode may have given the PF another interface.
		t.link, err = r.link(sysfs.Device(o.PF()), r.pf.Name)
	}
	return t, err
}

// do asks the kernel for what the operation wants. A few operations are more than one
// request; each of those can be repeated.
func (r *run) do(ctx context.Context, o op.Op, t target) error {
	sys := r.a.sys
	switch o := o.(type) {
	case op.SetAutoProbe:
		return sys.Write(sysfs.DriversAutoprobe(o.Address), flag(o.On))
	case op.SetNumVFs:
		return sys.Write(sysfs.NumVFs(o.Address), strconv.Itoa(int(o.N)))
	case op.UnbindVF:
		return sys.Write(sysfs.DriverUnbind(string(o.Driver)), t.vf)
	case op.SetDriverOverride:
		// A line end removes it; the empty write is none.
		return sys.Write(sysfs.DriverOverride(t.vf), cmp.Or(string(o.Driver), "\n"))
	case op.ProbeVF:
		return r.probe(t.vf, string(o.Driver))
	case op.BindVDPA:
		return r.bindVDPA(op.VDPAName(t.vf), string(o.Driver))
	}
	return setLink(ctx, r.a.opts.Links, o, t)
}

// flag is what sysfs takes: what people read of an operation is not what is written.
func flag(on op.Flag) string {
	if on {
		return "1"
	}
	return "0"
}

// setLink does what netlink, devlink and ethtool do.
func setLink(ctx context.Context, links Links, o op.Op, t target) error {
	if _, none := links.(NoLinks); none {
		return ErrNoNetlink
	}
	switch o := o.(type) {
	case op.SetEswitchMode:
		return links.SetEswitchMode(ctx, nl.BusPCI, o.Address, string(o.Mode))
	case op.SetSteeringMode:
		return steering(ctx, links, o)
	case op.SetTCOffload:
		return links.SetTCOffload(ctx, t.link.Name, bool(o.On))
	case op.SetPFUp:
		return links.SetUp(ctx, t.link, true)
	case op.SetMTU:
		return links.SetMTU(ctx, t.link, int(o.MTU))
	case op.SetVFMTU:
		return links.SetMTU(ctx, t.link, int(o.MTU))
	case op.AddVDPA:
		return links.VDPAAdd(ctx, op.VDPAName(t.vf), nl.BusPCI, t.vf)
	case op.DeleteVDPA:
		return links.VDPADel(ctx, string(o.Device))
	}
	return setAttribute(ctx, links, t.link, o)
}

// setAttribute sets an attribute of a VF through its PF.
func setAttribute(ctx context.Context, links Links, pf nl.LinkRef, o op.Op) error {
	switch o := o.(type) {
	case op.SetVFMAC:
		return links.SetVFMAC(ctx, pf, o.Index, net.HardwareAddr(o.To))
	case op.SetVFNodeGUID:
		return links.SetVFNodeGUID(ctx, pf, o.Index, net.HardwareAddr(o.To))
	case op.SetVFPortGUID:
		return links.SetVFPortGUID(ctx, pf, o.Index, net.HardwareAddr(o.To))
	case op.SetVFVLAN:
		return links.SetVFVLAN(ctx, pf, o.Index, vlan(o.To))
	case op.SetVFTrust:
		return links.SetVFTrust(ctx, pf, o.Index, bool(o.To))
	case op.SetVFSpoofCheck:
		return links.SetVFSpoofCheck(ctx, pf, o.Index, bool(o.To))
	case op.SetVFQueryRSS:
		return links.SetVFQueryRSS(ctx, pf, o.Index, bool(o.To))
	case op.SetVFLinkState:
		return links.SetVFLinkState(ctx, pf, o.Index, nl.LinkStateNamed(string(o.To)))
	case op.SetVFRate:
		return links.SetVFRate(ctx, pf, o.Index, o.To.Min, o.To.Max)
	}
	return fmt.Errorf("an operation of kind %q cannot be run by this version", o.Kind())
}

func vlan(l op.VLAN) nl.VLAN {
	v := nl.VLAN{ID: l.ID, QoS: l.QoS}
	if l.Is8021AD() {
		v.Proto = nl.Proto8021AD
	}
	return v
}

// probe offers the VF to the drivers, of which one is expected to bind it.
func (r *run) probe(vf, want string) error {
	if err := r.a.sys.Write(sysfs.DriversProbe(), vf); err != nil {
		return err
	}
	if l, err := r.a.sys.ReadLink(sysfs.Driver(vf)); err == nil {
		if got := sysfs.Base(l); want != "" && got != want && nic.Userspace(want) {
			return fmt.Errorf("%w: %s did", ErrNotBound, got)
		}
		return nil
	}
	if nic.Userspace(want) {
		return ErrNotBound
	}
	return nil // its module may be on the way: the wait for the netdev shows it
}

// steering sets the devlink parameter, where there is one: what has none works
// as it is.
func steering(ctx context.Context, links Links, o op.SetSteeringMode) error {
	want := string(o.Mode)
	p, err := links.DevlinkParam(ctx, nl.BusPCI, o.Address, op.ParamSteeringMode)
	if errors.Is(err, nl.ErrUnsupported) || err == nil && p.Value == want {
		return nil
	}
	if err != nil {
		return err
	}
	err = links.SetDevlinkParam(ctx, nl.BusPCI, o.Address, op.ParamSteeringMode, want)
	if errors.Is(err, nl.ErrUnsupported) || errors.Is(err, unix.EINVAL) {
		return nil
	}
	return err
}

// bindVDPA gives the vDPA device to the driver. The bus binds whatever driver comes
// first; the override makes it this one for good.
func (r *run) bindVDPA(name, want string) error {
	if err := r.a.sys.Write(sysfs.VDPADriverOverride(name), want); err != nil {
		return err
	}
	if l, err := r.a.sys.ReadLink(sysfs.VDPADeviceDriver(name)); err == nil {
		got := sysfs.Base(l)
		if got == want {
			return nil
		}
		if err := r.a.sys.Write(sysfs.VDPADriverUnbind(got), name); err != nil {
			return err
		}
	}
	return r.a.sys.Write(sysfs.VDPADriverBind(want), name)
}
