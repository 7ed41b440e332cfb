package kerneltest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/talos-sriov/talos-sriov/pkg/nl"
	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
)

const (
	marker = "SRIOV_NETDEVSIM"
	bus    = "netdevsim"
	// devicesDir has the devices of the bus, below /sys.
	devicesDir = "bus/netdevsim/devices"
)

// device is a netdevsim with two ports.
type device struct {
	t    *testing.T
	sys  *sysfs.FS
	nl   *nl.Handle
	name string     // on its bus
	pf   nl.LinkRef // the first port
}

// newDevice makes a device with so many VFs for the duration of the test. The
// id must be the test's own.
func newDevice(t *testing.T, id, vfs int) *device {
	t.Helper()
	if os.Getenv(marker) == "" {
		t.Skipf("needs a kernel with netdevsim, and %s=1: test/lab/e2e/kernel has both", marker)
	}
	sys, err := sysfs.Open("/sys")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sys.Close() })
	d := &device{t: t, sys: sys, nl: nl.Open(), name: fmt.Sprintf("netdevsim%d", id)}
	d.must(sys.Write("bus/netdevsim/new_device", fmt.Sprintf("%d 2", id)))
	t.Cleanup(func() {
		if err := sys.Write("bus/netdevsim/del_device", strconv.Itoa(id)); err != nil {
			t.Errorf("remove the device: %v", err)
		}
	})
	d.numVFs(vfs)
	for _, l := range d.links() {
		if l.PhysPortName == "p1" {
			d.pf = nl.LinkRef{Index: l.Index, Name: l.Name}
		}
	}
	if d.pf.Index == 0 {
		t.Fatalf("no port p1 among %+v", d.links())
	}
	return d
}

func (d *device) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

func (d *device) numVFs(n int) {
	d.t.Helper()
	d.must(d.sys.Write(devicesDir+"/"+d.name+"/sriov_numvfs", strconv.Itoa(n)))
}

func (d *device) eswitch(mode string) {
	d.t.Helper()
	d.must(d.nl.SetEswitchMode(d.t.Context(), bus, d.name, mode))
	got, err := d.nl.EswitchMode(d.t.Context(), bus, d.name)
	if err != nil || got != mode {
		d.t.Fatalf("the mode is %q, %v, want %q", got, err, mode)
	}
}

// links are the device's interfaces.
func (d *device) links() []nl.Link {
	d.t.Helper()
	all, err := d.nl.Links(d.t.Context())
	d.must(err)
	return slices.DeleteFunc(all, func(l nl.Link) bool { return l.ParentBus != bus || l.ParentDev != d.name })
}

// ports are the names of the ports that the device's interfaces stand for.
func (d *device) ports() []string {
	d.t.Helper()
	var out []string
	for _, l := range d.links() {
		out = append(out, l.PhysPortName)
	}
	slices.Sort(out)
	return out
}

// vf is what the PF holds for the VF.
func (d *device) vf(index int) nl.VFInfo {
	d.t.Helper()
	vfs, err := d.nl.VFs(d.t.Context(), d.pf)
	d.must(err)
	i := slices.IndexFunc(vfs, func(v nl.VFInfo) bool { return v.Index == index })
	if i < 0 {
		d.t.Fatalf("no VF %d among %+v", index, vfs)
	}
	return vfs[i]
}

func TestEswitchMode(t *testing.T) {
	d := newDevice(t, 1, 3)
	mode, err := d.nl.EswitchMode(t.Context(), bus, d.name)
	if err != nil || mode != "legacy" {
		t.Fatalf("a new device is in mode %q, %v", mode, err)
	}
	d.eswitch("switchdev")
	d.eswitch("switchdev") // as it is already
	d.eswitch("legacy")

	// A device that has no devlink is another answer than one that fails.
	_, err = d.nl.EswitchMode(t.Context(), bus, "netdevsim4711")
	if !errors.Is(err, nl.ErrUnsupported) {
		t.Errorf("no such device: %v", err)
	}
	var e *nl.Error
	if err := d.nl.SetEswitchMode(t.Context(), bus, "netdevsim4711", "switchdev"); !errors.As(err, &e) || e.Errno() != syscall.ENODEV || e.Target != "netdevsim/netdevsim4711" {
		t.Errorf("no such device: %v", err)
	}
}

