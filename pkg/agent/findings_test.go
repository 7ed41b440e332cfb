package agent

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/talos-sriov/talos-sriov/pkg/apply"
	"github.com/talos-sriov/talos-sriov/pkg/pool"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/status"
)

// pass is one status: at a time after the start, and what it adds to the log, each line
// as the message and the place and the text of the problem, or the device.
type pass struct {
	after   time.Duration
	s       *status.Status
	unknown bool // what it does not have need not be over
	want    []string
}

func (l *pass) at() time.Time { return newsStart.Add(l.after) }

// brief is an entry in the words of a pass.
func brief(e entry) string {
	out := e.msg
	for i := 0; i < len(e.args); i += 2 {
		switch e.args[i] {
		case "line", "problem", "device", "holders":
			out += fmt.Sprint(" ", e.args[i+1])
		}
	}
	return out
}

func checkPasses(t *testing.T, passes []pass) {
	n := newNews(newsGrace)
	for i := range passes {
		l := &passes[i]
		var got []string
		for _, e := range n.of(l.s, l.at(), func(string) bool { return l.unknown }) {
			got = append(got, brief(e))
		}
		if !slices.Equal(got, l.want) {
			t.Errorf("pass %d after %s:\n%s\nwant\n%s", i, l.after, strings.Join(got, "\n"), strings.Join(l.want, "\n"))
		}
	}
}

func settling(msg string) status.Problem {
	return status.Problem{Pos: spec.Pos{Line: 4, Column: 5}, Msg: msg, Pending: true, Settling: true}
}

func withProblems(list ...status.Problem) *status.Status { return withPF(status.PF{Errors: list}) }

// TestSettlingProblems: what normally settles within seconds is logged when it has not.
func TestSettlingProblems(t *testing.T) {
	const second = time.Second
	load, netdev := settling("not loaded"), settling("no interface")
	lasting := load
	lasting.Settling = false
	for name, passes := range map[string][]pass{
		"over within the grace":  {{s: withProblems(load)}, {after: second, s: withProblems(netdev)}, {after: 2 * second, s: withProblems()}, {after: time.Hour, s: withProblems()}},
		"a moment less":          {{s: withProblems(load)}, {after: newsGrace - 1, s: withProblems(load)}, {after: newsGrace, s: withProblems()}},
		"it lasts, and is over":  {{s: withProblems(load)}, {after: newsGrace, s: withProblems(load), want: []string{"problem pending 4 not loaded"}}, {after: time.Minute, s: withProblems(), want: []string{"problem over 4 not loaded"}}, {after: time.Hour, s: withProblems()}},
		"it comes again":         {{s: withProblems(load)}, {after: second, s: withProblems()}, {after: newsGrace, s: withProblems(load)}, {after: 2*newsGrace - 1, s: withProblems(load)}, {after: 2 * newsGrace, s: withProblems(load), want: []string{"problem pending 4 not loaded"}}},
		"one that does not wait": {{s: withProblems(lasting), want: []string{"problem pending 4 not loaded"}}, {s: withProblems(), want: []string{"problem over 4 not loaded"}}},
		"it no longer settles":   {{s: withProblems(load)}, {after: second, s: withProblems(lasting), want: []string{"problem pending 4 not loaded"}}},
		"of the machine":         {{s: &status.Status{Problems: []status.Problem{load}}}, {after: newsGrace, s: &status.Status{Problems: []status.Problem{load}}, want: []string{"problem pending 4 not loaded"}}},
		"over while another is found": {
			{s: withProblems(load)}, {after: newsGrace, s: withProblems(load), want: []string{"problem pending 4 not loaded"}},
			{after: time.Minute, s: withProblems(status.Problem{Msg: "refused"}), want: []string{"problem over 4 not loaded", "problem found refused"}},
		},
	} {
		t.Run(name, func(t *testing.T) { checkPasses(t, passes) })
	}
}

// TestUnknownIsNotOver: what the machine was not asked, or did not answer, does not end a
// finding, nor does it begin again.
func TestUnknownIsNotOver(t *testing.T) {
	wrong := status.Problem{Msg: "refused"}
	found := pass{s: withProblems(wrong), want: []string{"problem found refused"}}
	for name, passes := range map[string][]pass{
		"it is there again":   {found, {unknown: true, s: &status.Status{}}, {s: withProblems(wrong)}},
		"it is over after":    {found, {unknown: true, s: &status.Status{}}, {s: withProblems(), want: []string{"problem over refused"}}, {s: withProblems()}},
		"something else":      {found, {unknown: true, s: withProblems(status.Problem{Msg: "no answer"}), want: []string{"problem found no answer"}}, {s: withProblems(wrong), want: []string{"problem over no answer"}}},
		"its grace goes on":   {{s: withProblems(settling("x"))}, {after: 1, unknown: true, s: withProblems()}, {after: newsGrace, s: withProblems(settling("x")), want: []string{"problem pending 4 x"}}},
		"a change that waits": {{s: waitingFor("web"), want: []string{"a change waits for the holders of its VFs pod default/web"}}, {unknown: true, s: &status.Status{}}, {s: waitingFor("web")}, {s: waitingFor()}, {s: waitingFor("web"), want: []string{"a change waits for the holders of its VFs pod default/web"}}},
	} {
		t.Run(name, func(t *testing.T) { checkPasses(t, passes) })
	}
}

