package plan

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/nic"
	"github.com/talos-sriov/talos-sriov/pkg/op"
	"github.com/talos-sriov/talos-sriov/pkg/record"
	"github.com/talos-sriov/talos-sriov/pkg/selection"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// port is the PF that is planned for, and all that is known about it. Nothing
// changes it: the stages of planning are functions of it and of what the stage
// before gives.
type port struct {
	in     *Input
	pf     *inventory.PF
	entry  *spec.PhysicalFunction
	nic    nic.Behaviour
	record record.PF
	// twin is another PF with the same permanent address, "" when there is none.
	twin string
	// carrier: the port has a link.
	carrier bool
	// forced: the holders of the PF's VFs are not waited for, because the operator
	// forces it, on the machine or by a token of the config that is not spent.
	forced bool
	// allowUplink: the PF may be changed although it carries the machine's network.
	allowUplink bool
}

// yield is what a stage of planning gives beside the value for the next stage.
type yield struct {
	steps []Step
	// problems are of single VFs.
	problems []Problem
	found    []finding
}

func (y *yield) add(o yield) {
	y.steps = append(y.steps, o.steps...)
	y.problems = append(y.problems, o.problems...)
	y.found = append(y.found, o.found...)
}

// step is the operation as a step of the PF; the qualifier distinguishes it from another of
// its kind.
func (p *port) step(o op.Op, qualifier string) Step {
	id := p.pf.Address + "/" + string(o.Kind())
	if qualifier != "" {
		id += "=" + qualifier
	}
	return Step{ID: id, Op: o, Disruption: DisruptNone}
}

// vfStep is the operation as the one step of its kind about the VF.
func (p *port) vfStep(index int, o op.Op) Step {
	return Step{ID: p.vfID(index, o.Kind()), Op: o, Disruption: DisruptNone}
}

// on is the operation as the one step of its kind about the VF; it goes on over the
// VF's holders where the operator forces the PF.
func (p *port) on(v *vf, o op.Op) Step {
	s := p.vfStep(v.index, o)
	s.Forced = p.over(v)
	return s
}

func (p *port) vfID(index int, k op.Kind) string {
	return p.pf.Address + "/vf" + strconv.Itoa(index) + "/" + string(k)
}

func (p *port) onPF() op.OnPF { return op.OnPF{Address: p.pf.Address, Name: p.pf.Name()} }

func (p *port) onVF(index int) op.OnVF { return op.OnVF{OnPF: p.onPF(), Index: index} }

// member is the VF with the index as a member of the group.
func (p *port) member(g *spec.VFGroup, index int) vfMember {
	return vfMember{group: g, index: index, pf: p.hardwareAddr()}
}

// hardwareAddr is what the PF's stable addresses derive from, nil when there is
// nothing that is its own.
func (p *port) hardwareAddr() net.HardwareAddr {
	if p.twin != "" {
		return nil
	}
	return hardwareAddr(p.pf)
}

// refused is the driver's answer of this boot to the step, if it still counts for
// the value.
func (p *port) refused(id string, want op.Value) (record.Refusal, bool) {
	r, ok := p.record.Refused[id]
	return r, ok && r.Holds(op.Text(want), p.carrier)
}

// existing are the indexes of the VFs that exist now.
func (p *port) existing() []int {
	out := make([]int, 0, len(p.pf.VFs))
	for i := range p.pf.VFs {
		out = append(out, p.pf.VFs[i].Index)
	}
	return out
}

// waiting is the step as it waits for the holders of the VFs that it is about; or
// goes on over them, where the operator forces it.
func (p *port) waiting(s Step) Step { return p.waitingFor(s, s.Op.VFs()) }

// waitingForAll is the step as it waits for the holders of all VFs of the PF.
func (p *port) waitingForAll(s Step) Step { return p.waitingFor(s, p.existing()) }

func (p *port) waitingFor(s Step, vfs []int) Step {
	var holders []use.Holder
	for _, i := range vfs {
		vf := p.pf.VF(i)
		if vf == nil {
			continue
		}
		if st := p.in.Use.Of(vf.Address); st.Busy() {
			holders = append(holders, st.Holders...)
		}
	}
	s.Wait, s.Forced = nil, nil
	return p.behind(s, holders)
}

// behind is the step as it waits for the holders, beside those that it waits for
// already.
func (p *port) behind(s Step, holders []use.Holder) Step {
	to := &s.Wait
	if p.forced {
		to = &s.Forced
	}
	for _, h := range holders {
		if !slices.Contains(*to, h) {
			*to = append(slices.Clip(*to), h)
		}
	}
	return s
}

