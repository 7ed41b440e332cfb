package agent

import (
	"fmt"
	"os"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/apply"
	"github.com/talos-sriov/talos-sriov/pkg/deviceplugin"
	"github.com/talos-sriov/talos-sriov/pkg/pool"
	"github.com/talos-sriov/talos-sriov/pkg/report"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/status"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// publish logs what is new in the status of a pass, and writes it when anything is.
func (a *Agent) publish(m *memory, cur *pass) {
	plugin := a.plugin.Status()
	s := a.status(m, cur, plugin)
	a.collector.publish(s, plugin, cur.readErr)
	a.logStatus(m, s)
	sum, err := status.SumOf(s)
	if err == nil && sum == m.last && m.saved {
		return
	}
	if err == nil {
		m.last = sum
		s.Updated = time.Now().UTC().Truncate(time.Second)
		err = status.Write(a.store.StatusPath(), s)
	}
	m.saved = err == nil
	if err != nil && a.store.Writable() {
		m.logOnChange.failed("status", err, func() { a.log.Error("cannot write the status file", "err", err) })
	}
}

// status is the status of a pass, and of this process.
func (a *Agent) status(m *memory, cur *pass, plugin []deviceplugin.Status) *status.Status {
	in := observed(cur, m.reports, a.offered.assignment(), plugin)
	in.Drift = make(map[string]int, len(m.drift))
	for pf, d := range m.drift {
		in.Drift[pf] = d.count
	}
	s := report.Status(in)
	if m.unwritable != nil {
		s.Problems = append(s.Problems, stateProblem(m.unwritable))
	}
	if err := a.metrics.Err(); err != nil {
		s.Problems = append(s.Problems, listenProblem(err))
	}
	s.CNI, s.Orphans = a.cni.status(), m.orphans.report()
	s.Daemon = status.Daemon{Version: a.opts.Version, PID: os.Getpid(), Started: a.started.UTC().Truncate(time.Second), BootID: a.bootID, Writes: a.writes.Load()}
	return s
}

// observed gathers what a pass came to.
func observed(cur *pass, ran map[string]*apply.Report, offered *pool.Assignment, plugin []deviceplugin.Status) *report.Input {
	in := &report.Input{
		Spec: cur.decision.spec, Snapshot: cur.snap, Plan: cur.plan, Use: cur.use, Busy: cur.busy,
		Desired: map[string]*spec.PhysicalFunction{}, Runs: map[string]report.Run{}, Missing: map[string][]int{},
		Offered: offered.Withhold(cur.unallocatable()), Registrations: map[string]report.Registration{},
	}
	if cur.readErr != nil {
		in.Problems = append(in.Problems, status.Problem{
			Msg:  fmt.Sprintf("the machine cannot be read: %v", cur.readErr),
			Hint: "nothing is changed until it can",
		})
	}
	for i := range plugin {
		p := &plugin[i]
		in.Registrations[p.Resource] = report.Registration{Registered: p.Registered, Err: p.Err, Waiting: p.Waiting}
	}
	if cur.plan == nil {
		return in
	}
	for i := range cur.plan.PFs {
		pf := cur.plan.PFs[i].Address
		if b := cur.plan.Bound.Binding(pf); b != nil {
			in.Desired[pf] = b.Entry
		}
		if r := ran[pf]; r != nil {
			in.Runs[pf] = report.Run{Problems: r.Problems, Failures: failures(r.Failed)}
		}
		if found := cur.snap.PF(pf); found != nil {
			in.Missing[pf] = missingInterfaces(found, cur.use)
		}
	}
	return in
}

func failures(failed []*apply.StepError) []report.Failure {
	var out []report.Failure
	for _, e := range failed {
		out = append(out, report.Failure{Step: &e.Step, Answer: e.Meaning, Remedy: e.Remedy})
	}
	return out
}

// logStatus logs what is new: each problem, whom changes wait for, what is wrong
// with the config.
func (a *Agent) logStatus(m *memory, s *status.Status) {
	err := a.metrics.Err()
	m.logOnChange.failed("metrics", err, func() {
		p := listenProblem(err)
		a.log.Warn("problem found", "problem", p.Msg, "hint", p.Hint)
	})
	for i := range s.PFs {
		a.logPF(m, &s.PFs[i])
	}
	for i := range s.Spec.Errors {
		e := &s.Spec.Errors[i]
		m.logOnChange.do("spec/"+e.Msg, s.Spec.Hash, func() {
			a.log.Error("config refused", "line", e.Pos.Line, "column", e.Pos.Column, "err", e.Msg, "hint", e.Hint, "inForce", s.Spec.InForce)
		})
	}
}

func (a *Agent) logPF(m *memory, f *status.PF) {
	for i := range f.Errors {
		p := &f.Errors[i]
		m.logOnChange.do("problem/"+f.Address+p.Msg, p.Hint, func() {
			// A boot has much to wait for and nothing to warn of.
			log, msg := a.log.Warn, "problem found"
			if p.Pending {
				log, msg = a.log.Info, "problem pending"
			}
			log(msg, "pf", f.Address, "name", f.Name, "line", p.Pos.Line, "column", p.Pos.Column, "problem", p.Msg, "hint", p.Hint)
		})
	}
	waiting := ""
	for i := range f.Steps {
		if w := f.Steps[i].Wait; len(w) > 0 {
			waiting = use.Names(w)
			break
		}
	}
	m.logOnChange.do("wait/"+f.Address, waiting, func() {
		if waiting != "" {
			a.log.Info("a change waits for the holders of its VFs", "pf", f.Address, "name", f.Name, "holders", waiting)
		}
	})
}

// stateProblem is what the status and the metrics report of a state directory that
// can be read and not written.
func stateProblem(err error) status.Problem {
	return status.Problem{
		Msg:  fmt.Sprintf("the state cannot be written: %v", err),
		Hint: "what is on the disk is in force, and no PF is changed until the change can be recorded; make room on /var, or see why it is read-only (talosctl dmesg)",
	}
}
