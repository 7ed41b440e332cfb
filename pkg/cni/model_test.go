package cni

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"syscall"

	"github.com/talos-sriov/talos-sriov/pkg/cni/vf"
	"github.com/talos-sriov/talos-sriov/pkg/nl"
)

// model is a kernel with one PF (pf0, 0000:21:00.0), VFs that have an
// interface, an RDMA device and attributes, and network namespaces. It follows
// the rules seen on a real one: a moved interface goes down, the rename comes
// after the move, a dying namespace returns interfaces under the names they
// had in it, an altname is in the way of a rename.
type model struct {
	links  []*mlink
	rdma   map[string]string // device -> namespace
	vfs    map[int]*nl.VFInfo
	driver map[int]string
	spaces map[string]bool // path -> alive
	mode   nl.RDMANetnsMode
	index  int
	calls  []string
	sticky bool // an untrusted VF may not set its MAC once the PF did (igb)
	silent bool // the driver reports neither spoof check nor trust
	// fail decides the fate of each changing call, by its name.
	fail func(call string) error
	// look comes before each question about an interface.
	look func(ref nl.LinkRef)
}

type mlink struct {
	nl.Link
	ns    string // "" is the host
	addrs []nl.Addr
}

func newModel(vfs int) *model {
	m := &model{
		rdma: map[string]string{}, vfs: map[int]*nl.VFInfo{}, driver: map[int]string{},
		spaces: map[string]bool{"/ns/a": true, "/ns/b": true}, mode: nl.RDMAExclusive,
	}
	m.add("pf0", "0000:21:00.0", "02:00:00:00:00:ff")
	for i := range vfs {
		m.driver[i] = "igbvf"
		m.add(fmt.Sprintf("vf%d", i), vfAddr(i), fmt.Sprintf("02:00:00:00:00:%02x", i))
		m.rdma[fmt.Sprintf("mlx5_%d", i)] = ""
		m.vfs[i] = &nl.VFInfo{Index: i, MAC: make(net.HardwareAddr, 6), VLANProto: nl.Proto8021Q, SpoofCheck: new(true), Trust: new(false)}
	}
	for _, ns := range []string{"/ns/a", "/ns/b"} {
		m.add("eth0", "", "02:00:00:00:01:00").ns = ns
	}
	return m
}

func vfAddr(i int) string { return fmt.Sprintf("0000:21:10.%d", i) }

func (m *model) add(name, dev, mac string) *mlink {
	m.index++
	hw, _ := net.ParseMAC(mac)
	l := &mlink{Link: nl.Link{Index: m.index, Name: name, MAC: hw, MTU: 1500, ParentDev: dev}}
	if dev == "" {
		l.Kind = "veth"
	}
	m.links = append(m.links, l)
	return l
}

func (m *model) vfLink(i int) *mlink {
	for _, l := range m.links {
		if l.ParentDev == vfAddr(i) {
			return l
		}
	}
	return nil
}

// kill ends a namespace.
func (m *model) kill(path string) {
	delete(m.spaces, path)
	m.links = slices.DeleteFunc(m.links, func(l *mlink) bool { return l.ns == path && l.ParentDev == "" })
	for _, l := range m.links {
		if l.ns == path {
			if m.taken("", l.Name) != nil {
				l.Name = fmt.Sprintf("dev%d", l.Index)
			}
			l.ns, l.Up, l.addrs = "", false, nil
		}
	}
	for d, ns := range m.rdma {
		if ns == path {
			m.rdma[d] = ""
		}
	}
}

func (m *model) taken(ns, name string) *mlink {
	for _, l := range m.links {
		if l.ns == ns && (l.Name == name || slices.Contains(l.AltNames, name)) {
			return l
		}
	}
	return nil
}

// state is everything that must be as before, as text.
func (m *model) state() string {
	var b strings.Builder
	for _, l := range m.links {
		if l.ParentDev == "" {
			continue
		}
		fmt.Fprintln(&b, l.ParentDev, l.ns, l.Name, l.AltNames, l.MAC, l.MTU, l.Up)
	}
	for _, d := range slices.Sorted(maps.Keys(m.rdma)) {
		fmt.Fprintln(&b, d, m.rdma[d])
	}
	for i := range len(m.vfs) {
		v := m.vfs[i]
		fmt.Fprintln(&b, i, v.MAC, v.VLAN, v.QoS, v.MinRate, v.MaxRate, *v.SpoofCheck, *v.Trust, v.LinkState)
	}
	return b.String()
}

