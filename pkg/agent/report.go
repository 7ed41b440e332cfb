package agent

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/apply"
	"github.com/talos-sriov/talos-sriov/pkg/deviceplugin"
	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/op"
	"github.com/talos-sriov/talos-sriov/pkg/plan"
	"github.com/talos-sriov/talos-sriov/pkg/pool"
	"github.com/talos-sriov/talos-sriov/pkg/status"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// withheld is why a device is not offered, and the cause in one word; the
// causes of health are others.
type withheld struct{ cause, why string }

const (
	causeWaiting    = "change-waiting"    // a change waits for this device's holder
	causeStray      = "interface-missing" // bound, but no interface to be seen
	causeOpen       = "in-use"            // a process of no known pod has it open
	causeUnfinished = "not-configured"    // work is left on the device
	causeUnusable   = "unusable"          // it cannot be handed out as it is
)

// withhold says which VFs must not be offered, and why: those on which work is
// left, those that a waiting step will take away, and those whose interface is
// nowhere to be seen.
func withhold(p *plan.Plan, snap *inventory.Snapshot, used use.Set) map[string]withheld {
	out := map[string]withheld{}
	if p == nil {
		return out
	}
	for i := range p.PFs {
		f := &p.PFs[i]
		for _, vf := range f.Withdraw {
			out[vf] = withheld{causeWaiting, "a change of the PF is waiting for this VF"}
		}
		pf := snap.PF(f.Address)
		if pf == nil {
			continue
		}
		for _, index := range strays(pf, used) {
			out[pf.VF(index).Address] = withheld{causeStray, strayReason}
		}
		for j := range f.Steps {
			for _, index := range f.Steps[j].Op.VFs() {
				if vf := pf.VF(index); vf != nil && out[vf.Address].why == "" {
					out[vf.Address] = withheld{causeUnfinished, "not configured yet: " + f.Steps[j].Reason}
				}
			}
		}
	}
	return out
}

// withheld adds the devices that are not healthy; what the plan waits for is
// nearer to the cause.
func (t *turn) withheld() map[string]withheld {
	out := withhold(t.plan, t.snap, t.use)
	for id, answer := range t.open {
		if out[id].why == "" {
			out[id] = withheld{causeOpen, answer.String() + ", and no pod is known to have it"}
		}
	}
	for id, why := range t.unfit {
		if out[id].why == "" {
			out[id] = withheld{string(t.causes[id]), why}
		}
	}
	return out
}

// texts are the reasons alone.
func texts(of map[string]withheld) map[string]string {
	out := make(map[string]string, len(of))
	for id, w := range of {
		out[id] = w.why
	}
	return out
}

const strayReason = "its driver is bound, but its interface is not in the host's network namespace, and no pod is known to have it"

// strays are the VFs of an Ethernet PF whose interface has not come yet, or was
// left behind in a namespace: a pod that got one would find nothing.
func strays(pf *inventory.PF, used use.Set) []int {
	var out []int
	for i := range pf.VFs {
		vf := &pf.VFs[i]
		if !strings.HasPrefix(vf.Class, "0200") || !use.NetdevAway(&vf.Function) {
			continue
		}
		known := slices.ContainsFunc(used.Of(vf.Address).Holders, func(h use.Holder) bool { return h.Source != use.SourceKernel })
		if !known {
			out = append(out, vf.Index)
		}
	}
	return out
}

