package modelkernel

import (
	"cmp"
	"context"
	"maps"
	"net"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/talos-sriov/talos-sriov/pkg/nl"
)

// hostNet is the host's network namespace but for the functions' own interfaces.
type hostNet struct {
	virtual map[string]nl.Link // by name
	masters map[string]string  // port -> bond or bridge, by name
	addrs   map[string][]netip.Prefix
	routes  [][]string // the default routes: the interfaces of their next hops
	modes   nl.RDMANetnsMode
	// forgotten is an interface that netlink does not list.
	forgotten string
	// fails is asked before each answer of netlink with what is asked for.
	fails func(what string) error
}

// What is asked of netlink, for FailNetwork.
const (
	AskLinks  = "interfaces"
	AskAddrs  = "addresses"
	AskRoutes = "routes"
	AskVFs    = "VF attributes"
	AskMode   = "eswitch mode"
	AskTC     = "tc offload"
	AskInfo   = "devlink info"
	AskRDMA   = "RDMA network namespace mode"
)

// FailNetwork makes netlink's answers fail; f returns nil for those that do not,
// and nil for f ends it.
func (k *Kernel) FailNetwork(f func(what string) error) {
	k.mu.Lock()
	k.host.fails = f
	k.mu.Unlock()
	k.changed()
}

// SetRDMANetns sets the namespace mode of RDMA devices, shared at first.
func (k *Kernel) SetRDMANetns(mode nl.RDMANetnsMode) {
	k.mu.Lock()
	k.host.modes = mode
	k.mu.Unlock()
	k.changed()
}

// AddLink makes a virtual interface (bond, vlan, bridge ...), on top of the
// interface lower when that is not "".
func (k *Kernel) AddLink(name, kind, lower string) {
	k.mu.Lock()
	l := nl.Link{Index: k.nextIf, Name: name, Kind: kind, Type: nl.TypeEthernet, Up: true, Carrier: true, MTU: 1500}
	if kind == "ppp" {
		l.Type = nl.TypePPP
	}
	l.Lower = k.indexOf(lower)
	k.host.virtual[name] = l
	k.nextIf++
	k.mu.Unlock()
	k.changed()
}

// RemoveLink removes a virtual interface.
func (k *Kernel) RemoveLink(name string) {
	k.mu.Lock()
	delete(k.host.virtual, name)
	delete(k.host.addrs, name)
	maps.DeleteFunc(k.host.masters, func(_, master string) bool { return master == name })
	k.mu.Unlock()
	k.changed()
}

// SetMaster makes the interface a port of the bond or bridge, of none for "".
func (k *Kernel) SetMaster(port, master string) {
	k.mu.Lock()
	k.host.masters[port] = master
	k.mu.Unlock()
	k.changed()
}

// SetAddrs gives the interface its addresses.
func (k *Kernel) SetAddrs(name string, prefixes ...string) {
	k.mu.Lock()
	k.host.addrs[name] = nil
	for _, p := range prefixes {
		k.host.addrs[name] = append(k.host.addrs[name], netip.MustParsePrefix(p))
	}
	k.mu.Unlock()
	k.changed()
}

// SetDefaultRoute sets the one default route, over the interfaces; none without.
func (k *Kernel) SetDefaultRoute(names ...string) {
	k.mu.Lock()
	k.host.routes = nil
	if len(names) > 0 {
		k.host.routes = [][]string{names}
	}
	k.mu.Unlock()
	k.changed()
}

// indexOf is the ifindex of the interface with the name, 0 when there is none.
func (k *Kernel) indexOf(name string) int {
	if l, ok := k.host.virtual[name]; ok {
		return l.Index
	}
	for _, d := range k.devices {
		if name != "" && d.ifname == name && d.holder == "" {
			return d.ifidx
		}
	}
	return 0
}

func (k *Kernel) failed(what string) error {
	if k.host.fails == nil {
		return nil
	}
	return k.host.fails(what)
}

