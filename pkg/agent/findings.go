package agent

import (
	"log/slog"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/status"
)

// finding is a problem of the last status, or one of which the last status knows nothing.
type finding struct {
	pf, name string // "" for a problem that belongs to no PF
	status.Problem
	since  time.Time // when it was found first
	logged bool
}

// findingKey identifies a finding. What is reported of several VFs in the same words and
// for the same place is one.
type findingKey struct {
	pf, msg string
	pos     spec.Pos
}

func (f *finding) key() findingKey { return findingKey{f.pf, f.Msg, f.Pos} }

// anywhere is the key without the place: a config that was edited has the same elsewhere.
func (f *finding) anywhere() findingKey { return findingKey{pf: f.pf, msg: f.Msg} }

// found is the finding as it gets into the log. A boot has much to wait for and nothing
// to warn of.
func (f *finding) found() entry {
	e := entry{slog.LevelWarn, "problem found", append(f.which(), "hint", f.Hint)}
	if f.Pending {
		e.level, e.msg = slog.LevelInfo, "problem pending"
	}
	return e
}

func (f *finding) over() entry { return entry{slog.LevelInfo, "problem over", f.which()} }

// which are the keys and values that say which finding it is.
func (f *finding) which() []any {
	var args []any
	if f.pf != "" {
		args = append(args, "pf", f.pf, "name", f.name)
	}
	if f.Pos.Line > 0 {
		args = append(args, "line", f.Pos.Line, "column", f.Pos.Column)
	}
	return append(args, "problem", f.Msg)
}

// findings are the problems of the status, each of them once, as first found at the time.
func findings(s *status.Status, at time.Time) []finding {
	var out []finding
	seen := map[findingKey]bool{}
	add := func(list []status.Problem, pf, name string) {
		for i := range list {
			f := finding{pf: pf, name: name, Problem: list[i], since: at}
			if key := f.key(); !seen[key] {
				seen[key] = true
				out = append(out, f)
			}
		}
	}
	add(s.Problems, "", "")
	for i := range s.PFs {
		add(s.PFs[i].Errors, s.PFs[i].Address, s.PFs[i].Name)
	}
	return out
}

// carryOver gives the findings that were there before what is known of them, and returns
// those that are there no more.
func carryOver(was, now []finding) (gone []finding) {
	gone, carried := was, make([]bool, len(now))
	for _, key := range []func(*finding) findingKey{(*finding).key, (*finding).anywhere} {
		at := map[findingKey][]int{}
		for i := range now {
			if k := key(&now[i]); !carried[i] {
				at[k] = append(at[k], i)
			}
		}
		var left []finding
		for i := range gone {
			k := key(&gone[i])
			if len(at[k]) == 0 {
				left = append(left, gone[i])
				continue
			}
			same := at[k][0]
			at[k] = at[k][1:]
			now[same].since, now[same].logged, carried[same] = gone[i].since, gone[i].logged, true
		}
		gone = left
	}
	return gone
}

// ofFindings are the problems that are new, or have lasted, and those that are over. What
// is over within its grace the log never has.
func (n *news) ofFindings(now []finding, at time.Time, unknown func(pf string) bool) []entry {
	var out []entry
	var kept []finding
	gone := carryOver(n.findings, now)
	for i := range gone {
		switch g := &gone[i]; {
		case unknown(g.pf):
			kept = append(kept, *g)
		case g.logged:
			out = append(out, g.over())
		}
	}
	n.due = time.Time{}
	for i := range now {
		f := &now[i]
		due := f.since.Add(n.grace)
		switch {
		case f.logged:
		case f.Settling && at.Before(due):
			n.due = sooner(n.due, due)
		default:
			f.logged = true
			out = append(out, f.found())
		}
	}
	n.findings = append(now, kept...)
	return out
}