// tell writes the status file when there is news.
func (a *Agent) tell(m *memory, t *turn) {
	plugin := a.plugin.Status()
	s := report(t, m.reports, a.offered.assignment(), plugin)
	if m.unwritable != nil {
		s.Problems = append(s.Problems, stateProblem(m.unwritable))
	}
	if err := a.metrics.Err(); err != nil {
		p := listenProblem(err)
		s.Problems = append(s.Problems, p)
		m.said.do("metrics", p.Msg, func() { a.log.Warn("problem", "problem", p.Msg, "hint", p.Hint) })
	} else {
		m.said.do("metrics", "", func() {})
	}
	for i := range s.PFs {
		s.PFs[i].Drift = m.drift[s.PFs[i].Address].count
	}
	s.CNI, s.Orphans = a.cni.status(), m.orphans.report()
	s.Daemon = status.Daemon{Version: a.opts.Version, PID: os.Getpid(), Started: a.started.UTC().Truncate(time.Second), BootID: a.bootID, Writes: a.writes.Load()}
	a.collector.publish(s, plugin, t.readErr)
	for i := range s.PFs {
		f := &s.PFs[i]
		for _, p := range f.Errors {
			m.said.do("problem/"+f.Address+p.Msg, p.Hint, func() {
				// A boot has much to wait for and nothing to warn of.
				say, msg := a.log.Warn, "problem"
				if p.Pending {
					say, msg = a.log.Info, "pending"
				}
				say(msg, "pf", f.Address, "name", f.Name, "line", p.Pos.Line, "column", p.Pos.Column, "problem", p.Msg, "hint", p.Hint)
			})
		}
		waiting := ""
		for j := range f.Steps {
			if w := f.Steps[j].Wait; len(w) > 0 {
				waiting = use.Names(w)
				break
			}
		}
		m.said.do("wait/"+f.Address, waiting, func() {
			if waiting != "" {
				a.log.Info("a change waits for the holders of its VFs", "pf", f.Address, "name", f.Name, "holders", waiting)
			}
		})
	}
	for _, e := range s.Spec.Errors {
		m.said.do("spec/"+e.Msg, s.Spec.Hash, func() {
			a.log.Error("document refused", "line", e.Pos.Line, "column", e.Pos.Column, "error", e.Msg, "hint", e.Hint, "inForce", s.Spec.InForce)
		})
	}
	if status.Same(s, m.last) && m.saved {
		return
	}
	m.last = s
	s.Updated = time.Now().UTC().Truncate(time.Second)
	err := status.Write(a.store.StatusPath(), s)
	m.saved = err == nil
	if err != nil && a.store.Writable() {
		m.said.do("status", err.Error(), func() { a.log.Error("cannot write the status file", "error", err) })
	}
}

// stateProblem is what the status and the metrics report of a state directory that
// can be read and not written.
func stateProblem(err error) plan.Problem {
	return plan.Problem{
		Msg:  fmt.Sprintf("the state cannot be written: %v", err),
		Hint: "what is on the disk is in force and what is new is kept in memory; make room on /var, or see why it is read-only (talosctl dmesg)",
	}
}

// report says what a turn came to. It is pure.
func report(t *turn, ran map[string]*apply.PFReport, offered *pool.Assignment, plugin []deviceplugin.Status) *status.Status {
	s := &status.Status{APIVersion: status.APIVersion, Kind: status.Kind, Spec: t.verdict.spec}
	if t.readErr != nil {
		s.Problems = append(s.Problems, plan.Problem{
			Msg:  fmt.Sprintf("the machine cannot be read: %v", t.readErr),
			Hint: "nothing is changed until it can",
		})
	}
	s.RDMANetns = t.snap.RDMANetns
	if t.plan != nil {
		s.Problems = append(s.Problems, t.plan.Problems...)
		s.Notices = append(s.Notices, t.plan.Notices...)
		for i := range t.plan.PFs {
			s.PFs = append(s.PFs, reportPF(t, &t.plan.PFs[i], ran[t.plan.PFs[i].Address]))
		}
	}
	byName := make(map[string]*deviceplugin.Status, len(plugin))
	for i := range plugin {
		byName[plugin[i].Resource] = &plugin[i]
	}
	if offered != nil {
		reasons := t.withheld()
		for _, p := range offered.Withhold(texts(reasons)).Pools {
			s.Pools = append(s.Pools, reportPool(&p, byName[p.Resource], t.use, reasons))
		}
	}
	return s
}