func (m *model) do(call string, f func() error) error {
	m.calls = append(m.calls, call)
	if m.fail != nil {
		if err := m.fail(call); err != nil {
			return &nl.Error{Op: call, Err: err}
		}
	}
	if err := f(); err != nil {
		return &nl.Error{Op: call, Err: err}
	}
	return nil
}

// model is a Kernel.
func (m *model) Host() NS { return mns{m, ""} }

func (m *model) Open(path string) (NS, error) {
	if path == "/proc/self/ns/net" {
		return mns{m, ""}, nil
	}
	if !m.spaces[path] {
		return nil, fmt.Errorf("%w at %s", ErrNoNamespace, path)
	}
	return mns{m, path}, nil
}

type mns struct {
	*model
	ns string
}

func (n mns) ID() (string, error) { return "id:" + n.ns, nil }
func (n mns) Close() error        { return nil }

func (n mns) get(ref nl.LinkRef) (*mlink, error) {
	for _, l := range n.links {
		if l.ns == n.ns && (ref.Index != 0 && l.Index == ref.Index || ref.Index == 0 && l.Name == ref.Name) {
			return l, nil
		}
	}
	return nil, &nl.Error{Op: "find", Target: ref.String(), Err: syscall.ENODEV}
}

func (n mns) on(call string, ref nl.LinkRef, f func(*mlink) error) error {
	return n.do(call, func() error {
		l, err := n.get(ref)
		if err != nil {
			return err
		}
		return f(l)
	})
}

func (n mns) Links(context.Context) ([]nl.Link, error) {
	var out []nl.Link
	for _, l := range n.links {
		if l.ns == n.ns {
			out = append(out, l.Link)
		}
	}
	return out, nil
}

func (n mns) Link(_ context.Context, ref nl.LinkRef) (nl.Link, error) {
	if n.look != nil {
		n.look(ref)
	}
	l, err := n.get(ref)
	if err != nil {
		return nl.Link{}, err
	}
	return l.Link, nil
}

func (n mns) Addrs(context.Context) (out []nl.Addr, _ error) {
	for _, l := range n.links {
		if l.ns == n.ns {
			out = append(out, l.addrs...)
		}
	}
	return out, nil
}

func (n mns) VFs(context.Context, nl.LinkRef) (out []nl.VFInfo, _ error) {
	for i := range len(n.vfs) {
		v := *n.vfs[i]
		if v.SpoofCheck, v.Trust = new(*v.SpoofCheck), new(*v.Trust); n.silent {
			v.SpoofCheck, v.Trust = nil, nil
		}
		out = append(out, v)
	}
	return out, nil
}

func (n mns) vf(call string, i int, f func(*nl.VFInfo)) error {
	return n.do(call, func() error { f(n.vfs[i]); return nil })
}

func (n mns) SetVFMAC(_ context.Context, _ nl.LinkRef, i int, mac net.HardwareAddr) error {
	return n.vf("vf-mac", i, func(v *nl.VFInfo) { v.MAC = mac })
}

func (n mns) SetVFVLAN(_ context.Context, _ nl.LinkRef, i int, vlan nl.VLAN) error {
	return n.vf(fmt.Sprintf("vf-vlan %d %d %d %d", i, vlan.ID, vlan.QoS, vlan.Proto), i, func(v *nl.VFInfo) {
		v.VLAN, v.QoS, v.VLANProto = vlan.ID, vlan.QoS, vlan.Proto
	})
}

func (n mns) SetVFRate(_ context.Context, _ nl.LinkRef, i, lo, hi int) error {
	return n.vf("vf-rate", i, func(v *nl.VFInfo) { v.MinRate, v.MaxRate = lo, hi })
}

