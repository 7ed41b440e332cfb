package plan

import (
	"slices"

	"github.com/talos-sriov/talos-sriov/pkg/nic"
	"github.com/talos-sriov/talos-sriov/pkg/op"
)

// awaited is a VF whose interface is there, or comes.
type awaited struct {
	vf
	// again: its driver is bound by a step of this plan, or with the VF.
	again bool
	// needs are the steps after which the VF is ready for more.
	needs []string
	// addresses and refused: see attributed.
	addresses, refused []string
}

const awaitReason = "the VFs are ready when their netdevs are there"

// await plans the wait for the netdevs of VFs that get their driver. held says
// which steps wait for holders.
func (p *port) await(m made, vfs []boundVF, held map[string]string) ([]awaited, yield) {
	var y yield
	var now []int
	out := make([]awaited, 0, len(vfs))
	for i := range vfs {
		v := &vfs[i]
		if !p.hasNetdev(&v.vf) {
			continue
		}
		again := v.now == nil || v.probe != ""
		if again || v.right() {
			out = append(out, awaited{vf: v.vf, again: again, needs: after(v.probe, v.made), addresses: v.addresses, refused: v.refused})
		}
		switch {
		case v.probe == "" && (v.now != nil || !v.bound):
		case held[v.probe] == "":
			now = append(now, v.index)
		default:
			s := p.vfStep(v.index, op.AwaitNetdevs{OnPF: p.onPF(), Indexes: []int{v.index}})
			s.Reason, s.Needs = awaitReason, []string{v.probe}
			y.steps = append(y.steps, s)
		}
	}
	if len(now) > 0 {
		s := p.step(op.AwaitNetdevs{OnPF: p.onPF(), Indexes: now}, "")
		s.Reason, s.Needs = awaitReason, after(m.by)
		y.steps = append(y.steps, s)
	}
	return out, y
}

// settle plans what comes after the VFs' drivers, one thing after the other.
func (p *port) settle(vfs []awaited) yield {
	var y yield
	for i := range vfs {
		y.steps = append(y.steps, p.verify(&vfs[i])...)
	}
	for i := range vfs {
		y.add(p.vfMTU(&vfs[i]))
	}
	devices := make([]withVDPA, 0, len(vfs))
	for i := range vfs {
		v, more := p.vdpa(&vfs[i])
		devices = append(devices, v)
		y.add(more)
	}
	for i := range devices {
		y.steps = append(y.steps, p.vdpaDriver(&devices[i])...)
	}
	return y
}

// verify waits for what a driver that binds has to bring.
func (p *port) verify(v *awaited) []Step {
	if v.group == nil || !v.again {
		return nil
	}
	var steps []Step
	if mac, ok := p.member(v.group, v.index).mac(); ok {
		o := op.AwaitVFAddress{OnVF: p.onVF(v.index), MAC: mac}
		if !p.failed(&v.vf, o) && !slices.Contains(v.refused, keyMAC) {
			s := p.vfStep(v.index, o)
			s.Reason, s.Needs = "the VF is ready when its netdev has the address", slices.Concat(v.needs, v.addresses)
			s.Key, s.Pos = keyMAC, v.group.Pos
			steps = append(steps, s)
		}
	}
	if o := (op.AwaitVFRDMA{OnVF: p.onVF(v.index)}); v.group.RDMA && p.nic.RDMA != nic.No && !p.failed(&v.vf, o) {
		s := p.vfStep(v.index, o)
		s.Reason, s.Needs = "the VF is ready when its RDMA device is there", v.needs
		s.Key, s.Pos = "rdma", v.group.Pos
		steps = append(steps, s)
	}
	return steps
}

// defaultMTU is what an Ethernet netdev starts with.
const defaultMTU = 1500

// vfMTU plans the MTU of the VF's netdev: its group's, else its PF's.
func (p *port) vfMTU(v *awaited) yield {
	want := p.entry.MTU
	if v.group != nil && v.group.MTU != nil {
		want = v.group.MTU
	}
	if want == nil {
		return yield{}
	}
	have, name := defaultMTU, ""
	if v.now != nil && len(v.now.Netdevs) > 0 {
		name = v.now.Netdevs[0].Name
		if !v.again {
			have = v.now.Netdevs[0].MTU
		}
	} else if !v.again {
		return yield{} // in a pod, or for nobody
	}
	if have == *want {
		return yield{}
	}
	if !v.again && p.busy(&v.vf) {
		var y yield
		y.later(&v.vf, "mtu")
		return y
	}
	s := p.setVFMTU(v.index, name, have, *want)
	s.Reason, s.Needs, s.Forced = "the config says mtu", v.needs, p.over(&v.vf)
	return yield{steps: []Step{s}}
}

func (p *port) setVFMTU(index int, netdev string, have, want int) Step {
	return p.vfStep(index, op.SetVFMTU{
		OnVF: p.onVF(index), Found: op.Found{Was: op.MTU(have)}, Netdev: netdev, MTU: op.MTU(want),
	})
}
