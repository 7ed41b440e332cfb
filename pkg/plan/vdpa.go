package plan

import (
	"slices"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/op"
)

// withVDPA is a VF whose vDPA device is planned.
type withVDPA struct {
	awaited
	made bool // by a step of this plan
}

// vdpaNow is the VF's vDPA device as far as the steps before leave it.
func (v *awaited) vdpaNow() *inventory.VDPADevice {
	if v.again {
		return nil
	}
	return v.now.VDPA
}

// vdpaWant is the driver that the VF's vDPA device should have, "" for no device.
func (v *awaited) vdpaWant() op.Driver {
	if v.group == nil || v.group.VDPA == "" {
		return ""
	}
	return op.Driver(v.group.VDPA + "_vdpa")
}

// vdpa plans the VF's vDPA device.
func (p *port) vdpa(v *awaited) (withVDPA, yield) {
	out := withVDPA{awaited: *v}
	have := v.vdpaNow()
	if v.vdpaWant() == "" {
		if have == nil || have.Name != op.VDPAName(v.now.Address) {
			return out, yield{}
		}
		s := p.vfStep(v.index, op.DeleteVDPA{OnVF: p.onVF(v.index), Device: op.VDPADevice(have.Name)})
		s.Reason, s.Disruption, s.Needs = "the config asks for no vDPA device", DisruptReset, v.needs
		return out, yield{steps: []Step{p.waiting(s)}}
	}
	if have != nil {
		return out, yield{}
	}
	var y yield
	if !v.again && p.busy(&v.vf) {
		y.later(&v.vf, keyVDPA)
		return out, y
	}
	o := op.AddVDPA{OnVF: p.onVF(v.index)}
	if v.now != nil {
		o.VFAddress = v.now.Address
	}
	s := p.on(&v.vf, o)
	if r, ok := p.refused(s.ID, o.Want()); ok {
		want := string(v.group.VDPA)
		y.found = []finding{{about{kind: answered, group: v.group, key: keyVDPA, want: want, answer: r.Answer}, v.index, want}}
		return out, y
	}
	s.Reason, s.Needs, s.Key, s.Pos = "the config says vdpa", v.needs, keyVDPA, v.group.Pos
	out.made, out.needs = true, append(slices.Clone(v.needs), s.ID)
	return out, yield{steps: []Step{s}}
}

// vdpaDriver plans who uses the VF's vDPA device.
func (p *port) vdpaDriver(v *withVDPA) []Step {
	have, want := v.vdpaNow(), v.vdpaWant()
	if want == "" || have != nil && have.Driver == string(want) || have == nil && !v.made {
		return nil
	}
	o := op.BindVDPA{OnVF: p.onVF(v.index), Driver: want}
	taken := have != nil && have.Driver != ""
	if taken {
		o.Was = op.Driver(have.Driver)
	}
	s := p.on(&v.vf, o)
	s.Reason, s.Needs, s.Key, s.Pos = "the config says vdpa", v.needs, keyVDPA, v.group.Pos
	if taken {
		s.Disruption = DisruptReset
	}
	if !v.again {
		s = p.waiting(s)
	}
	return []Step{s}
}
