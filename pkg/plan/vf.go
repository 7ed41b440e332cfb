package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/nic"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// overrideNone is the name that no driver has: the kernel's own way to keep a
// device from every driver (driver_override in Documentation/ABI/testing/
// sysfs-bus-pci).
const overrideNone = "none"

// vfWork is the computation for one VF.
type vfWork struct {
	index int
	// vf is nil for a VF that a step of this plan makes.
	vf    *inventory.VF
	group *spec.VFGroup // nil when it is in none
	// needs is the step that makes the VF.
	needs []string
	// bound: the VF has a driver before any step for it runs.
	bound   bool
	holders []use.Holder
	busy    bool // held, and nobody said not to wait
	forced  bool // held, and somebody said so
	// rebind says why the driver must be bound anew, "" when it need not.
	rebind string
	// IDs of steps of this plan, "" where there is none.
	unbind, override, probe string
	// anew: the VF's driver is bound by a step of this plan.
	anew bool
	// vdpaMade: a step of this plan makes its vDPA device.
	vdpaMade bool
	// addresses are the steps that set what the driver reads when it binds.
	addresses []string
}

func (v *vfWork) driver() spec.Driver {
	if v.group == nil || v.group.Driver == "" {
		return spec.DriverDefault
	}
	return v.group.Driver
}

func (v *vfWork) wantOverride() string {
	switch d := v.driver(); d {
	case spec.DriverDefault:
		return ""
	case spec.DriverNone:
		return overrideNone
	default:
		return string(d)
	}
}

// right reports whether the VF has the driver that it should have.
func (v *vfWork) right() bool {
	switch d := v.driver(); {
	case v.vf == nil:
		return v.bound && d == spec.DriverDefault
	case d == spec.DriverDefault:
		return v.vf.Driver != "" && !use.WithoutNetdev(v.vf.Driver)
	case d == spec.DriverNone:
		return v.vf.Driver == ""
	default:
		return v.vf.Driver == string(d)
	}
}

func (w *work) group(index int) *spec.VFGroup {
	return w.entry.Group(index)
}

// cold reports whether VFs have to appear without a driver: because some are not
// for the kernel's own driver, because it would read an address that is not
// there yet, or because the eswitch mode changes in between.
func (w *work) cold(n int, mode bool) bool {
	if mode {
		return true
	}
	for i := range n {
		v := &vfWork{index: i, group: w.group(i)}
		if v.driver() != spec.DriverDefault {
			return true
		}
		if v.group != nil && (w.wantMAC(v.group, i) != "" && !w.nic.ResetsVFOnMAC || w.wantGUID(v.group, i) != "") {
			return true
		}
	}
	return false
}

// virtualFunctions plans everything about VFs but their number. m is nil when
// somebody else makes them.
func (w *work) virtualFunctions(m *made) {
	external := m == nil
	if external {
		m = &made{}
	}
	if !external && w.wantVFs() == 0 {
		return
	}
	w.gather(m)

	var bind []string // what has to have happened before drivers bind
	if m.mode {
		needs := nonEmpty(m.by)
		for _, v := range w.vfs {
			if v.vf != nil && v.bound {
				needs = append(needs, w.unbind(v, "the eswitch mode changes only while no driver has the VFs"))
				// Either all go or none: a free VF without a driver is of no use
				// while the pod of another is waited for.
				w.waitAll(&w.out.Steps[len(w.out.Steps)-1])
			}
		}
		mode := w.entry.EswitchMode
		bind = append(bind, w.setMode(mode, needs))
	} else if w.entry.EswitchMode == spec.EswitchSwitchdev && w.pf.TCOffload != nil && !*w.pf.TCOffload &&
		w.eswitch() == spec.EswitchSwitchdev && !external {
		w.tcOffload(nil)
	}
	w.attributes()
	for _, v := range w.vfs {
		w.wantsRebind(v)
	}
	w.drivers(m, bind, external)
	w.await(m)
	w.settle()
}

