package plan

import (
	"fmt"
	"slices"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
)

// vdpaNow is the VF's vDPA device as far as the steps before leave it.
func (v *vfWork) vdpaNow() *inventory.VDPADevice {
	if v.anew {
		return nil
	}
	return v.vf.VDPA
}

// vdpaWant is the driver that the VF's vDPA device should have, "" for no device.
func (v *vfWork) vdpaWant() string {
	if v.group == nil || v.group.VDPA == "" {
		return ""
	}
	return string(v.group.VDPA) + "_vdpa"
}

// vdpa plans the VF's vDPA device.
func (w *work) vdpa(v *vfWork) {
	have := v.vdpaNow()
	if v.vdpaWant() == "" {
		if have != nil && have.Name == VDPAName(v.vf.Address) {
			s := Step{
				ID: w.vfID(v.index, KindVDPADel), Kind: KindVDPADel, Action: ActionRemove, VFs: []int{v.index},
				Path: "netlink vdpa " + have.Name, Old: have.Name,
				Reason: "the document asks for no vDPA device", Disruption: DisruptReset, Needs: v.needs,
			}
			w.wait(&s)
			w.add(s)
		}
		return
	}
	if have != nil {
		return
	}
	if !v.anew && v.busy {
		w.later(v, "vdpa")
		return
	}
	name := VDPAName(fmt.Sprintf("<VF %d>", v.index))
	if v.vf != nil {
		name = VDPAName(v.vf.Address)
	}
	if r, ok := w.record.Refused[w.vfID(v.index, KindVDPAAdd)]; ok && r.Holds(name, w.out.Carrier) {
		w.refuse(v, &attribute{key: "vdpa"}, string(v.group.VDPA), r.Answer)
		return
	}
	v.vdpaMade = true
	v.needs = append(slices.Clone(v.needs), w.add(Step{
		ID: w.vfID(v.index, KindVDPAAdd), Kind: KindVDPAAdd, Action: ActionCreate, VFs: []int{v.index},
		Path: "netlink vdpa", New: name,
		Reason: "the document says vdpa", Disruption: DisruptNone, Needs: v.needs, Key: "vdpa", Pos: v.group.Pos,
	}))
}

// vdpaDriver plans who uses the VF's vDPA device.
func (w *work) vdpaDriver(v *vfWork) {
	have, want := v.vdpaNow(), v.vdpaWant()
	if want == "" || have != nil && have.Driver == want || have == nil && !v.vdpaMade {
		return
	}
	s := Step{
		ID: w.vfID(v.index, KindVDPADriver), Kind: KindVDPADriver, Action: ActionChange, VFs: []int{v.index},
		Path: sysRoot + sysfs.VDPADriverBind(want), New: want,
		Reason: "the document says vdpa", Disruption: DisruptNone, Needs: v.needs, Key: "vdpa", Pos: v.group.Pos,
	}
	if have != nil && have.Driver != "" {
		s.Old = have.Driver
		s.Disruption = DisruptReset
		w.wait(&s)
	}
	w.add(s)
}

// VDPAName is the name of the vDPA device that is made on the VF.
func VDPAName(address string) string { return "vdpa:" + address }
