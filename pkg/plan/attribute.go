package plan

import (
	"fmt"
	"slices"

	"github.com/talos-sriov/talos-sriov/pkg/nic"
	"github.com/talos-sriov/talos-sriov/pkg/op"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// attributed is a VF with what its PF holds for it.
type attributed struct {
	unboundVF
	// addresses are the steps that set what the driver reads when it binds.
	addresses []string
	// rebind says why the driver must be bound again, "" when it need not.
	rebind string
	// refused are the config's keys that the driver refuses for the VF.
	refused []string
	// unseen: the driver does not report what the PF holds for the VF.
	unseen bool
}

// attribute plans what the PF holds for its VFs, and which of them need their
// driver bound again for it, or for what they lack. One attribute comes after the
// other, so that people read them together.
func (p *port) attribute(vfs []unboundVF) ([]attributed, yield) {
	out := make([]attributed, len(vfs))
	for i := range vfs {
		out[i].unboundVF = vfs[i]
	}
	var y yield
	for i := range attributes {
		for j := range out {
			if out[j].group != nil {
				p.set(&attributes[i], &out[j], &y)
			}
		}
	}
	for i := range out {
		p.rebind(&out[i], &y)
	}
	return out, y
}

// set plans one attribute of one VF.
func (p *port) set(a *attribute, v *attributed, y *yield) {
	want, ok := a.want(p.member(v.group, v.index))
	if !ok {
		if a.derived != nil && a.derived(v.group) && len(p.pf.Netdevs) > 0 {
			y.refuse(v, a, about{kind: underivable}, nil)
		}
		return
	}
	have, known := p.attributeNow(a, &v.vf, want)
	if v.now != nil && v.now.Admin == nil && !v.unseen {
		v.unseen = true
		y.find(&v.vf, about{kind: unseen})
	}
	o := a.set(p.onVF(v.index), have, want)
	s := p.on(&v.vf, o)
	// A driver that refuses it often does not report it either.
	r, refused := p.refused(s.ID, want)
	if known && have.Equal(want) || !known && v.now != nil && !refused && !slices.Contains(p.record.Open, s.ID) {
		return
	}
	switch {
	case a.can(&p.nic, want) == nic.No:
		y.refuse(v, a, about{kind: cannot}, want)
		return
	case refused && r.Volatile && !r.Carrier && !v.group.Optional.Has(a.key):
		y.find(&v.vf, about{kind: noLink})
		return
	case refused:
		y.refuse(v, a, about{kind: answered, answer: r.Answer}, want)
		return
	case len(p.pf.Netdevs) == 0:
		y.find(&v.vf, about{kind: noInterface})
		return
	case p.busy(&v.vf):
		y.later(&v.vf, a.key)
		return
	}
	s.Reason, s.Needs = "the config says "+a.key, after(v.made)
	s.Optional, s.Key, s.Pos = v.group.Optional.Has(a.key), a.key, v.group.Pos
	if a.rebind {
		v.addresses = append(v.addresses, s.ID)
		if v.now != nil && v.bound && v.driver() == spec.DriverDefault {
			if p.nic.ResetsVFOnMAC {
				s.Disruption = DisruptReset
			} else {
				v.rebind = "the VF's driver reads its address when it binds"
			}
		}
	}
	y.steps = append(y.steps, s)
}

// refuse notes that the VF cannot have the value of the attribute, nil for none.
func (y *yield) refuse(v *attributed, a *attribute, why about, want op.Value) {
	v.refused = append(v.refused, a.key)
	why.group, why.key = v.group, a.key
	f := finding{about: why, vf: v.index, want: op.Text(want)}
	if !a.rebind {
		f.about.want = f.want
	}
	y.found = append(y.found, f)
}

// attributeNow is the attribute of the VF as it is; false when that is not known.
func (p *port) attributeNow(a *attribute, v *vf, want op.Value) (op.Value, bool) {
	if v.now == nil {
		return a.fresh, a.fresh != nil
	}
	have, known := a.set(p.onVF(v.index), nil, want).Read(p.pf)
	if !known {
		return nil, false
	}
	return have, true
}

// rebind says at the VF why its driver must be bound again: for an attribute, or for
// what only a new bind brings.
func (p *port) rebind(v *attributed, y *yield) {
	if v.now == nil || v.group == nil || !v.bound || !v.right() || v.driver() != spec.DriverDefault {
		return
	}
	if mac, ok := p.member(v.group, v.index).mac(); ok && v.rebind == "" && p.otherAddress(&v.vf, mac) {
		if p.failed(&v.vf, op.AwaitVFAddress{OnVF: p.onVF(v.index), MAC: mac}) {
			y.problems = append(y.problems, Problem{
				Pos: v.group.Pos, VFs: []int{v.index}, Partial: true,
				Msg:  fmt.Sprintf("macAddresses: the VF's driver %s did not take %s when it was bound; the VF has %s", v.now.Driver, mac, v.now.Netdevs[0].MAC),
				Hint: "see the kernel log of the VF's driver",
			})
		} else {
			v.rebind = "the VF's netdev has another address than its PF gives it"
		}
	}
	if v.group.RDMA && len(v.now.RDMA) == 0 && v.rebind == "" && !use.NetdevAway(&v.now.Function) {
		if p.nic.RDMA == nic.No || p.failed(&v.vf, op.AwaitVFRDMA{OnVF: p.onVF(v.index)}) {
			y.problems = append(y.problems, p.noRDMA(&v.vf))
		} else {
			v.rebind = "the VF has no RDMA device, and gets one when its driver binds"
		}
	}
}

// otherAddress reports whether the VF's netdev has another address than the one
// that the PF holds for it.
func (p *port) otherAddress(v *vf, mac op.MAC) bool {
	if len(v.now.Netdevs) != 1 {
		return false
	}
	at := p.onVF(v.index)
	held, _ := op.SetVFMAC{Attribute: op.Attribute[op.MAC]{OnVF: at}}.Read(p.pf)
	has, _ := op.AwaitVFAddress{OnVF: at}.Read(p.pf)
	return op.Equal(held, mac) && !op.Equal(has, mac)
}

func (p *port) noRDMA(v *vf) Problem {
	pr := Problem{
		Pos: v.group.Pos, VFs: []int{v.index}, Partial: true, Pending: true,
		Msg:  "rdma: the VF has no RDMA device",
		Hint: "its RDMA module may be missing (mlx5_ib, irdma): add it to the machine config (kernel.modules); taken up when the device appears",
	}
	if p.nic.RDMA == nic.No {
		pr.Pending = false
		pr.Msg = fmt.Sprintf("rdma: VFs of the driver %s have no RDMA devices", p.pf.Driver)
		pr.Hint = "remove rdma from this group"
	}
	return pr
}

// failed reports whether an earlier run of this boot waited for it without success.
func (p *port) failed(v *vf, o op.Op) bool {
	_, failed := p.refused(p.vfID(v.index, o.Kind()), o.Want())
	return failed
}