// gather makes one vfWork for each VF that is there when the steps for VFs run.
func (w *work) gather(m *made) {
	if m.by != "" {
		for i := range w.wantVFs() {
			w.vfs = append(w.vfs, &vfWork{index: i, group: w.group(i), needs: []string{m.by}, bound: !m.cold})
		}
		return
	}
	for i := range w.pf.VFs {
		vf := &w.pf.VFs[i]
		v := &vfWork{index: vf.Index, vf: vf, group: w.group(vf.Index), bound: vf.Driver != ""}
		if st := w.in.Use.Of(vf.Address); st.Busy() {
			v.holders = st.Holders
			v.forced = w.forced()
			v.busy = !v.forced
		}
		w.vfs = append(w.vfs, v)
	}
}

// wantsRebind looks for what only a new bind of the driver brings.
func (w *work) wantsRebind(v *vfWork) {
	if v.vf == nil || v.group == nil || !v.bound || !v.right() || v.driver() != spec.DriverDefault {
		return
	}
	mac := w.wantMAC(v.group, v.index)
	if mac != "" && v.rebind == "" && len(v.vf.Netdevs) == 1 && v.vf.Netdevs[0].MAC != mac &&
		v.vf.Admin != nil && v.vf.Admin.MAC == mac {
		if w.failed(v, KindAwaitAddress, mac) {
			w.problem(Problem{
				Pos: v.group.Pos, VFs: []int{v.index}, Partial: true,
				Msg:  fmt.Sprintf("macAddresses: the VF's driver %s did not take %s when it was bound; the VF has %s", v.vf.Driver, mac, v.vf.Netdevs[0].MAC),
				Hint: "see the kernel log of the VF's driver",
			})
		} else {
			v.rebind = "the VF's netdev has another address than its PF gives it"
		}
	}
	if v.group.RDMA && len(v.vf.RDMA) == 0 && v.rebind == "" && !use.NetdevAway(&v.vf.Function) {
		if w.nic.RDMA == nic.No || w.failed(v, KindAwaitRDMA, "") {
			pr := Problem{
				Pos: v.group.Pos, VFs: []int{v.index}, Partial: true,
				Msg:  "rdma: the VF has no RDMA device",
				Hint: "its RDMA module may be missing (mlx5_ib, irdma): add it to the machine config (kernel.modules); taken up when the device appears",
			}
			if w.nic.RDMA == nic.No {
				pr.Msg = fmt.Sprintf("rdma: VFs of the driver %s have no RDMA devices", w.pf.Driver)
				pr.Hint = "remove rdma from this group"
			} else {
				pr.Pending = true
			}
			w.problem(pr)
		} else {
			v.rebind = "the VF has no RDMA device, and gets one when its driver binds"
		}
	}
}

// failed reports whether an earlier run of this boot waited for it in vain.
func (w *work) failed(v *vfWork, k Kind, value string) bool {
	r, ok := w.record.Refused[w.vfID(v.index, k)]
	return ok && r.Holds(value, w.out.Carrier)
}

// drivers plans which driver each VF has: unbind, driver_override, autoprobe,
// probe.
func (w *work) drivers(m *made, bind []string, external bool) {
	anyDefault := false
	var prepared []string // overrides of VFs that no driver has
	for _, v := range w.vfs {
		anyDefault = anyDefault || v.driver() == spec.DriverDefault
		if external && (v.group == nil || v.group.Driver == "") && v.rebind == "" {
			continue
		}
		w.release(v)
	}
	for _, v := range w.vfs {
		have := ""
		if v.vf != nil {
			have = v.vf.DriverOverride
		}
		want := v.wantOverride()
		stays := v.bound && v.unbind == ""
		if have == want || stays && (v.busy || !v.right()) ||
			external && (v.group == nil || v.group.Driver == "") {
			continue
		}
		v.override = w.add(Step{
			ID: w.vfID(v.index, KindVFOverride), Kind: KindVFOverride, Action: ActionChange, VFs: []int{v.index},
			Path: sysRoot + vfAttr(w.pf.Address, v.index, "driver_override"), Old: have, New: want,
			Reason: driverReason(v), Disruption: DisruptNone, Needs: append(nonEmpty(v.unbind), v.needs...),
		})
		if v.unbind == "" {
			prepared = append(prepared, v.override)
		}
	}
	auto := ""
	if now := w.autoProbeNow(m); !external && len(w.vfs) > 0 && now != anyDefault {
		auto = w.autoProbe(now, anyDefault, append(nonEmpty(m.by), prepared...))
	}
	for _, v := range w.vfs {
		w.probe(v, auto, bind, external)
	}
}