// pfHolders are who has the PF itself, or may have it. A PF is offered too, while it
// has no VFs: all that is done to it is done to its holder.
func (p *port) pfHolders() []use.Holder {
	if st := p.in.Use.Of(p.pf.Address); st.Busy() {
		return st.Holders
	}
	return nil
}

// deletesSFs is a step that deletes the PF's subfunctions: it waits for who has one of
// them, or may have it.
func (p *port) deletesSFs(s Step) Step {
	for i := range p.in.Snapshot.Subfunctions {
		sf := &p.in.Snapshot.Subfunctions[i]
		if sf.Parent != p.pf.Address {
			continue
		}
		s.Subfunctions = append(s.Subfunctions, sf.Name)
		if st := p.in.Use.Of(sf.Name); st.Busy() {
			s = p.behind(s, st.Holders)
		}
	}
	return s
}

// after are the IDs that there are.
func after(ids ...string) []string {
	return slices.DeleteFunc(ids, func(id string) bool { return id == "" })
}

// work is the computation for one PF.
type work struct {
	port
	out PFPlan
}

func newWork(in *Input, pf *inventory.PF, entry *spec.PhysicalFunction, twin string) *work {
	w := &work{
		port: port{
			in: in, pf: pf, entry: entry, nic: nic.ForDriver(pf.Driver), twin: twin,
			record:      in.Record.Of(card(pf), in.BootID),
			allowUplink: entry.AllowUplink,
			carrier:     len(pf.Netdevs) > 0 && pf.Netdevs[0].Carrier,
		},
		out: PFPlan{Address: pf.Address, Name: pf.Name(), Entry: entry.Pos, Card: card(pf), Found: found(pf), Driver: pf.Driver},
	}
	if !slices.Contains(w.record.Forced, entry.Force) && !slices.Contains(in.Record.Spent, entry.Force) {
		w.out.ForceToken = entry.Force
	}
	w.forced = in.Force[pf.Address] || w.out.ForceToken != "" && !in.Record.Lost
	w.out.Carrier = w.carrier
	return w
}

func card(pf *inventory.PF) record.Card {
	c := record.Card{Address: pf.Address, Device: pf.Vendor + ":" + pf.Device}
	if len(pf.Netdevs) > 0 {
		c.PermMAC = pf.Netdevs[0].PermMAC
	}
	return c
}

func found(pf *inventory.PF) record.Made {
	m := record.Made{NumVFs: pf.NumVFs, AutoProbe: pf.AutoProbe, EswitchMode: pf.EswitchMode}
	if len(pf.Netdevs) > 0 {
		m.MTU = pf.Netdevs[0].MTU
	}
	return m
}

func (w *work) conflict(c *selection.Conflict) {
	w.problem(Problem{
		Pos: c.SecondPos,
		Msg: fmt.Sprintf("two entries select this PF and disagree in %s: the one at line %d, column %d and the one at line %d, column %d",
			strings.Join(c.Keys, ", "), c.FirstPos.Line, c.FirstPos.Column, c.SecondPos.Line, c.SecondPos.Column),
		Hint: "narrow one match, or make both entries say the same",
	})
}

// problem records pr for this PF.
func (w *work) problem(pr Problem) { w.out.Problems = append(w.out.Problems, w.about(pr)) }

func (w *work) notice(pr Problem) { w.out.Notices = append(w.out.Notices, w.about(pr)) }

func (w *work) about(pr Problem) Problem {
	if pr.Pos == (spec.Pos{}) {
		pr.Pos = w.entry.Pos
	}
	pr.PF = w.pf.Address
	return pr
}

// hold lets every step of a PF that somebody has wait for its holders.
func (w *work) hold() {
	holders := w.pfHolders()
	for i := range w.out.Steps {
		w.out.Steps[i] = w.behind(w.out.Steps[i], holders)
	}
}

// withdraw lists what pools must stop offering: the PF when steps wait for who has it,
// the VFs that a step destroys or resets, whether it can run now or waits, and those
// that lack an attribute for want of a link.
func (w *work) withdraw(found []finding) {
	var taken []int
	for i := range found {
		if found[i].kind == noLink {
			taken = append(taken, found[i].vf)
		}
	}
	for i := range w.out.Steps {
		s := &w.out.Steps[i]
		if s.Disruption == DisruptDestroyed || s.Disruption == DisruptReset {
			taken = append(taken, s.Op.VFs()...)
		}
	}
	if len(w.out.Steps) > 0 && len(w.pfHolders()) > 0 {
		w.out.Withdraw = append(w.out.Withdraw, w.pf.Address)
	}
	slices.Sort(taken)
	for _, v := range slices.Compact(taken) {
		if vf := w.pf.VF(v); vf != nil {
			w.out.Withdraw = append(w.out.Withdraw, vf.Address)
		}
	}
}
