package apply

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/talos-sriov/talos-sriov/pkg/nic"
	"github.com/talos-sriov/talos-sriov/pkg/nl"
	"github.com/talos-sriov/talos-sriov/pkg/plan"
	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
)

// errNotYet says that the thing a step is about is not there yet. An earlier
// step has told so already.
var errNotYet = errors.New("not there yet")

// ErrNotBound says that the kernel offered a VF to its driver and the driver did
// not bind: the kernel answers such a probe with success.
var ErrNotBound = errors.New("the driver did not bind the VF")

// executor returns the write that a step is. A few steps are more than one
// request; each of those can be repeated.
func (r *run) executor(s *plan.Step) (func(context.Context) error, error) {
	switch s.Kind {
	case plan.KindAutoProbe:
		return r.sysfsWrite(sysfs.DriversAutoprobe(s.PF), s.New), nil
	case plan.KindNumVFs:
		return r.sysfsWrite(sysfs.NumVFs(s.PF), s.New), nil
	case plan.KindVFUnbind, plan.KindVFOverride, plan.KindVFProbe:
		return r.driver(s)
	}
	links := r.a.opts.Links
	if links == nil {
		return nil, fmt.Errorf("a step of kind %q needs netlink, which this Applier has not: %w", s.Kind, unix.EOPNOTSUPP)
	}
	switch s.Kind {
	case plan.KindEswitch:
		return func(ctx context.Context) error { return links.SetEswitchMode(ctx, nl.BusPCI, s.PF, s.New) }, nil
	case plan.KindSteering:
		return func(ctx context.Context) error { return r.steering(ctx, s) }, nil
	case plan.KindVDPAAdd, plan.KindVDPADel, plan.KindVDPADriver:
		return r.vdpa(s)
	case plan.KindVFMTU:
		return r.mtu(s, func() (nl.LinkRef, error) { return r.vfLink(s.VFs[0]) })
	}
	pf, err := r.pfLink()
	if err != nil {
		return nil, err
	}
	switch s.Kind {
	case plan.KindTCOffload:
		return func(ctx context.Context) error { return links.SetTCOffload(ctx, pf.Name, s.New == "on") }, nil
	case plan.KindPFMTU:
		return r.mtu(s, func() (nl.LinkRef, error) { return r.pfLinkOf(s) })
	case plan.KindPFUp:
		return func(ctx context.Context) error { return links.SetUp(ctx, pf, s.New == "up") }, nil
	}
	return attribute(links, pf, s)
}

// attribute returns the request that sets one attribute of a VF through its PF.
func attribute(links Links, pf nl.LinkRef, s *plan.Step) (func(context.Context) error, error) {
	vf, on := s.VFs[0], s.New == "on"
	switch s.Kind {
	case plan.KindVFMAC, plan.KindVFNodeGUID, plan.KindVFPortGUID:
		addr, err := net.ParseMAC(s.New)
		if err != nil {
			return nil, err
		}
		set := links.SetVFMAC
		switch s.Kind {
		case plan.KindVFNodeGUID:
			set = links.SetVFNodeGUID
		case plan.KindVFPortGUID:
			set = links.SetVFPortGUID
		}
		return func(ctx context.Context) error { return set(ctx, pf, vf, addr) }, nil
	case plan.KindVFVLAN:
		var v nl.VLAN
		var proto string
		if _, err := fmt.Sscan(s.New, &v.ID, &v.QoS, &proto); err != nil {
			return nil, fmt.Errorf("VLAN %q: %w", s.New, err)
		}
		if proto == "802.1ad" {
			v.Proto = nl.Proto8021AD
		}
		return func(ctx context.Context) error { return links.SetVFVLAN(ctx, pf, vf, v) }, nil
	case plan.KindVFTrust:
		return func(ctx context.Context) error { return links.SetVFTrust(ctx, pf, vf, on) }, nil
	case plan.KindVFSpoof:
		return func(ctx context.Context) error { return links.SetVFSpoofCheck(ctx, pf, vf, on) }, nil
	case plan.KindVFLinkState:
		state := map[string]nl.LinkState{
			"auto": nl.LinkStateAuto, "enable": nl.LinkStateEnable, "disable": nl.LinkStateDisable,
		}[s.New]
		return func(ctx context.Context) error { return links.SetVFLinkState(ctx, pf, vf, state) }, nil
	case plan.KindVFRate:
		var low, high int
		if _, err := fmt.Sscan(s.New, &low, &high); err != nil {
			return nil, fmt.Errorf("rate %q: %w", s.New, err)
		}
		return func(ctx context.Context) error { return links.SetVFRate(ctx, pf, vf, low, high) }, nil
	}
	return nil, fmt.Errorf("a step of kind %q cannot be run by this version", s.Kind)
}

func (r *run) mtu(s *plan.Step, of func() (nl.LinkRef, error)) (func(context.Context) error, error) {
	mtu, err := strconv.Atoi(s.New)
	if err != nil {
		return nil, err
	}
	link, err := of()
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error { return r.a.opts.Links.SetMTU(ctx, link, mtu) }, nil
}

