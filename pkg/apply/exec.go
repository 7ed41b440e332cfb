package apply

import (
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

// request is what a step asks of the kernel. A few are more than one request;
// each of those can be repeated.
type request func(context.Context) error

// request returns what carries the operation out. What it is about is found before,
// so that an error here is no write.
func (r *run) request(o op.Op) (request, error) {
	links := r.a.opts.Links
	switch o := o.(type) {
	case op.SetAutoProbe:
		return r.sysfsWrite(sysfs.DriversAutoprobe(o.Address), flag(o.On)), nil
	case op.SetNumVFs:
		return r.sysfsWrite(sysfs.NumVFs(o.Address), strconv.Itoa(int(o.N))), nil
	case op.UnbindVF:
		return r.onVF(o.OnVF, func(_ context.Context, vf string) error {
			return r.a.sys.Write(sysfs.DriverUnbind(string(o.Driver)), vf)
		})
	case op.SetDriverOverride:
		return r.onVF(o.OnVF, func(_ context.Context, vf string) error { return r.override(vf, o.Driver) })
	case op.ProbeVF:
		return r.onVF(o.OnVF, func(_ context.Context, vf string) error { return r.probe(vf, o.Driver) })
	case op.SetEswitchMode:
		return func(ctx context.Context) error {
			return links.SetEswitchMode(ctx, nl.BusPCI, o.Address, string(o.Mode))
		}, nil
	case op.SetSteeringMode:
		return func(ctx context.Context) error { return r.steering(ctx, o) }, nil
	case op.SetTCOffload:
		return r.onPF(o.OnPF, func(ctx context.Context, pf nl.LinkRef) error {
			return links.SetTCOffload(ctx, pf.Name, bool(o.On))
		})
	case op.SetPFUp:
		return r.onPF(o.OnPF, func(ctx context.Context, pf nl.LinkRef) error { return links.SetUp(ctx, pf, true) })
	case op.SetMTU:
		return onLink(func() (nl.LinkRef, error) { return r.link(sysfs.Device(o.Address), o.Netdev) },
			func(ctx context.Context, l nl.LinkRef) error { return links.SetMTU(ctx, l, int(o.MTU)) })
	case op.SetVFMTU:
		return onLink(func() (nl.LinkRef, error) { return r.vfLink(o.OnVF) },
			func(ctx context.Context, l nl.LinkRef) error { return links.SetMTU(ctx, l, int(o.MTU)) })
	case op.AddVDPA:
		return r.onVF(o.OnVF, func(ctx context.Context, vf string) error {
			return links.VDPAAdd(ctx, op.VDPAName(vf), nl.BusPCI, vf)
		})
	case op.DeleteVDPA:
		return func(ctx context.Context) error { return links.VDPADel(ctx, string(o.Device)) }, nil
	case op.BindVDPA:
		return r.onVF(o.OnVF, func(_ context.Context, vf string) error { return r.bindVDPA(op.VDPAName(vf), o.Driver) })
	}
	set := attribute(links, o)
	if set == nil {
		return nil, fmt.Errorf("an operation of kind %q cannot be run by this version", o.Kind())
	}
	return r.onPF(op.OnPF{Address: o.PF(), Name: r.pf.Name}, set)
}

// attribute is the request that sets an attribute of a VF through its PF, nil for
// any other operation.
func attribute(links Links, o op.Op) func(context.Context, nl.LinkRef) error {
	switch o := o.(type) {
	case op.SetVFMAC:
		return func(ctx context.Context, pf nl.LinkRef) error {
			return links.SetVFMAC(ctx, pf, o.Index, net.HardwareAddr(o.To))
		}
	case op.SetVFNodeGUID:
		return func(ctx context.Context, pf nl.LinkRef) error {
			return links.SetVFNodeGUID(ctx, pf, o.Index, net.HardwareAddr(o.To))
		}
	case op.SetVFPortGUID:
		return func(ctx context.Context, pf nl.LinkRef) error {
			return links.SetVFPortGUID(ctx, pf, o.Index, net.HardwareAddr(o.To))
		}
	case op.SetVFVLAN:
		return func(ctx context.Context, pf nl.LinkRef) error { return links.SetVFVLAN(ctx, pf, o.Index, vlan(o.To)) }
	case op.SetVFTrust:
		return func(ctx context.Context, pf nl.LinkRef) error { return links.SetVFTrust(ctx, pf, o.Index, bool(o.To)) }
	case op.SetVFSpoofCheck:
		return func(ctx context.Context, pf nl.LinkRef) error {
			return links.SetVFSpoofCheck(ctx, pf, o.Index, bool(o.To))
		}
	case op.SetVFQueryRSS:
		return func(ctx context.Context, pf nl.LinkRef) error {
			return links.SetVFQueryRSS(ctx, pf, o.Index, bool(o.To))
		}
	case op.SetVFLinkState:
		return func(ctx context.Context, pf nl.LinkRef) error {
			return links.SetVFLinkState(ctx, pf, o.Index, linkState(o.To))
		}
	case op.SetVFRate:
		return func(ctx context.Context, pf nl.LinkRef) error {
			return links.SetVFRate(ctx, pf, o.Index, o.To.Min, o.To.Max)
		}
	}
	return nil
}

func flag(on op.Flag) string {
	if on {
		return "1"
	}
	return "0"
}

func vlan(l op.VLAN) nl.VLAN {
	v := nl.VLAN{ID: l.ID, QoS: l.QoS}
	if l.Is8021AD() {
		v.Proto = nl.Proto8021AD
	}
	return v
}

func linkState(s op.LinkState) nl.LinkState {
	switch s {
	case op.LinkEnable:
		return nl.LinkStateEnable
	case op.LinkDisable:
		return nl.LinkStateDisable
	default:
		return nl.LinkStateAuto
	}
}

// onVF is a request about a VF by its address now.
func (r *run) onVF(vf op.OnVF, f func(ctx context.Context, vf string) error) (request, error) {
	addr, err := r.vfAddress(vf.Index)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error { return f(ctx, addr) }, nil
}

// onPF is a request through the PF's interface now: a change of the eswitch mode
// may have given it another.
func (r *run) onPF(pf op.OnPF, f func(context.Context, nl.LinkRef) error) (request, error) {
	return onLink(func() (nl.LinkRef, error) { return r.link(sysfs.Device(pf.Address), pf.Name) }, f)
}

func onLink(find func() (nl.LinkRef, error), f func(context.Context, nl.LinkRef) error) (request, error) {
	l, err := find()
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error { return f(ctx, l) }, nil
}

func (r *run) sysfsWrite(name, value string) request {
	return func(context.Context) error { return r.a.sys.Write(name, value) }
}

func (r *run) override(vf string, driver op.Driver) error {
	value := string(driver)
	if value == "" {
		value = "\n" // what removes it; the empty write is none
	}
	return r.a.sys.Write(sysfs.DriverOverride(vf), value)
}

// probe offers the VF to the drivers, of which one is expected to bind it.
func (r *run) probe(vf string, driver op.Driver) error {
	if err := r.a.sys.Write(sysfs.DriversProbe(), vf); err != nil {
		return err
	}
	want := string(driver)
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
func (r *run) steering(ctx context.Context, o op.SetSteeringMode) error {
	links, want := r.a.opts.Links, string(o.Mode)
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
func (r *run) bindVDPA(name string, driver op.Driver) error {
	want := string(driver)
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
