package plan

import (
	"fmt"
	"strconv"

	"github.com/talos-sriov/talos-sriov/pkg/nic"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// plan fills w.out for a PF that one entry governs. The order of the steps is
// the order in which they run:
//
//	MTU up, link up, 0 VFs, eswitch mode (drivers that set it without VFs), N VFs,
//	eswitch mode (drivers that set it with unbound VFs), VF attributes, VF drivers,
//	netdevs, VF MTUs, vDPA, MTU down
func (w *work) plan() {
	w.out.Uplink = w.pf.Uplink != ""
	w.out.Safe = w.seenSafe()
	if !w.possible() {
		return
	}
	if w.entry.ExternallyManaged {
		w.external()
		w.virtualFunctions(nil)
	} else {
		w.mtu(true)
		w.linkUp()
		made := w.numVFs()
		w.virtualFunctions(made)
		w.mtu(false)
	}
	w.tellRefusals()
	w.tellPostponed()
	w.tellMissing()
	w.tellSpent()
	w.guard()
	w.withdraw()
}

// possible checks what no step can cure.
func (w *work) possible() bool {
	if want := w.entry.LinkType; want != "" && len(w.pf.Netdevs) > 0 && w.pf.Netdevs[0].LinkType != string(want) {
		w.problem(Problem{
			Msg:  fmt.Sprintf("the document says linkType %s, but the port is %s", want, w.pf.Netdevs[0].LinkType),
			Hint: "the type of a port is set in the card's firmware, once, with the vendor's tool; it is never changed from here",
		})
		return false
	}
	want := w.wantVFs()
	if want > w.pf.TotalVFs && !w.entry.ExternallyManaged {
		hint := fmt.Sprintf("ask for at most %d", w.pf.TotalVFs)
		if w.pf.TotalVFs == 0 {
			hint = "enable VFs in the card's firmware (for NVIDIA cards SRIOV_EN and NUM_OF_VFS, set once with the vendor's tool from any Linux)"
		}
		w.problem(Problem{
			Msg:  fmt.Sprintf("the document asks for %s, but this PF has at most %d (sriov_totalvfs)", count(want, "VF"), w.pf.TotalVFs),
			Hint: hint,
		})
		return false
	}
	if w.pf.Driver == "" && w.pf.NumVFs != want && !w.entry.ExternallyManaged {
		w.problem(Problem{
			Pending: true,
			Msg:     "no driver is bound to this PF, and only its driver can make VFs",
			Hint:    "taken up as soon as a driver binds; if none does, add its module to the machine config (kernel.modules)",
		})
		return false
	}
	if !w.mtuPossible() {
		return false
	}
	return w.eswitchPossible()
}

func (w *work) mtuPossible() bool {
	if w.entry.MTU == nil {
		return true
	}
	if len(w.pf.Netdevs) == 0 {
		w.problem(Problem{
			Pending: true, Partial: true,
			Msg:  "mtu is set on the PF's interface, and this PF has none",
			Hint: "taken up when it appears",
		})
		return true
	}
	if d := &w.pf.Netdevs[0]; d.MaxMTU > 0 && *w.entry.MTU > d.MaxMTU {
		w.problem(Problem{
			Msg:  fmt.Sprintf("the document says mtu %d, but %s takes at most %d", *w.entry.MTU, d.Name, d.MaxMTU),
			Hint: fmt.Sprintf("ask for at most %d", d.MaxMTU),
		})
		return false
	}
	return true
}

// eswitchPossible checks the mode against what the driver has. A driver without
// an eswitch is in legacy mode by nature.
func (w *work) eswitchPossible() bool {
	if w.entry.EswitchMode != spec.EswitchSwitchdev || w.pf.EswitchMode != "" {
		return true
	}
	if w.pf.Driver == "" {
		return true
	}
	w.problem(Problem{
		Msg:  fmt.Sprintf("the document says eswitchMode switchdev, but the driver %s shows no eswitch for this PF", w.pf.Driver),
		Hint: "remove eswitchMode; switchdev needs a card and driver that have it (ConnectX from 5 on, Intel E810), and the firmware's SR-IOV setting on",
	})
	return false
}

// external checks the VFs that somebody else makes.
func (w *work) external() {
	if want := w.wantVFs(); w.pf.NumVFs < want {
		w.problem(Problem{
			Pending: true,
			Msg:     fmt.Sprintf("externallyManaged: %d VFs expected, %d exist", want, w.pf.NumVFs),
			Hint:    "whoever manages this PF has to make them; taken up when they appear",
		})
	}
	if m := w.entry.MTU; m != nil && len(w.pf.Netdevs) > 0 && w.pf.Netdevs[0].MTU < *m {
		w.problem(Problem{
			Pending: true, Partial: true,
			Msg:  fmt.Sprintf("externallyManaged: an MTU of at least %d expected, %s has %d", *m, w.pf.Netdevs[0].Name, w.pf.Netdevs[0].MTU),
			Hint: "whoever manages this PF has to set it",
		})
	}
	if m := w.entry.EswitchMode; m != "" && w.eswitch() != m {
		w.problem(Problem{
			Pending: true, Partial: true,
			Msg:  fmt.Sprintf("externallyManaged: eswitch mode %s expected, found %s", m, w.eswitch()),
			Hint: "whoever manages this PF has to set it",
		})
	}
}

func (w *work) wantVFs() int {
	if w.entry.NumVFs == nil {
		return w.pf.NumVFs
	}
	return max(0, *w.entry.NumVFs)
}

// eswitch is the PF's mode now.
func (w *work) eswitch() spec.EswitchMode {
	if w.pf.EswitchMode == "" {
		return spec.EswitchLegacy
	}
	return spec.EswitchMode(w.pf.EswitchMode)
}

// newMode is the eswitch mode that has to be set, "" when it is right.
func (w *work) newMode() spec.EswitchMode {
	if w.entry.EswitchMode == "" || w.entry.EswitchMode == w.eswitch() {
		return ""
	}
	return w.entry.EswitchMode
}

// mtu plans the PF's MTU: raised before anything else, because VFs cannot have
// more than their PF; lowered after everything else, and only when no pod's VF
// could still send what no longer fits.
func (w *work) mtu(raise bool) {
	if w.entry.MTU == nil || len(w.pf.Netdevs) == 0 {
		return
	}
	want := *w.entry.MTU
	for i := range w.pf.Netdevs {
		d := &w.pf.Netdevs[i]
		if i > 0 && w.pf.EswitchMode == "switchdev" || d.MTU == want || want > d.MTU != raise {
			continue
		}
		id := w.id(KindPFMTU, "")
		if i > 0 {
			id = w.id(KindPFMTU, d.Name)
		}
		s := Step{
			ID: id, Kind: KindPFMTU, Action: ActionChange,
			Path: sysRoot + netMTU(d.Name), Old: strconv.Itoa(d.MTU), New: strconv.Itoa(want),
			Reason: "the document says mtu", Disruption: DisruptLink,
		}
		if !raise {
			w.waitAll(&s)
		}
		w.add(s)
	}
}

// linkUp plans the PF's administrative state: the VFs of a PF that is down have
// no link.
func (w *work) linkUp() {
	if w.wantVFs() == 0 || len(w.pf.Netdevs) == 0 || w.pf.Netdevs[0].AdminUp {
		return
	}
	w.add(Step{
		ID: w.id(KindPFUp, ""), Kind: KindPFUp, Action: ActionChange,
		Path: "netlink " + w.pf.Netdevs[0].Name, Old: "down", New: "up",
		Reason: "VFs have a link only while their PF is up", Disruption: DisruptNone,
	})
}

// made is what the VFs of a PF come from.
type made struct {
	// by is the step that makes them, "" when they exist.
	by string
	// cold: they appear without a driver.
	cold bool
	// mode: the eswitch mode has to change once the VFs are there and unbound.
	mode bool
}

// numVFs plans sriov_drivers_autoprobe, sriov_numvfs, and the eswitch mode of
// drivers that take it without VFs.
//
// The kernel takes a new number of VFs only when there are none: any other
// change answers EBUSY (Documentation/PCI/pci-iov-howto.rst; sriov_numvfs_store
// in drivers/pci/iov.c), so a change from N to M goes through 0 and destroys
// all N.
func (w *work) numVFs() *made {
	have, want := w.pf.NumVFs, w.wantVFs()
	mode := w.newMode()
	modeFirst := mode != "" && w.nic.Eswitch == nic.OrderModeFirst
	m := &made{mode: mode != "" && !modeFirst}
	if have == want && (have == 0 || !modeFirst) {
		if have == 0 && mode != "" {
			m.mode = false
			w.setMode(mode, nil)
		}
		return m
	}
	var needs []string
	if have > 0 {
		reason := "the document asks for none of the " + count(have, "VF") + " that exist"
		switch {
		case have == want:
			reason = "the driver " + w.pf.Driver + " changes the eswitch mode only without VFs"
		case want > 0:
			reason = fmt.Sprintf("the kernel changes %s to %d only through 0", count(have, "VF"), want)
		}
		s := Step{
			ID: w.id(KindNumVFs, "0"), Kind: KindNumVFs, Action: ActionRemove,
			VFs: w.existing(), Path: numVFsPath(w.pf.Address),
			Old: strconv.Itoa(have), New: "0", Reason: reason, Disruption: DisruptDestroyed,
		}
		w.wait(&s)
		needs = append(needs, w.add(s))
	}
	switch {
	case modeFirst, want == 0 && mode != "":
		m.mode = false
		needs = append(needs, w.setMode(mode, needs))
	case want > 0 && w.entry.EswitchMode != "" && w.nic.Eswitch == nic.OrderVFsFirst && w.eswitch() == spec.EswitchSwitchdev:
		// VFs are made in legacy mode, whatever comes after. A document that does
		// not say the mode leaves it alone all the way: a run that ends between
		// the two would lose it.
		needs = append(needs, w.setMode(spec.EswitchLegacy, needs))
		m.mode = w.entry.EswitchMode == spec.EswitchSwitchdev
	}
	if want == 0 {
		return m
	}
	m.cold = w.cold(want, m.mode)
	if probe := !m.cold; probe != w.pf.AutoProbe {
		needs = append(needs, w.autoProbe(w.pf.AutoProbe, probe, needs))
	}
	m.by = w.add(Step{
		ID: w.id(KindNumVFs, strconv.Itoa(want)), Kind: KindNumVFs, Action: ActionCreate,
		VFs: indexes(want), Path: numVFsPath(w.pf.Address),
		Old: "0", New: strconv.Itoa(want),
		Reason: "the document asks for " + count(want, "VF"), Disruption: DisruptNone, Needs: needs,
	})
	return m
}

func (w *work) autoProbe(from, to bool, needs []string) string {
	reason := "VFs are to be bound by the kernel as they appear"
	if !to {
		reason = "VFs are to appear without a driver, so that none has a netdev that it must not have"
	}
	return w.add(Step{
		ID: w.id(KindAutoProbe, flag(to)), Kind: KindAutoProbe, Action: ActionChange,
		Path: autoProbePath(w.pf.Address), Old: flag(from), New: flag(to),
		Reason: reason, Disruption: DisruptNone, Needs: needs,
	})
}

// setMode plans a change of the eswitch mode, with what switchdev wants before
// and after it.
func (w *work) setMode(mode spec.EswitchMode, needs []string) string {
	if mode == spec.EswitchSwitchdev && w.nic.SteeringMode != "" {
		w.add(Step{
			ID: w.id(KindSteering, ""), Kind: KindSteering, Action: ActionChange,
			Path: "devlink pci/" + w.pf.Address + " param flow_steering_mode", New: w.nic.SteeringMode,
			Reason: "switchdev offloads best with it", Disruption: DisruptNone, Needs: needs, Optional: true,
		})
	}
	reason := "the document says eswitchMode " + string(mode)
	if w.entry.EswitchMode != mode {
		reason = "the driver " + w.pf.Driver + " makes VFs in legacy mode"
	}
	if w.out.Left {
		reason = "the PF left the document; this is what it had before"
	}
	id := w.add(Step{
		ID: w.id(KindEswitch, string(mode)), Kind: KindEswitch, Action: ActionChange,
		Path: "devlink pci/" + w.pf.Address + " eswitch mode", Old: string(w.modeNow), New: string(mode),
		Reason: reason, Disruption: DisruptLink, Needs: needs,
	})
	w.modeNow = mode
	if mode == spec.EswitchSwitchdev {
		w.tcOffload([]string{id})
	}
	return id
}

func (w *work) tcOffload(needs []string) {
	w.add(Step{
		ID: w.id(KindTCOffload, ""), Kind: KindTCOffload, Action: ActionChange,
		Path: "ethtool " + w.pf.Name() + " hw-tc-offload", New: "on",
		Reason: "switchdev without it sends every packet through the CPU", Disruption: DisruptNone, Needs: needs,
	})
}

// wait fills s.Wait with the holders of the VFs in s.VFs, or s.Forced.
func (w *work) wait(s *Step) {
	var holders []use.Holder
	for _, i := range s.VFs {
		vf := w.pf.VF(i)
		if vf == nil {
			continue
		}
		if st := w.in.Use.Of(vf.Address); st.Busy() {
			holders = append(holders, st.Holders...)
		}
	}
	w.hold(s, holders)
}

// waitAll makes the step wait for the holders of all VFs of the PF.
func (w *work) waitAll(s *Step) {
	all := Step{VFs: w.existing()}
	w.wait(&all)
	s.Wait, s.Forced = all.Wait, all.Forced
}

func (w *work) hold(s *Step, holders []use.Holder) {
	if w.forced() {
		s.Forced = holders
		return
	}
	s.Wait = holders
}

// forced reports whether the holders of the PF's VFs are not waited for: by order
// on the machine, or by one of the document that was not carried out yet.
func (w *work) forced() bool {
	return w.in.Force[w.pf.Address] || w.out.Order != "" && !w.in.State.Lost
}