// autoProbeNow is sriov_drivers_autoprobe at this point of the plan.
func (w *work) autoProbeNow(m *made) bool {
	if m.by != "" {
		return !m.cold
	}
	return w.pf.AutoProbe
}

// release unbinds a VF that has the wrong driver, or needs its driver anew.
func (w *work) release(v *vfWork) {
	if v.vf == nil || !v.bound || v.unbind != "" {
		return
	}
	if v.right() {
		if v.rebind == "" {
			return
		}
		if v.busy {
			w.later(v, "the address")
			return
		}
		w.unbind(v, v.rebind)
		return
	}
	if d := w.notLoaded(v); d != "" {
		w.missing[d] = append(w.missing[d], v.index)
		return
	}
	w.unbind(v, driverReason(v))
}

func driverReason(v *vfWork) string {
	if v.driver() == spec.DriverDefault {
		return "the VF is for the kernel's own driver"
	}
	return "the document says driver " + string(v.driver())
}

// notLoaded is the driver that the VF should have and the kernel does not know,
// "" when there is none or that cannot be told.
func (w *work) notLoaded(v *vfWork) string {
	want := string(v.driver())
	switch v.driver() {
	case spec.DriverNone:
		return ""
	case spec.DriverDefault:
		want = w.nic.VFDriver
	}
	if want == "" || w.in.Snapshot.PCIDrivers == nil || slices.Contains(w.in.Snapshot.PCIDrivers, want) {
		return ""
	}
	return want
}

func (w *work) unbind(v *vfWork, reason string) string {
	s := Step{
		ID: w.vfID(v.index, KindVFUnbind), Kind: KindVFUnbind, Action: ActionChange, VFs: []int{v.index},
		Path: sysRoot + driverUnbind(v.vf.Driver), Old: v.vf.Driver, New: "",
		Reason: reason, Disruption: DisruptReset, Needs: v.needs,
	}
	if v.right() {
		s.Needs = append(append([]string(nil), v.needs...), v.addresses...)
	}
	w.wait(&s)
	v.unbind = w.add(s)
	return v.unbind
}

// probe offers an unbound VF to the drivers.
func (w *work) probe(v *vfWork, auto string, bind []string, external bool) {
	unbound := !v.bound || v.unbind != ""
	if !unbound || v.driver() == spec.DriverNone || external && (v.group == nil || v.group.Driver == "") && v.unbind == "" {
		return
	}
	if d := w.notLoaded(v); d != "" && (v.vf != nil || v.driver() != spec.DriverDefault) {
		w.missing[d] = append(w.missing[d], v.index)
		return
	}
	s := Step{
		ID: w.vfID(v.index, KindVFProbe), Kind: KindVFProbe, Action: ActionChange, VFs: []int{v.index},
		Path: sysRoot + sysfs.DriversProbe(), Reason: driverReason(v), Disruption: DisruptNone,
		Needs: append(append(append(nonEmpty(v.unbind), nonEmpty(v.override)...), v.needs...), bind...),
	}
	if v.driver() == spec.DriverDefault {
		s.Needs = append(s.Needs, nonEmpty(auto)...)
		s.New = w.nic.VFDriver
	} else {
		s.New = string(v.driver())
	}
	v.probe = w.add(s)
}

// hasNetdev reports whether the VF is one that the kernel gives a netdev.
func (w *work) hasNetdev(v *vfWork) bool {
	return v.driver() == spec.DriverDefault && strings.HasPrefix(w.pf.Class, "02")
}