func (n mns) SetVFSpoofCheck(_ context.Context, _ nl.LinkRef, i int, on bool) error {
	return n.vf("vf-spoofchk", i, func(v *nl.VFInfo) { v.SpoofCheck = &on })
}

func (n mns) SetVFTrust(_ context.Context, _ nl.LinkRef, i int, on bool) error {
	return n.vf("vf-trust", i, func(v *nl.VFInfo) { v.Trust = &on })
}

func (n mns) SetVFLinkState(_ context.Context, _ nl.LinkRef, i int, s nl.LinkState) error {
	return n.vf("vf-link", i, func(v *nl.VFInfo) { v.LinkState = s })
}

func (n mns) SetUp(_ context.Context, ref nl.LinkRef, up bool) error {
	return n.on("up", ref, func(l *mlink) error { l.Up, l.Carrier = up, up; return nil })
}

func (n mns) SetMTU(_ context.Context, ref nl.LinkRef, mtu int) error {
	return n.on("mtu", ref, func(l *mlink) error { l.MTU = mtu; return nil })
}

func (n mns) SetMAC(_ context.Context, ref nl.LinkRef, mac net.HardwareAddr) error {
	return n.on("mac", ref, func(l *mlink) error {
		for i, v := range n.vfs {
			if vfAddr(i) == l.ParentDev && n.sticky && !vf.IsZero(v.MAC) && !*v.Trust {
				return syscall.EADDRNOTAVAIL
			}
		}
		l.MAC = mac
		return nil
	})
}

func (n mns) Rename(_ context.Context, ref nl.LinkRef, name string) error {
	return n.on("rename", ref, func(l *mlink) error { return n.rename(l, name) })
}

func (m *model) rename(l *mlink, name string) error {
	if l.Name == name {
		return nil
	}
	if m.taken(l.ns, name) != nil {
		return syscall.EEXIST
	}
	l.Name = name
	return nil
}

func (n mns) AddAltName(_ context.Context, ref nl.LinkRef, name string) error {
	return n.on("altname+", ref, func(l *mlink) error {
		if n.taken(n.ns, name) != nil {
			return syscall.EEXIST
		}
		l.AltNames = append(slices.Clone(l.AltNames), name)
		return nil
	})
}

func (n mns) DelAltName(_ context.Context, ref nl.LinkRef, name string) error {
	return n.on("altname-", ref, func(l *mlink) error {
		l.AltNames = slices.DeleteFunc(slices.Clone(l.AltNames), func(s string) bool { return s == name })
		return nil
	})
}

func (n mns) MoveLink(_ context.Context, ref nl.LinkRef, to NS, name string) error {
	return n.on("move", ref, func(l *mlink) error {
		dst := to.(mns).ns
		if n.taken(dst, l.Name) != nil {
			if n.taken(dst, name) != nil {
				return syscall.EEXIST
			}
			l.Name = name
		}
		l.ns, l.Up, l.Carrier, l.addrs = dst, false, false, nil
		return n.rename(l, name)
	})
}

func (n mns) AddAddr(_ context.Context, a nl.Addr) error {
	return n.on("addr", nl.LinkRef{Index: a.Index}, func(l *mlink) error { l.addrs = append(l.addrs, a); return nil })
}

func (n mns) AddRoute(_ context.Context, r nl.NewRoute) error {
	return n.do(fmt.Sprintf("route %s via %s", r.Dst, r.Gateway), func() error { return nil })
}

func (n mns) RDMANetnsMode(context.Context) (nl.RDMANetnsMode, error) { return n.mode, nil }

func (n mns) RDMADevs(context.Context) (out []nl.RDMADev, _ error) {
	for d, ns := range n.rdma {
		if ns == n.ns {
			out = append(out, nl.RDMADev{Name: d})
		}
	}
	return out, nil
}

func (n mns) MoveRDMA(_ context.Context, d nl.RDMADev, to NS) error {
	return n.do("rdma", func() error { n.rdma[d.Name] = to.(mns).ns; return nil })
}

func (n mns) SetSysctl(context.Context, string, string) error { return nil }

func (n mns) Send(_ context.Context, _ int, frame []byte) error {
	return n.do(fmt.Sprintf("send %x", frame[12:14]), func() error { return nil })
}