func reportPF(t *turn, f *plan.PFPlan, ran *apply.PFReport) status.PF {
	out := status.PF{
		Address: f.Address, Name: f.Name, Entry: f.Entry, State: status.PFReady,
		Steps: plan.Texts(f.Steps), Errors: f.Problems, Notices: f.Notices,
	}
	if pf := t.snap.PF(f.Address); pf != nil {
		out.Driver = pf.Driver
		out.Actual = status.Actual{NumVFs: pf.NumVFs, TotalVFs: pf.TotalVFs, EswitchMode: pf.EswitchMode}
		if len(pf.Netdevs) > 0 {
			out.Actual.MTU, out.Actual.Carrier = pf.Netdevs[0].MTU, pf.Netdevs[0].Carrier
		}
	}
	if pf := t.snap.PF(f.Address); pf != nil {
		for i := range pf.VFs {
			if vf := &pf.VFs[i]; vf.Representor != "" {
				if out.Actual.Representors == nil {
					out.Actual.Representors = map[int]string{}
				}
				out.Actual.Representors[vf.Index] = vf.Representor
			}
		}
		if vfs := strays(pf, t.use); len(vfs) > 0 {
			out.Errors = append(slices.Clone(out.Errors), plan.Problem{
				Pos: f.Entry, PF: f.Address, VFs: vfs, Pending: true, Msg: "a VF is not offered: " + strayReason,
				Hint: "taken up when the interface appears; one that a dead pod left in a namespace comes back when that is removed",
			})
		}
	}
	if b := t.bound.Binding(f.Address); b != nil {
		e := &t.verdict.cfg.PhysicalFunctions[b.Entry]
		out.Desired = status.Desired{NumVFs: e.NumVFs, MTU: e.MTU, EswitchMode: string(e.EswitchMode)}
	}
	if len(f.Steps) > 0 && ran != nil {
		// What the last run met counts as long as work is left.
		out.Errors = append(append([]plan.Problem(nil), out.Errors...), runProblems(f, ran)...)
	}
	switch {
	case hard(out.Errors):
		out.State = status.PFFailed
	case waits(f):
		out.State = status.PFWaiting
	case len(f.Steps) > 0 || len(out.Errors) > 0 || t.busy[f.Address]:
		// Ready is what nobody of us writes to any more.
		out.State = status.PFPending
	}
	return out
}

func runProblems(f *plan.PFPlan, r *apply.PFReport) []plan.Problem {
	out := append([]plan.Problem(nil), r.Problems...)
	for _, err := range stepErrors(r.Err) {
		out = append(out, plan.Problem{
			Pos: f.Entry, PF: f.Address, VFs: err.Step.Op.VFs(),
			Msg: fmt.Sprintf("writing %q to %s failed: %s", op.Text(err.Step.Op.Want()), err.Step.Op.Object(), err.Words), Hint: err.Remedy,
		})
	}
	return out
}

// stepErrors are the step errors that err joins.
func stepErrors(err error) []*apply.StepError {
	var step *apply.StepError
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok { //nolint:errorlint // a walk over the join, not a test of one error
		var out []*apply.StepError
		for _, e := range joined.Unwrap() {
			out = append(out, stepErrors(e)...)
		}
		return out
	}
	if errors.As(err, &step) {
		return []*apply.StepError{step}
	}
	return nil
}

func hard(problems []plan.Problem) bool {
	for _, p := range problems {
		if !p.Pending {
			return true
		}
	}
	return false
}

func waits(f *plan.PFPlan) bool {
	for i := range f.Steps {
		if len(f.Steps[i].Wait) > 0 {
			return true
		}
	}
	return false
}

func reportPool(p *pool.Pool, plugin *deviceplugin.Status, used use.Set, reasons map[string]withheld) status.Pool {
	out := status.Pool{ResourceName: p.Resource, Devices: len(p.Devices), Healthy: p.Healthy(), Notices: p.Notices}
	if plugin != nil {
		out.Registered = plugin.Registered
		out.Error = plugin.Err
		if out.Error == "" && !plugin.Registered && plugin.Waiting != "" {
			out.Error = "waits for " + plugin.Waiting
		}
	}
	for i := range p.Devices {
		d := &p.Devices[i]
		dev := status.Device{ID: d.ID, Healthy: d.Healthy, Reason: d.Reason}
		if !d.Healthy {
			// A device that was unusable already keeps its own reason.
			if dev.Cause = causeUnusable; reasons[d.ID].why == d.Reason {
				dev.Cause = reasons[d.ID].cause
			}
		}
		dev.Use, dev.Holder = reportUse(used.Of(d.ID))
		out.Members = append(out.Members, dev)
	}
	return out
}

// reportUse says whether a device is free, and who has it. What is not known has a
// holder in words too: a reader that knows nothing of Use takes it for held.
func reportUse(st use.Status) (state, holder string) {
	switch st.State {
	case use.Free:
		return status.UseFree, ""
	case use.Held:
		return status.UseHeld, use.Names(st.Holders)
	}
	return status.UseUnknown, cmp.Or(use.Names(st.Holders), "not known")
}