// driver returns the write of a step that changes which driver a VF has.
func (r *run) driver(s *plan.Step) (func(context.Context) error, error) {
	addr, err := r.vfAddress(s.VFs[0])
	if err != nil {
		return nil, err
	}
	switch s.Kind {
	case plan.KindVFUnbind:
		return r.sysfsWrite(sysfs.DriverUnbind(s.Old), addr), nil
	case plan.KindVFOverride:
		value := s.New
		if value == "" {
			value = "\n" // what removes it; the empty write is none
		}
		return r.sysfsWrite(sysfs.DriverOverride(addr), value), nil
	}
	return func(context.Context) error {
		if err := r.a.sys.Write(sysfs.DriversProbe(), addr); err != nil {
			return err
		}
		if l, err := r.a.sys.ReadLink(sysfs.Driver(addr)); err == nil {
			if got := sysfs.Base(l); s.New != "" && got != s.New && nic.Userspace(s.New) {
				return fmt.Errorf("%w: %s did", ErrNotBound, got)
			}
			return nil
		}
		if nic.Userspace(s.New) {
			return ErrNotBound
		}
		return nil // its module may be on the way: the wait for the netdev tells
	}, nil
}

// steering sets the devlink parameter, where there is one: what has none works
// as it is.
func (r *run) steering(ctx context.Context, s *plan.Step) error {
	const name = "flow_steering_mode"
	links := r.a.opts.Links
	p, err := links.DevlinkParam(ctx, nl.BusPCI, s.PF, name)
	if errors.Is(err, nl.ErrUnsupported) || err == nil && p.Value == s.New {
		return nil
	}
	if err != nil {
		return err
	}
	err = links.SetDevlinkParam(ctx, nl.BusPCI, s.PF, name, s.New)
	if errors.Is(err, nl.ErrUnsupported) || errors.Is(err, unix.EINVAL) {
		return nil
	}
	return err
}

// vdpa returns the requests of a step about a VF's vDPA device.
func (r *run) vdpa(s *plan.Step) (func(context.Context) error, error) {
	addr, err := r.vfAddress(s.VFs[0])
	if err != nil {
		return nil, err
	}
	name := plan.VDPAName(addr)
	switch s.Kind {
	case plan.KindVDPAAdd:
		return func(ctx context.Context) error { return r.a.opts.Links.VDPAAdd(ctx, name, nl.BusPCI, addr) }, nil
	case plan.KindVDPADel:
		return func(ctx context.Context) error { return r.a.opts.Links.VDPADel(ctx, name) }, nil
	}
	return func(context.Context) error {
		// The bus binds whatever driver comes first; the override makes it this
		// one for good.
		if err := r.a.sys.Write(sysfs.VDPADriverOverride(name), s.New); err != nil {
			return err
		}
		if l, err := r.a.sys.ReadLink(sysfs.Join(sysfs.VDPADevice(name), sysfs.LinkDriver)); err == nil {
			got := sysfs.Base(l)
			if got == s.New {
				return nil
			}
			if err := r.a.sys.Write(sysfs.VDPADriverUnbind(got), name); err != nil {
				return err
			}
		}
		return r.a.sys.Write(sysfs.VDPADriverBind(s.New), name)
	}, nil
}

func (r *run) sysfsWrite(name, value string) func(context.Context) error {
	return func(context.Context) error { return r.a.sys.Write(name, value) }
}

func (r *run) vfAddress(index int) (string, error) {
	l, err := r.a.sys.ReadLink(sysfs.VirtFn(r.pf.Address, index))
	if err != nil {
		return "", err
	}
	return sysfs.Base(l), nil
}

// pfLink is the PF's interface now: a change of the eswitch mode may have given
// it another.
func (r *run) pfLink() (nl.LinkRef, error) { return r.link(sysfs.Device(r.pf.Address), r.pf.Name) }

// pfLinkOf is the interface that the step's path names, when the PF has it.
func (r *run) pfLinkOf(s *plan.Step) (nl.LinkRef, error) {
	name := r.pf.Name
	if rest, ok := strings.CutPrefix(s.Path, "/sys/"+sysfs.NetClass+"/"); ok {
		name, _, _ = strings.Cut(rest, "/")
	}
	return r.link(sysfs.Device(r.pf.Address), name)
}

// vfLink is the VF's interface; errNotYet when it has none here.
func (r *run) vfLink(index int) (nl.LinkRef, error) {
	l, err := r.link(sysfs.VirtFn(r.pf.Address, index), "")
	if errors.Is(err, unix.ENODEV) {
		return l, errNotYet
	}
	return l, err
}

// link is the interface of the device: the one with the name, else the first
// that is no representor.
func (r *run) link(device, name string) (nl.LinkRef, error) {
	names, err := r.a.sys.ReadDir(sysfs.Join(device, "net"))
	if err != nil && !sysfs.IsAbsent(err) {
		return nl.LinkRef{}, err
	}
	found := ""
	for _, n := range names {
		port, _ := sysfs.ReadString(r.a.sys, sysfs.NetAttr(n, sysfs.NetPhysPortName))
		if n == name || found == "" && !strings.Contains(port, "pf") {
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
	l, err := r.pfLink()
	if err != nil {
		return false
	}
	on, err := sysfs.ReadInt(r.a.sys, sysfs.NetAttr(l.Name, sysfs.NetCarrier))
	return err == nil && on == 1
}