// Links implements inventory.Network.
func (f frozen) Links(context.Context) ([]nl.Link, error) {
	if err := f.k.failed(AskLinks); err != nil {
		return nil, err
	}
	var out []nl.Link
	for _, d := range f.k.devices {
		if d.ifname == "" || d.holder != "" || d.ifname == f.k.host.forgotten {
			continue
		}
		mac, _ := net.ParseMAC(d.mac)
		out = append(out, nl.Link{
			Index: d.ifidx, Name: d.ifname, MAC: mac, PermMAC: mac, MTU: d.mtu, MaxMTU: 9216, Up: d.up, Carrier: d.carrier(),
			Type: nl.TypeEthernet, ParentDev: d.addr, ParentBus: nl.BusPCI,
			AltNames: d.spec.AltNames, PhysSwitchID: d.spec.SwitchID, PhysPortName: d.spec.PortName,
		})
	}
	for _, l := range f.k.host.virtual {
		out = append(out, l)
	}
	for i := range out {
		out[i].Master = f.k.indexOf(f.k.host.masters[out[i].Name])
	}
	slices.SortFunc(out, func(a, b nl.Link) int { return cmp.Compare(a.Index, b.Index) })
	return out, nil
}

// Addrs implements inventory.Network.
func (f frozen) Addrs(context.Context) ([]nl.Addr, error) {
	if err := f.k.failed(AskAddrs); err != nil {
		return nil, err
	}
	var out []nl.Addr
	for _, name := range slices.Sorted(maps.Keys(f.k.host.addrs)) {
		for _, p := range f.k.host.addrs[name] {
			if index := f.k.indexOf(name); index != 0 {
				out = append(out, nl.Addr{Index: index, Prefix: p})
			}
		}
	}
	return out, nil
}

// DefaultRoutes implements inventory.Network.
func (f frozen) DefaultRoutes(context.Context) ([]nl.Route, error) {
	if err := f.k.failed(AskRoutes); err != nil {
		return nil, err
	}
	var out []nl.Route
	for _, names := range f.k.host.routes {
		var r nl.Route
		for _, name := range names {
			if index := f.k.indexOf(name); index != 0 {
				r.Indexes = append(r.Indexes, index)
			}
		}
		if len(r.Indexes) > 0 {
			out = append(out, r)
		}
	}
	return out, nil
}

// VFs implements inventory.Network.
func (f frozen) VFs(_ context.Context, pf nl.LinkRef) ([]nl.VFInfo, error) {
	if err := f.k.failed(AskVFs); err != nil {
		return nil, err
	}
	d := f.k.byIndex(pf.Index)
	if d == nil {
		return nil, &nl.Error{Op: "read VF attributes", Target: pf.String(), Err: unix.ENODEV}
	}
	var out []nl.VFInfo
	for _, vf := range d.vfs {
		out = append(out, vf.info(d))
	}
	return out, nil
}

// info is what the PF's driver reports of the VF.
func (d *device) info(pf *device) nl.VFInfo {
	hw := func(s string) net.HardwareAddr {
		a, _ := net.ParseMAC(s)
		return a
	}
	v := nl.VFInfo{
		Index: d.index, MAC: hw(d.admin.mac), VLAN: d.admin.vlan.ID, QoS: d.admin.vlan.QoS, VLANProto: nl.Proto8021Q,
		MinRate: d.admin.minRate, MaxRate: d.admin.maxRate, LinkState: d.admin.state,
		NodeGUID: hw(d.admin.node), PortGUID: hw(d.admin.port),
	}
	if d.admin.vlan.Proto == nl.Proto8021AD {
		v.VLANProto = nl.Proto8021AD
	}
	if on := d.admin.queryRSS; pf.driver == "ixgbe" {
		v.QueryRSS = &on
	}
	if trust := d.admin.trust; !slices.Contains(pf.spec.Mute, "trust") {
		v.Trust = &trust
	}
	if spoof := d.admin.spoof; !slices.Contains(pf.spec.Mute, "spoofCheck") {
		v.SpoofCheck = &spoof
	}
	return v
}

