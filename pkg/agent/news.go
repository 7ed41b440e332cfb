package agent

import (
	"context"
	"log/slog"
	"slices"

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

// logNews logs what is new in a status. was is the one before, nil for none.
func logNews(log *slog.Logger, was, now *status.Status) {
	if was == nil {
		was = &status.Status{}
	}
	for _, e := range news(was, now) {
		log.Log(context.Background(), e.level, e.msg, e.args...) //nolint:sloglint // the messages are the constants below
	}
}

// news is what is in one status and was not in the one before: what is wrong with the
// config, each problem, whom changes wait for, which devices became unhealthy, what was
// not reclaimed.
func news(was, now *status.Status) []entry {
	out := refusals(was, now)
	out = append(out, problems(was.Problems, now.Problems)...)
	for i := range now.PFs {
		out = append(out, pfNews(find(was.PFs, func(f *status.PF) bool { return f.Address == now.PFs[i].Address }), &now.PFs[i])...)
	}
	for i := range now.Pools {
		out = append(out, healthNews(find(was.Pools, func(p *status.Pool) bool { return p.ResourceName == now.Pools[i].ResourceName }), &now.Pools[i])...)
	}
	return append(out, orphanNews(was.Orphans, now.Orphans)...)
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
	return out
}

// problems are those that are new. A boot has much to wait for and nothing to warn of.
func problems(was, now []status.Problem, of ...any) []entry {
	var out []entry
	for i := range now {
		p := &now[i]
		if slices.ContainsFunc(was, func(o status.Problem) bool { return o.Msg == p.Msg && o.Hint == p.Hint }) {
			continue
		}
		e := entry{slog.LevelWarn, "problem found", of}
		if p.Pending {
			e.level, e.msg = slog.LevelInfo, "problem pending"
		}
		if p.Pos.Line > 0 {
			e.args = append(slices.Clone(e.args), "line", p.Pos.Line, "column", p.Pos.Column)
		}
		e.args = append(slices.Clone(e.args), "problem", p.Msg, "hint", p.Hint)
		out = append(out, e)
	}
	return out
}

func pfNews(was, now *status.PF) []entry {
	out := problems(was.Errors, now.Errors, "pf", now.Address, "name", now.Name)
	if holders := waitsFor(now); holders != "" && holders != waitsFor(was) {
		out = append(out, entry{slog.LevelInfo, "a change waits for the holders of its VFs", []any{
			"pf", now.Address, "name", now.Name, "holders", holders,
		}})
	}
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

// healthNews is which devices became unhealthy, and which are healthy again. What work
// is left on, or waited for, is in the log as that.
func healthNews(was, now *status.Pool) []entry {
	before := make(map[string]status.Reason, len(was.Members))
	for i := range was.Members {
		before[was.Members[i].ID] = worthLogging(was.Members[i].Reason)
	}
	var out []entry
	for i := range now.Members {
		d := &now.Members[i]
		reason, old := worthLogging(d.Reason), before[d.ID]
		switch {
		case reason == old:
		case reason != status.Reason{}:
			out = append(out, entry{slog.LevelWarn, "device unhealthy", []any{"device", d.ID, "reason", reason.Text}})
		case d.Healthy:
			out = append(out, entry{slog.LevelInfo, "device healthy again", []any{"device", d.ID}})
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
