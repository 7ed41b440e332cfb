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
			if out[j].group == nil {
				continue
			}
			set := p.set(&attributes[i], &out[j].vf)
			y.add(set.yield)
			out[j] = set.of(out[j])
		}
	}
	for i := range out {
		var found findings
		out[i].rebind, found = p.rebind(&out[i])
		y.found.add(found)
	}
	return out, y
}

// attributeSet is what comes of one attribute of one VF.
type attributeSet struct {
	yield
	address string // the step, when it sets what the driver reads when it binds
	rebind  string // why the driver must be bound again for it
	refused string // the key, when the driver refuses it
}

// of is the VF with the attribute set.
func (s attributeSet) of(v attributed) attributed {
	if s.address != "" {
		v.addresses = append(slices.Clone(v.addresses), s.address)
	}
	if s.refused != "" {
		v.refused = append(slices.Clone(v.refused), s.refused)
	}
	if s.rebind != "" {
		v.rebind = s.rebind
	}
	return v
}

// set plans one attribute of one VF.
func (p *port) set(a *attribute, v *vf) attributeSet {
	want, ok := a.want(p.member(v.group, v.index))
	if !ok {
		if a.derived != nil && a.derived(v.group) && len(p.pf.Netdevs) > 0 {
			return attributeSet{}.refusing(vfRefusal{vf: v.index, group: v.group, key: a.key, why: underivable, address: true})
		}
		return attributeSet{}
	}
	have, known := p.attributeNow(a, v, want)
	var out attributeSet
	if v.now != nil && v.now.Admin == nil {
		out.found.unseen = []int{v.index}
	}
	o := a.set(p.onVF(v.index), have, want)
	s := p.vfStep(v.index, o)
	// A driver that refuses it often does not report it either.
	r, refused := p.refused(s.ID, want)
	if known && have.Equal(want) || !known && v.now != nil && !refused && !slices.Contains(p.record.Open, s.ID) {
		return out
	}
	if a.can(&p.nic, want) == nic.No {
		return out.refusing(vfRefusal{vf: v.index, group: v.group, key: a.key, want: want.String(), why: cannot, address: a.rebind})
	}
	if refused {
		if r.Volatile && !r.Carrier && !v.group.Optional.Has(a.key) {
			out.found.noLink = []int{v.index}
			return out
		}
		return out.refusing(vfRefusal{vf: v.index, group: v.group, key: a.key, want: want.String(), why: answered, answer: r.Answer, address: a.rebind})
	}
	switch {
	case len(p.pf.Netdevs) == 0:
		out.found.noInterface = []int{v.index}
		return out
	case p.busy(v):
		out.found.later(v, a.key)
		return out
	}
	s.Reason, s.Needs = "the config says "+a.key, after(v.made)
	s.Optional, s.Key, s.Pos, s.Forced = v.group.Optional.Has(a.key), a.key, v.group.Pos, p.over(v)
	if a.rebind {
		out.address = s.ID
		if v.now != nil && v.bound && v.driver() == spec.DriverDefault {
			if p.nic.ResetsVFOnMAC {
				s.Disruption = DisruptReset
			} else {
				out.rebind = "the VF's driver reads its address when it binds"
			}
		}
	}
	out.steps = []Step{s}
	return out
}

// refusing is the set with the attribute refused.
func (s attributeSet) refusing(r vfRefusal) attributeSet {
	s.refused = r.key
	s.found.refusals = []vfRefusal{r}
	return s
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

// rebind is why the VF's driver must be bound again, "" when it need not: for an
// attribute, or for what only a new bind brings.
func (p *port) rebind(v *attributed) (string, findings) {
	var found findings
	if v.now == nil || v.group == nil || !v.bound || !v.right() || v.driver() != spec.DriverDefault {
		return v.rebind, found
	}
	why := v.rebind
	if mac, ok := p.member(v.group, v.index).mac(); ok && why == "" && p.otherAddress(&v.vf, mac) {
		if p.failed(&v.vf, op.AwaitVFAddress{OnVF: p.onVF(v.index), MAC: mac}) {
			found.problems = append(found.problems, Problem{
				Pos: v.group.Pos, VFs: []int{v.index}, Partial: true,
				Msg:  fmt.Sprintf("macAddresses: the VF's driver %s did not take %s when it was bound; the VF has %s", v.now.Driver, mac, v.now.Netdevs[0].MAC),
				Hint: "see the kernel log of the VF's driver",
			})
		} else {
			why = "the VF's netdev has another address than its PF gives it"
		}
	}
	if v.group.RDMA && len(v.now.RDMA) == 0 && why == "" && !use.NetdevAway(&v.now.Function) {
		if p.nic.RDMA == nic.No || p.failed(&v.vf, op.AwaitVFRDMA{OnVF: p.onVF(v.index)}) {
			found.problems = append(found.problems, p.noRDMA(&v.vf))
		} else {
			why = "the VF has no RDMA device, and gets one when its driver binds"
		}
	}
	return why, found
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