// EswitchMode implements inventory.Network.
func (f frozen) EswitchMode(_ context.Context, _, dev string) (string, error) {
	if err := f.k.failed(AskMode); err != nil {
		return "", err
	}
	if d := f.k.devices[dev]; d != nil && d.eswitch != "" {
		return d.eswitch, nil
	}
	return "", &nl.Error{Op: "read eswitch mode", Target: dev, Err: unix.EOPNOTSUPP}
}

// TCOffload implements inventory.Network.
func (f frozen) TCOffload(_ context.Context, ifname string) (bool, error) {
	if err := f.k.failed(AskTC); err != nil {
		return false, err
	}
	for _, d := range f.k.devices {
		if d.ifname == ifname && d.eswitch != "" {
			return d.tcOffload, nil
		}
	}
	return false, &nl.Error{Op: "read hw-tc-offload", Target: ifname, Err: unix.EOPNOTSUPP}
}

// DevlinkInfo implements inventory.Network.
func (f frozen) DevlinkInfo(_ context.Context, _, dev string) (map[string]string, error) {
	if err := f.k.failed(AskInfo); err != nil {
		return nil, err
	}
	if d := f.k.devices[dev]; d != nil && d.spec.DDP != "" {
		return map[string]string{"fw.app.name": d.spec.DDP}, nil
	}
	return nil, &nl.Error{Op: "read devlink info", Target: dev, Err: unix.EOPNOTSUPP}
}

// RDMANetnsMode implements inventory.Network.
func (f frozen) RDMANetnsMode(context.Context) (nl.RDMANetnsMode, error) {
	return f.k.host.modes, f.k.failed(AskRDMA)
}

// asked answers for one who does not hold the lock.
func asked[T any](k *Kernel, f func(frozen) (T, error)) (T, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return f(frozen{k})
}

// Links implements inventory.Network.
func (k *Kernel) Links(ctx context.Context) ([]nl.Link, error) {
	return asked(k, func(f frozen) ([]nl.Link, error) { return f.Links(ctx) })
}

// Addrs implements inventory.Network.
func (k *Kernel) Addrs(ctx context.Context) ([]nl.Addr, error) {
	return asked(k, func(f frozen) ([]nl.Addr, error) { return f.Addrs(ctx) })
}

// DefaultRoutes implements inventory.Network.
func (k *Kernel) DefaultRoutes(ctx context.Context) ([]nl.Route, error) {
	return asked(k, func(f frozen) ([]nl.Route, error) { return f.DefaultRoutes(ctx) })
}

// VFs implements inventory.Network.
func (k *Kernel) VFs(ctx context.Context, pf nl.LinkRef) ([]nl.VFInfo, error) {
	return asked(k, func(f frozen) ([]nl.VFInfo, error) { return f.VFs(ctx, pf) })
}

// EswitchMode implements inventory.Network.
func (k *Kernel) EswitchMode(ctx context.Context, bus, dev string) (string, error) {
	return asked(k, func(f frozen) (string, error) { return f.EswitchMode(ctx, bus, dev) })
}

// TCOffload implements inventory.Network.
func (k *Kernel) TCOffload(ctx context.Context, ifname string) (bool, error) {
	return asked(k, func(f frozen) (bool, error) { return f.TCOffload(ctx, ifname) })
}

// DevlinkInfo implements inventory.Network.
func (k *Kernel) DevlinkInfo(ctx context.Context, bus, dev string) (map[string]string, error) {
	return asked(k, func(f frozen) (map[string]string, error) { return f.DevlinkInfo(ctx, bus, dev) })
}

// RDMANetnsMode implements inventory.Network.
func (k *Kernel) RDMANetnsMode(ctx context.Context) (nl.RDMANetnsMode, error) {
	return asked(k, func(f frozen) (nl.RDMANetnsMode, error) { return f.RDMANetnsMode(ctx) })
}

// Forget leaves the interface out of netlink's list, as when it was renamed while
// the machine was read.
func (k *Kernel) Forget(name string) {
	k.mu.Lock()
	k.host.forgotten = name
	k.mu.Unlock()
	k.changed()
}