// Representors come and go with the mode and with the VFs.
func TestRepresentors(t *testing.T) {
	d := newDevice(t, 2, 3)
	check := func(when string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, d.ports()); diff != "" {
			t.Fatalf("%s, ports (-want +got):\n%s", when, diff)
		}
	}
	check("legacy", "p1", "p2")
	d.eswitch("switchdev")
	check("switchdev", "p1", "p2", "pf0vf0", "pf0vf1", "pf0vf2")
	links := d.links()
	for _, l := range links {
		if l.PhysSwitchID == "" || l.PhysSwitchID != links[0].PhysSwitchID {
			t.Errorf("%s (%s): switch id %q, want one for all: %q", l.Name, l.PhysPortName, l.PhysSwitchID, links[0].PhysSwitchID)
		}
		// The same by the way that pkg/inventory and pkg/apply have.
		port, err := sysfs.ReadString(d.sys, sysfs.NetAttr(l.Name, sysfs.NetPhysPortName))
		if err != nil || port != l.PhysPortName {
			t.Errorf("%s: sysfs has port name %q, %v, netlink %q", l.Name, port, err, l.PhysPortName)
		}
	}
	d.numVFs(0)
	check("switchdev without VFs", "p1", "p2")
	d.numVFs(2) // with the last VF went the mode, see nsim_drv_configure_vfs
	check("2 VFs", "p1", "p2")
	d.eswitch("switchdev")
	check("switchdev with 2 VFs", "p1", "p2", "pf0vf0", "pf0vf1")
	d.eswitch("legacy")
	check("legacy again", "p1", "p2")
}

// What is set is what is read back, and only on the VF that was named.
func TestVFAttributes(t *testing.T) {
	d := newDevice(t, 3, 3)
	ctx := t.Context()
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 0x11}
	vlan := func(v nl.VLAN) func(int) error {
		return func(vf int) error { return d.nl.SetVFVLAN(ctx, d.pf, vf, v) }
	}
	state := func(s nl.LinkState) func(int) error {
		return func(vf int) error { return d.nl.SetVFLinkState(ctx, d.pf, vf, s) }
	}
	spoof := func(on bool) func(int) error {
		return func(vf int) error { return d.nl.SetVFSpoofCheck(ctx, d.pf, vf, on) }
	}
	trust := func(on bool) func(int) error {
		return func(vf int) error { return d.nl.SetVFTrust(ctx, d.pf, vf, on) }
	}
	is := func(b *bool, want bool) bool { return b != nil && *b == want }
	other := d.vf(2)
	for _, c := range []struct {
		name string
		set  func(vf int) error
		got  func(nl.VFInfo) bool
	}{
		{"VLAN and QoS", vlan(nl.VLAN{ID: 100, QoS: 3}), func(v nl.VFInfo) bool { return v.VLAN == 100 && v.QoS == 3 && v.VLANProto == nl.Proto8021Q }},
		{"802.1ad", vlan(nl.VLAN{ID: 200, QoS: 5, Proto: nl.Proto8021AD}), func(v nl.VFInfo) bool { return v.VLAN == 200 && v.QoS == 5 && v.VLANProto == nl.Proto8021AD }},
		{"no VLAN", vlan(nl.VLAN{}), func(v nl.VFInfo) bool { return v.VLAN == 0 && v.QoS == 0 }},
		{"spoof check on", spoof(true), func(v nl.VFInfo) bool { return is(v.SpoofCheck, true) }},
		{"spoof check off", spoof(false), func(v nl.VFInfo) bool { return is(v.SpoofCheck, false) }},
		{"trust on", trust(true), func(v nl.VFInfo) bool { return is(v.Trust, true) }},
		{"trust off", trust(false), func(v nl.VFInfo) bool { return is(v.Trust, false) }},
		{"RSS query on", func(vf int) error { return d.nl.SetVFQueryRSS(ctx, d.pf, vf, true) }, func(v nl.VFInfo) bool { return is(v.QueryRSS, true) }},
		{"RSS query off", func(vf int) error { return d.nl.SetVFQueryRSS(ctx, d.pf, vf, false) }, func(v nl.VFInfo) bool { return is(v.QueryRSS, false) }},
		{"link state enable", state(nl.LinkStateEnable), func(v nl.VFInfo) bool { return v.LinkState == nl.LinkStateEnable }},
		{"link state disable", state(nl.LinkStateDisable), func(v nl.VFInfo) bool { return v.LinkState == nl.LinkStateDisable }},
		{"link state auto", state(nl.LinkStateAuto), func(v nl.VFInfo) bool { return v.LinkState == nl.LinkStateAuto }},
		{"MAC", func(vf int) error { return d.nl.SetVFMAC(ctx, d.pf, vf, mac) }, func(v nl.VFInfo) bool { return v.MAC.String() == mac.String() }},
		{"rate", func(vf int) error { return d.nl.SetVFRate(ctx, d.pf, vf, 10, 100) }, func(v nl.VFInfo) bool { return v.MinRate == 10 && v.MaxRate == 100 }},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) {
			if err := c.set(1); err != nil {
				t.Fatal(err)
			}
			if v := d.vf(1); !c.got(v) {
				t.Errorf("the PF holds %+v", v)
			}
		})
	}
	if diff := cmp.Diff(other, d.vf(2)); diff != "" {
		t.Errorf("VF 2 was not asked for (-before +after):\n%s", diff)
	}
}