// TestEditedConfig: the same problem at another line of the config is no other one, and
// two at two lines are two.
func TestEditedConfig(t *testing.T) {
	at := func(lines ...int) *status.Status {
		var list []status.Problem
		for _, l := range lines {
			list = append(list, status.Problem{Pos: spec.Pos{Line: l, Column: 1}, Msg: "refused"})
		}
		return withProblems(list...)
	}
	checkPasses(t, []pass{
		{s: at(4, 8), want: []string{"problem found 4 refused", "problem found 8 refused"}},
		{s: at(5, 9)},
		{s: at(8, 9)},
		{s: at(9), want: []string{"problem over 8 refused"}},
		{s: at(9, 12), want: []string{"problem found 12 refused"}},
		{s: at(), want: []string{"problem over 9 refused", "problem over 12 refused"}},
	})
}

// TestHealthyAgain: the end of what was logged is logged, whatever was in between.
func TestHealthyAgain(t *testing.T) {
	const dev = " 0000:21:10.0"
	bad := pass{s: withDevice(false, pool.CauseNoLink, "no link"), want: []string{"device unhealthy" + dev}}
	good := pass{s: withDevice(true, "", ""), want: []string{"device healthy again" + dev}}
	waits := pass{s: withDevice(false, pool.CauseWaiting, "a change waits")}
	none := pass{s: &status.Status{}}
	still, quiet := pass{s: bad.s}, pass{s: good.s}
	for name, passes := range map[string][]pass{
		"at once":                  {bad, good, quiet},
		"through another cause":    {bad, waits, good, quiet},
		"the same cause once more": {bad, waits, still, good, bad},
		"through no pool":          {bad, none, waits, good},
		"never logged":             {waits, quiet},
	} {
		t.Run(name, func(t *testing.T) { checkPasses(t, passes) })
	}
}

// TestDue: the next pass is due when the first finding will have lasted.
func TestDue(t *testing.T) {
	n := newNews(newsGrace)
	for i, c := range []struct {
		after time.Duration
		s     *status.Status
		due   time.Duration // 0 for none
	}{
		{s: withProblems(status.Problem{Msg: "refused"})},
		{after: 1, s: withProblems(settling("a")), due: newsGrace + 1},
		{after: 5, s: withProblems(settling("b"), settling("a")), due: newsGrace + 1},
		{after: newsGrace + 1, s: withProblems(settling("b"), settling("a")), due: newsGrace + 5},
		{after: newsGrace + 2, s: withProblems(settling("a"))},
	} {
		n.of(c.s, newsStart.Add(c.after), allKnown)
		want := time.Time{}
		if c.due > 0 {
			want = newsStart.Add(c.due)
		}
		if !n.due.Equal(want) {
			t.Errorf("pass %d: due at %s, want %s", i, n.due, want)
		}
	}
}

// TestLoopWakesWhenAProblemHasLasted: without any event the next pass is due when the
// grace is over, and not before.
func TestLoopWakesWhenAProblemHasLasted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, err := New(Options{Log: slog.New(slog.DiscardHandler), Links: apply.NoLinks{}}, "boot-1")
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		l := &loop{agent: a, news: newNews(a.opts.LogGrace), finished: start}
		l.decision.Next = start.Add(a.opts.Resync)
		l.news.of(withProblems(settling("not loaded")), start, allKnown)
		if !l.wait(t.Context(), &observed{}) || time.Since(start) != 15*time.Second {
			t.Errorf("awake after %s", time.Since(start))
		}
		if got := texts(l.news.of(withProblems(settling("not loaded")), time.Now(), allKnown)); len(got) != 1 {
			t.Errorf("logged %q", got)
		}
		if !l.wait(t.Context(), &observed{}) || time.Since(start) != a.opts.Resync {
			t.Errorf("awake again after %s", time.Since(start))
		}
	})
}

// TestFoundAndOver: whatever comes and goes, the log has each finding's beginning and end
// in turns, nothing that did not last, and in the end nothing that is over.
func TestFoundAndOver(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, at, open, since := newNews(newsGrace), newsStart, map[string]bool{}, map[string]time.Time{}
		next := func(now []status.Problem, unknown bool) {
			for _, e := range n.of(withProblems(now...), at, func(string) bool { return unknown }) {
				msg := e.args[slices.Index(e.args, "problem")+1].(string)
				if over := e.msg == "problem over"; over != open[msg] {
					t.Fatalf("%s: %s, and the log had it open: %v", msg, e.msg, open[msg])
				}
				open[msg] = !open[msg]
				if first, ok := since[msg]; open[msg] && msg != "lasting" && (!ok || at.Sub(first) < newsGrace) {
					t.Fatalf("%s did not last", msg)
				}
			}
		}
		for range rapid.IntRange(1, 20).Draw(t, "passes") {
			at = at.Add(time.Duration(rapid.IntRange(0, 20).Draw(t, "seconds")) * time.Second)
			unknown := rapid.Bool().Draw(t, "unknown")
			var now []status.Problem
			for _, msg := range []string{"a", "b", "lasting"} {
				switch there := rapid.Bool().Draw(t, msg); {
				case there && msg == "lasting":
					now = append(now, status.Problem{Msg: msg})
				case there:
					now = append(now, settling(msg))
					if _, ok := since[msg]; !ok {
						since[msg] = at
					}
				case !unknown:
					delete(since, msg)
				}
			}
			next(now, unknown)
		}
		next(nil, false)
		for msg, is := range open {
			if is {
				t.Fatalf("%s is over, and the log does not have it", msg)
			}
		}
	})
}
