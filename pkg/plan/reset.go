package plan

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

// reset plans to take back what we made of a PF that is no longer in the
// document, and reports whether anything of it is left. Only what still has the
// value that we gave it is ours.
func (w *work) reset() bool {
	w.out.Left = true
	w.out.Uplink = w.pf.Uplink != ""
	w.out.Safe = w.seenSafe()
	was := w.record.Made
	ours := func(k Kind, now string) bool { return slices.Contains(was.Wrote[k], now) }
	var needs []string
	if n := w.pf.NumVFs; n > 0 && ours(KindNumVFs, strconv.Itoa(n)) {
		s := Step{
			ID: w.id(KindNumVFs, "0"), Kind: KindNumVFs, Action: ActionRemove,
			VFs: w.existing(), Path: numVFsPath(w.pf.Address), Old: strconv.Itoa(n), New: "0",
			Reason: "the PF left the document, which had made them", Disruption: DisruptDestroyed,
		}
		w.wait(&s)
		needs = append(needs, w.add(s))
	}
	// The VFs of somebody else keep the mode: it changes only without drivers.
	stay := w.pf.NumVFs > 0 && len(needs) == 0
	if m := was.EswitchMode; !stay && m != "" && m != w.pf.EswitchMode && ours(KindEswitch, w.pf.EswitchMode) {
		w.setMode(spec.EswitchMode(m), needs)
	}
	if stay {
		w.resetDrivers(was.Overrides)
	}
	if was.AutoProbe != w.pf.AutoProbe && ours(KindAutoProbe, flag(w.pf.AutoProbe)) {
		w.add(Step{
			ID: w.id(KindAutoProbe, flag(was.AutoProbe)), Kind: KindAutoProbe, Action: ActionChange,
			Path: autoProbePath(w.pf.Address), Old: flag(w.pf.AutoProbe), New: flag(was.AutoProbe),
			Reason: leftReason, Disruption: DisruptNone, Needs: needs,
		})
	}
	if len(w.pf.Netdevs) > 0 {
		d := &w.pf.Netdevs[0]
		if was.MTU > 0 && was.MTU != d.MTU && ours(KindPFMTU, strconv.Itoa(d.MTU)) {
			// VFs that stay cannot keep more than their PF.
			for i := range w.pf.VFs {
				vf := &w.pf.VFs[i]
				if stay && len(vf.Netdevs) > 0 && vf.Netdevs[0].MTU > was.MTU && !w.in.Use.Of(vf.Address).Busy() {
					w.add(Step{
						ID: w.vfID(vf.Index, KindVFMTU), Kind: KindVFMTU, Action: ActionChange, VFs: []int{vf.Index},
						Path: sysRoot + netMTU(vf.Netdevs[0].Name), Old: strconv.Itoa(vf.Netdevs[0].MTU), New: strconv.Itoa(was.MTU),
						Reason: leftReason, Disruption: DisruptNone,
					})
				}
			}
			s := Step{
				ID: w.id(KindPFMTU, ""), Kind: KindPFMTU, Action: ActionChange,
				Path: sysRoot + netMTU(d.Name), Old: strconv.Itoa(d.MTU), New: strconv.Itoa(was.MTU),
				Reason: leftReason, Disruption: DisruptLink, Needs: needs,
			}
			w.waitAll(&s)
			w.add(s)
		}
	}
	if len(w.out.Steps) == 0 {
		return false
	}
	if w.out.Uplink {
		w.out.Steps = nil
		w.notice(Problem{
			Msg:  fmt.Sprintf("this PF left the document and stays as it is, because it carries the machine's own network: it %s", w.pf.Uplink),
			Hint: "a reboot takes it back",
		})
		return true
	}
	// What an earlier document made on a PF that was found safe under it may be
	// taken back.
	if !w.out.Safe && w.record.SafeSpec == "" {
		w.out.Steps = nil
		w.notice(w.unproven("this PF left the document and stays as it is for now, because it may carry the machine's network: "))
		return true
	}
	w.withdraw()
	return true
}

// resetDrivers gives the VFs that stay back to the kernel's own driver, where a
// driver_override of ours keeps them from it.
func (w *work) resetDrivers(ours map[int]string) {
	for i := range w.pf.VFs {
		vf := &w.pf.VFs[i]
		if vf.DriverOverride == "" || vf.DriverOverride != ours[vf.Index] {
			continue
		}
		v := &vfWork{index: vf.Index, vf: vf, bound: vf.Driver != ""}
		if w.notLoaded(v) != "" {
			continue // without the other driver nobody could use the VF
		}
		w.release(v)
		v.override = w.add(Step{
			ID: w.vfID(v.index, KindVFOverride), Kind: KindVFOverride, Action: ActionChange, VFs: []int{v.index},
			Path: sysRoot + vfAttr(w.pf.Address, v.index, "driver_override"), Old: vf.DriverOverride,
			Reason: leftReason, Disruption: DisruptNone, Needs: nonEmpty(v.unbind),
		})
		w.probe(v, "", nil, false)
	}
}

const leftReason = "the PF left the document; this is what it had before"