// What the kernel refuses is an error with its errno, whom it was asked of, and what.
func TestRefused(t *testing.T) {
	d := newDevice(t, 4, 2)
	ctx := t.Context()
	check := func(err error, errno syscall.Errno, unsupported bool, op string) {
		t.Helper()
		var e *nl.Error
		if !errors.As(err, &e) || e.Errno() != errno || !errors.Is(err, errno) || e.Op != op || e.Target != d.pf.Name {
			t.Errorf("%s: got %v", op, err)
		}
		if errors.Is(err, nl.ErrUnsupported) != unsupported {
			t.Errorf("%s: %v is ErrUnsupported: %v, want %v", op, err, !unsupported, unsupported)
		}
	}
	check(d.nl.SetVFTrust(ctx, d.pf, 2, true), syscall.EINVAL, false, "set VF 2 trust") // there are 0 and 1
	check(d.nl.SetVFMAC(ctx, d.pf, 0, net.HardwareAddr{1, 0, 0, 0, 0, 1}), syscall.EINVAL, false, "set VF 0 MAC")
	check(d.nl.SetVFPortGUID(ctx, d.pf, 0, make(net.HardwareAddr, 8)), syscall.EOPNOTSUPP, true, "set VF 0 port GUID")
	// In switchdev mode the driver wants rates through devlink.
	d.eswitch("switchdev")
	check(d.nl.SetVFRate(ctx, d.pf, 0, 0, 100), syscall.EOPNOTSUPP, true, "set VF 0 rate")
}

// hw-tc-offload is switched, read back, and off and on again as often as asked.
func TestTCOffload(t *testing.T) {
	d := newDevice(t, 7, 0)
	for _, on := range []bool{true, false, true, true, false} {
		d.must(d.nl.SetTCOffload(t.Context(), d.pf.Name, on))
		if got, err := d.nl.TCOffload(t.Context(), d.pf.Name); err != nil || got != on {
			t.Fatalf("hw-tc-offload is %v, %v, want %v", got, err, on)
		}
	}
	var e *nl.Error
	if err := d.nl.SetTCOffload(t.Context(), "lo", true); !errors.As(err, &e) || !errors.Is(err, nl.ErrUnsupported) || e.Target != "lo" {
		t.Errorf("an interface without it: %v", err)
	}
}
