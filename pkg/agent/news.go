package agent

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/decide"
	"github.com/talos-sriov/talos-sriov/pkg/op"
	"github.com/talos-sriov/talos-sriov/pkg/pool"
	"github.com/talos-sriov/talos-sriov/pkg/status"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// entry is one line of the log.
type entry struct {
	level slog.Level
	msg   string
	args  []any
}

// news is what the log has of what is wrong, so that it has each thing once, and once
// more when it is over.
type news struct {
	// grace is how long a problem must last that normally settles by itself.
	grace time.Duration
	// was is the status before.
	was *status.Status
	// findings are the problems that there are, and waits the holders that each PF
	// waits for.
	findings []finding
	waits    map[string]string
	// unhealthy are the devices that the log has as unhealthy, and why.
	unhealthy map[string]status.Reason
	// due is when a problem will have lasted; zero when none is on its way.
	due time.Time
}

func newNews(grace time.Duration) *news {
	return &news{grace: grace, was: &status.Status{}, unhealthy: map[string]status.Reason{}}
}

// of is what is in the status that was made at the time and was not in the one before:
// what is wrong with the config, each problem, whom changes wait for, which devices became
// unhealthy, what was not reclaimed; and what of it is over. unknown reports of a PF, ""
// for none, that what the status does not have need not be over.
func (n *news) of(now *status.Status, at time.Time, unknown func(pf string) bool) []entry {
	out := refusals(n.was, now)
	out = append(out, n.ofFindings(findings(now, at), at, unknown)...)
	out = append(out, n.ofWaits(now, unknown)...)
	out = append(out, n.ofDevices(now)...)
	out = append(out, orphanNews(n.was.Orphans, now.Orphans)...)
	n.was = now
	return out
}

func logEntries(log *slog.Logger, list []entry) {
	for _, e := range list {
		log.Log(context.Background(), e.level, e.msg, e.args...) //nolint:sloglint // the messages are the constants here and in findings.go
	}
}

// find returns the element, or an empty one.
func find[T any](list []T, is func(*T) bool) *T {
	for i := range list {
		if is(&list[i]) {
			return &list[i]
		}
	}
	return new(T)
}

func refusals(was, now *status.Status) []entry {
	var out []entry
	for i := range now.Spec.Errors {
		e := &now.Spec.Errors[i]
		if was.Spec.Hash == now.Spec.Hash && slices.Contains(was.Spec.Errors, *e) {
			continue
		}
		out = append(out, entry{slog.LevelError, "config refused", []any{
			"line", e.Pos.Line, "column", e.Pos.Column, "err", e.Msg, "hint", e.Hint, "inForce", now.Spec.InForce,
		}})
	}
	if was.Spec.State == status.SpecRefused && now.Spec.State != status.SpecRefused {
		out = append(out, entry{slog.LevelInfo, "config no longer refused", []any{"state", now.Spec.State, "inForce", now.Spec.InForce}})
	}
	return out
}

// ofWaits are the changes that began to wait, or wait for others now.
func (n *news) ofWaits(now *status.Status, unknown func(pf string) bool) []entry {
	var out []entry
	waits := map[string]string{}
	for pf, holders := range n.waits {
		if unknown(pf) {
			waits[pf] = holders
		}
	}
	for i := range now.PFs {
		f := &now.PFs[i]
		holders := waitsFor(f)
		if holders == "" {
			continue
		}
		if holders != n.waits[f.Address] {
			out = append(out, entry{slog.LevelInfo, "a change waits for the holders of its VFs", []any{
				"pf", f.Address, "name", f.Name, "holders", holders,
			}})
		}
		waits[f.Address] = holders
	}
	n.waits = waits
	return out
}

// waitsFor names whom the first step that waits is waiting for.
func waitsFor(f *status.PF) string {
	for i := range f.Steps {
		if w := f.Steps[i].Wait; len(w) > 0 {
			return use.Names(w)
		}
	}
	return ""
}

// ofDevices are the devices that became unhealthy, and those that are healthy again. What
// work is left on, or waited for, is in the log as that. The end is owed from what was
// logged on, whatever else a device was unhealthy for in between, or in no pool.
func (n *news) ofDevices(now *status.Status) []entry {
	var out []entry
	for i := range now.Pools {
		for j := range now.Pools[i].Members {
			d := &now.Pools[i].Members[j]
			reason := worthLogging(d.Reason)
			was, logged := n.unhealthy[d.ID]
			switch {
			case d.Healthy && logged:
				delete(n.unhealthy, d.ID)
				out = append(out, entry{slog.LevelInfo, "device healthy again", []any{"device", d.ID}})
			case d.Healthy, reason == status.Reason{}, reason == was:
			default:
				n.unhealthy[d.ID] = reason
				out = append(out, entry{slog.LevelWarn, "device unhealthy", []any{"device", d.ID, "reason", reason.Text}})
			}
		}
	}
	return out
}

// worthLogging is the reason if it is one that nothing else in the log shows.
func worthLogging(r status.Reason) status.Reason {
	switch pool.Cause(r.Cause) {
	case pool.CausePFDown, pool.CauseNoLink, pool.CauseVFLinkDisabled, pool.CausePCIeErrors, pool.CauseOpen, pool.CauseHeldElsewhere:
		return r
	}
	return status.Reason{}
}

func orphanNews(was, now *status.Orphans) []entry {
	if was == nil {
		was = &status.Orphans{}
	}
	if now == nil {
		return nil
	}
	var out []entry
	for i := range now.Pending {
		o := &now.Pending[i]
		old := find(was.Pending, func(x *status.Orphan) bool { return x.Device == o.Device && x.Attachment == o.Attachment })
		if old.Reason != o.Reason && *old != (status.Orphan{}) {
			out = append(out, entry{slog.LevelWarn, "leftover of an ended pod not reclaimed", []any{
				"device", o.Device, "attachment", o.Attachment, "evidence", o.Evidence, "reason", o.Reason,
			}})
		}
	}
	if n := now.Returned - was.Returned; n > 0 {
		out = append(out, entry{slog.LevelInfo, "leftover of an ended pod reclaimed, DEL did not come", []any{"count", n}})
	}
	return out
}

// logRuns logs why runs failed, but for what the last one failed of too.
func (l *loop) logRuns(ended []decide.Ended) {
	for i := range ended {
		r, was := ended[i].Report, l.memory.PFs[ended[i].PF].Report
		if r == nil || r.Err == nil || was != nil && shown(was.Err) == shown(r.Err) {
			continue
		}
		l.agent.log.Error("not applied", "pf", r.Address, "name", r.Name, "err", r.Err)
	}
}

// shown is the error as the log has it, "" for none.
func shown(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// logDrift logs what somebody else changed.
func (l *loop) logDrift() {
	for i := range l.decision.Drifted {
		d := &l.decision.Drifted[i]
		l.agent.log.Warn("changed by somebody else, will be repaired", "pf", d.PF, "times", d.Times, "path", d.Object, "found", op.Text(d.Found), "want", op.Text(d.Want))
	}
}