// await plans the wait for the netdevs of VFs that get their driver.
func (w *work) await(m *made) {
	var now []int
	held := Held(&w.out)
	for _, v := range w.vfs {
		if !w.hasNetdev(v) || v.probe == "" && (v.vf != nil || !v.bound) {
			continue
		}
		if held[v.probe] == "" {
			now = append(now, v.index)
			continue
		}
		w.add(Step{
			ID: w.vfID(v.index, KindAwait), Kind: KindAwait, Action: ActionWait, VFs: []int{v.index},
			Path: vfNetPath(w.pf.Address), Reason: awaitReason, Disruption: DisruptNone, Needs: []string{v.probe},
		})
	}
	if len(now) > 0 {
		w.add(Step{
			ID: w.id(KindAwait, ""), Kind: KindAwait, Action: ActionWait, VFs: now,
			Path: vfNetPath(w.pf.Address), Reason: awaitReason, Disruption: DisruptNone, Needs: nonEmpty(m.by),
		})
	}
}

const awaitReason = "the VFs are ready when their netdevs are there"

// settle plans what comes after the VFs' drivers.
func (w *work) settle() {
	var ready []*vfWork
	for _, v := range w.vfs {
		v.anew = v.vf == nil || v.probe != ""
		if !w.hasNetdev(v) || !v.anew && !v.right() {
			continue
		}
		v.needs = append(nonEmpty(v.probe), v.needs...)
		ready = append(ready, v)
	}
	for _, v := range ready {
		if v.group != nil && v.anew {
			w.verify(v)
		}
	}
	for _, v := range ready {
		w.vfMTU(v)
	}
	for _, v := range ready {
		w.vdpa(v)
	}
	for _, v := range ready {
		w.vdpaDriver(v)
	}
}

// verify waits for what a new driver has to bring.
func (w *work) verify(v *vfWork) {
	if mac := w.wantMAC(v.group, v.index); mac != "" && !w.failed(v, KindAwaitAddress, mac) && !w.isRefused(v, "macAddresses") {
		w.add(Step{
			ID: w.vfID(v.index, KindAwaitAddress), Kind: KindAwaitAddress, Action: ActionWait, VFs: []int{v.index},
			Path: sysRoot + vfAttr(w.pf.Address, v.index, "net/*/address"), New: mac,
			Reason: "the VF is ready when its netdev has the address", Disruption: DisruptNone,
			Needs: append(slices.Clone(v.needs), v.addresses...),
			Key:   "macAddresses", Pos: v.group.Pos,
		})
	}
	if v.group.RDMA && w.nic.RDMA != nic.No && !w.failed(v, KindAwaitRDMA, "") {
		w.add(Step{
			ID: w.vfID(v.index, KindAwaitRDMA), Kind: KindAwaitRDMA, Action: ActionWait, VFs: []int{v.index},
			Path:   sysRoot + vfAttr(w.pf.Address, v.index, "infiniband"),
			Reason: "the VF is ready when its RDMA device is there", Disruption: DisruptNone, Needs: v.needs,
			Key: "rdma", Pos: v.group.Pos,
		})
	}
}

func (w *work) isRefused(v *vfWork, key string) bool {
	return slices.ContainsFunc(w.refusals, func(r refusal) bool {
		return r.key == key && slices.Contains(r.vfs, v.index)
	})
}

// defaultMTU is what an Ethernet netdev starts with.
const defaultMTU = 1500

// vfMTU plans the MTU of the VF's netdev: its group's, else its PF's.
func (w *work) vfMTU(v *vfWork) {
	want := w.entry.MTU
	if v.group != nil && v.group.MTU != nil {
		want = v.group.MTU
	}
	if want == nil {
		return
	}
	have, path := defaultMTU, vfAttr(w.pf.Address, v.index, "net/*/mtu")
	if v.vf != nil && len(v.vf.Netdevs) > 0 {
		path = netMTU(v.vf.Netdevs[0].Name)
		if !v.anew {
			have = v.vf.Netdevs[0].MTU
		}
	} else if !v.anew {
		return // in a pod, or for nobody
	}
	if have == *want {
		return
	}
	if !v.anew && v.busy {
		w.later(v, "mtu")
		return
	}
	s := Step{
		ID: w.vfID(v.index, KindVFMTU), Kind: KindVFMTU, Action: ActionChange, VFs: []int{v.index},
		Path: sysRoot + path, Old: fmt.Sprint(have), New: fmt.Sprint(*want),
		Reason: "the document says mtu", Disruption: DisruptNone, Needs: v.needs,
	}
	w.add(s)
}

func nonEmpty(id string) []string {
	if id == "" {
		return nil
	}
	return []string{id}
}
