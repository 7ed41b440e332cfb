package agent

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/apply"
	"github.com/talos-sriov/talos-sriov/pkg/decide"
	"github.com/talos-sriov/talos-sriov/pkg/deviceplugin"
	"github.com/talos-sriov/talos-sriov/pkg/report"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/status"
)

// publish makes the status of the last pass, logs what is new in it, and writes it
// when anything is.
func (l *loop) publish(o *observed) {
	a, plugin := l.agent, l.agent.plugin.Status()
	s := l.makeStatus(o, plugin)
	a.collector.publish(s, plugin, o.Err)
	logEntries(a.log, l.news.of(s, o.At, l.unknown(o)))
	sum, err := status.SumOf(s)
	if err == nil && sum == l.sum && l.written {
		return
	}
	if err == nil {
		l.sum = sum
		s.Updated = time.Now().UTC().Truncate(time.Second)
		err = status.Write(a.store.StatusPath(), s)
	}
	if l.written = err == nil; err != nil && a.store.Writable() && a.unreported.news(err) {
		a.log.Error("cannot write the status file", "err", err)
	}
}

// unknown reports of a PF whether what was wrong with it may still be: the machine or the
// PF was not read, or a run is changing it. "" is for what belongs to no PF.
func (l *loop) unknown(o *observed) func(pf string) bool {
	running := l.memory.Running()
	return func(pf string) bool {
		found := o.snapshot().PF(pf)
		return !l.decision.Known || running[pf] || found != nil && found.Silent != ""
	}
}

// makeStatus is the status of the last pass, and of this process.
func (l *loop) makeStatus(o *observed, plugin []deviceplugin.Status) *status.Status {
	a := l.agent
	s := report.Status(l.input(o, plugin))
	if err := l.state.problem(); err != nil {
		s.Problems = append(s.Problems, stateProblem(err))
	}
	if err := a.metrics.Err(); err != nil {
		s.Problems = append(s.Problems, listenProblem(err))
	}
	s.CNI, s.Orphans = a.cni.status(), orphans(&l.memory)
	s.Daemon = status.Daemon{Version: a.opts.Version, PID: os.Getpid(), Started: a.started.UTC().Truncate(time.Second), BootID: a.bootID, Writes: a.writes.Load()}
	return s
}

// input gathers what the pass came to.
func (l *loop) input(o *observed, plugin []deviceplugin.Status) *report.Input {
	d := &l.decision
	in := &report.Input{
		Spec: d.Spec, Snapshot: o.snapshot(), Plan: d.Plan, Use: o.Use, Busy: l.memory.Running(),
		Desired: map[string]*spec.PhysicalFunction{}, Runs: map[string]report.Run{}, Missing: map[string][]int{},
		Offered: l.offered, Registrations: map[string]report.Registration{}, Drift: map[string]int{},
	}
	if o.Err != nil {
		in.Problems = append(in.Problems, status.Problem{
			Msg:  fmt.Sprintf("the machine cannot be read: %v", o.Err),
			Hint: "nothing is changed until it can",
		})
	}
	for i := range plugin {
		p := &plugin[i]
		in.Registrations[p.Resource] = report.Registration{Registered: p.Registered, Err: p.Err, Waiting: p.Waiting}
	}
	if d.Plan == nil {
		return in
	}
	for i := range d.Plan.PFs {
		pf := d.Plan.PFs[i].Address
		if b := d.Plan.Bound.Binding(pf); b != nil {
			in.Desired[pf] = b.Entry
		}
		known := l.memory.PFs[pf]
		in.Drift[pf] = known.Drift
		if r := known.Report; r != nil {
			in.Runs[pf] = report.Run{Problems: r.Problems, Failures: failures(r.Failed)}
		}
		if found := o.Snapshot.PF(pf); found != nil {
			in.Missing[pf] = decide.MissingInterfaces(found, o.Use)
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

// orphans is the status' part, nil when there is nothing to report.
func orphans(m *decide.Memory) *status.Orphans {
	if m.Reclaimed == 0 && len(m.Leftovers) == 0 {
		return nil
	}
	s := &status.Orphans{Returned: m.Reclaimed}
	for k, e := range m.Leftovers {
		reason := cmp.Or(e.Reason, "the container runtime may still give it back itself")
		s.Pending = append(s.Pending, status.Orphan{
			Device: k.Device, Attachment: k.File, Evidence: string(k.Evidence), Since: e.Since.UTC().Truncate(time.Second), Reason: reason,
		})
	}
	slices.SortFunc(s.Pending, func(x, y status.Orphan) int {
		return cmp.Or(cmp.Compare(x.Device, y.Device), cmp.Compare(x.Attachment, y.Attachment))
	})
	return s
}

// stateProblem is what the status and the metrics report of a state directory that
// can be read and not written.
func stateProblem(err error) status.Problem {
	return status.Problem{
		Msg:  fmt.Sprintf("the state cannot be written: %v", err),
		Hint: "what is on the disk is in force, and no PF is changed until the change can be recorded; make room on /var, or see why it is read-only (talosctl dmesg)",
	}
}
