package agent

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/pool"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/status"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// text is an entry as the log has it.
func (e entry) text() string {
	var b strings.Builder
	slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})).Log(context.Background(), e.level, e.msg, e.args...) //nolint:sloglint // what is logged is what is tested
	return strings.TrimSpace(b.String())
}

func texts(list []entry) []string {
	var out []string
	for _, e := range list {
		out = append(out, e.text())
	}
	return out
}

const (
	newsPF    = "0000:21:00.0"
	newsGrace = 15 * time.Second
)

var newsStart = time.Unix(1000, 0)

func allKnown(string) bool { return false }

func withPF(pf status.PF) *status.Status {
	pf.Address, pf.Name = newsPF, "enp33s0"
	return &status.Status{PFs: []status.PF{pf}}
}

func waitingFor(pods ...string) *status.Status {
	var holders []status.Holder
	for _, p := range pods {
		holders = append(holders, use.Holder{Namespace: "default", Pod: p})
	}
	return withPF(status.PF{Steps: []status.Step{{ID: "first"}, {ID: "second", Wait: holders}}})
}

func withDevice(healthy bool, cause pool.Cause, text string) *status.Status {
	return &status.Status{Pools: []status.Pool{{ResourceName: "example.com/x", Members: []status.Device{
		{ID: "0000:21:10.0", Healthy: healthy, Reason: status.Reason{Cause: string(cause), Text: text}},
	}}}}
}

func withOrphan(reason string, returned int) *status.Status {
	return &status.Status{Orphans: &status.Orphans{Returned: returned, Pending: []status.Orphan{
		{Device: "0000:21:10.0", Attachment: "c-net1", Evidence: "netns", Reason: reason},
	}}}
}

// newsCase is what is new in a status, as one line of the log; "" for nothing.
type newsCase struct {
	was, now *status.Status
	want     string
}

// check holds that news is one line when it appears, none as long as it stays, and one
// again when it is other news.
func (c newsCase) check(t *testing.T) {
	n := newNews(newsGrace)
	if c.was != nil {
		n.of(c.was, newsStart, allKnown)
	}
	got := texts(n.of(c.now, newsStart, allKnown))
	if c.want == "" && len(got) > 0 || c.want != "" && !slices.Equal(got, []string{c.want}) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), c.want)
	}
	if again := texts(n.of(c.now, newsStart, allKnown)); len(again) > 0 {
		t.Errorf("logged again although it stays as it is:\n%s", strings.Join(again, "\n"))
	}
}

func TestNewsOfConfigsAndPFs(t *testing.T) {
	refused := func(hash, msg string) *status.Status {
		return &status.Status{Spec: status.Spec{State: status.SpecRefused, Hash: hash, InForce: "old", Errors: []spec.Error{
			{Pos: spec.Pos{Line: 3, Column: 5}, Msg: msg, Hint: "mend it"},
		}}}
	}
	problem := func(msg string, pending bool) status.Problem {
		return status.Problem{Msg: msg, Hint: "try", Pending: pending}
	}
	placed := problem("too many VFs", false)
	placed.Pos = spec.Pos{Line: 4, Column: 7}
	for name, c := range map[string]newsCase{
		"nothing": {now: &status.Status{}},
		"the config is refused": {
			now:  refused("a", "no such key"),
			want: `level=ERROR msg="config refused" line=3 column=5 err="no such key" hint="mend it" inForce=old`,
		},
		"for something else": {
			was: refused("a", "no such key"), now: refused("a", "no value"),
			want: `level=ERROR msg="config refused" line=3 column=5 err="no value" hint="mend it" inForce=old`,
		},
		"another one with the same mistake": {
			was: refused("a", "no such key"), now: refused("b", "no such key"),
			want: `level=ERROR msg="config refused" line=3 column=5 err="no such key" hint="mend it" inForce=old`,
		},
		"a problem of the machine": {
			now:  &status.Status{Problems: []status.Problem{problem("the state cannot be written", false)}},
			want: `level=WARN msg="problem found" problem="the state cannot be written" hint=try`,
		},
		"a problem of a PF": {
			now:  withPF(status.PF{Errors: []status.Problem{placed}}),
			want: `level=WARN msg="problem found" pf=` + newsPF + ` name=enp33s0 line=4 column=7 problem="too many VFs" hint=try`,
		},
		"one that passes by itself": {
			now:  withPF(status.PF{Errors: []status.Problem{problem("no driver yet", true)}}),
			want: `level=INFO msg="problem pending" pf=` + newsPF + ` name=enp33s0 problem="no driver yet" hint=try`,
		},
		"the problem is over": {
			was: withPF(status.PF{Errors: []status.Problem{placed}}), now: withPF(status.PF{}),
			want: `level=INFO msg="problem over" pf=` + newsPF + ` name=enp33s0 line=4 column=7 problem="too many VFs"`,
		},
		"its PF left the config": {
			was: withPF(status.PF{Errors: []status.Problem{problem("no driver yet", true)}}), now: &status.Status{},
			want: `level=INFO msg="problem over" pf=` + newsPF + ` name=enp33s0 problem="no driver yet"`,
		},
		"a problem of the machine is over": {
			was:  &status.Status{Problems: []status.Problem{problem("the state cannot be written", false)}},
			now:  &status.Status{},
			want: `level=INFO msg="problem over" problem="the state cannot be written"`,
		},
		"the same twice is one": {
			now:  withPF(status.PF{Errors: []status.Problem{placed, placed}}),
			want: `level=WARN msg="problem found" pf=` + newsPF + ` name=enp33s0 line=4 column=7 problem="too many VFs" hint=try`,
		},
		"the config no longer refused": {
			was: refused("a", "no such key"), now: &status.Status{Spec: status.Spec{State: status.SpecAccepted, Hash: "b", InForce: "b"}},
			want: `level=INFO msg="config no longer refused" state=accepted inForce=b`,
		},
		"a change waits": {
			now:  waitingFor("web", "db", "web"),
			want: `level=INFO msg="a change waits for the holders of its VFs" pf=` + newsPF + ` name=enp33s0 holders="pod default/web, pod default/db"`,
		},
		"one of them ended": {
			was: waitingFor("web", "db"), now: waitingFor("db"),
			want: `level=INFO msg="a change waits for the holders of its VFs" pf=` + newsPF + ` name=enp33s0 holders="pod default/db"`,
		},
		"all ended": {was: waitingFor("web"), now: waitingFor()},
	} {
		t.Run(name, c.check)
	}
}

func TestNewsOfDevicesAndLeftovers(t *testing.T) {
	for name, c := range map[string]newsCase{
		"a device is unhealthy": {
			was: withDevice(true, "", ""), now: withDevice(false, pool.CauseNoLink, "no link"),
			want: `level=WARN msg="device unhealthy" device=0000:21:10.0 reason="no link"`,
		},
		"for another reason": {
			was: withDevice(false, pool.CauseNoLink, "no link"), now: withDevice(false, pool.CauseOpen, "it is open"),
			want: `level=WARN msg="device unhealthy" device=0000:21:10.0 reason="it is open"`,
		},
		"healthy again": {
			was: withDevice(false, pool.CauseNoLink, "no link"), now: withDevice(true, "", ""),
			want: `level=INFO msg="device healthy again" device=0000:21:10.0`,
		},
		"a leftover has its grace": {now: withOrphan("may still", 0)},
		"it is in use": {
			was: withOrphan("may still", 0), now: withOrphan("in use", 0),
			want: `level=WARN msg="leftover of an ended pod not reclaimed" device=0000:21:10.0 attachment=c-net1 evidence=netns reason="in use"`,
		},
		"it is reclaimed": {
			was: withOrphan("may still", 2), now: &status.Status{Orphans: &status.Orphans{Returned: 3}},
			want: `level=INFO msg="leftover of an ended pod reclaimed, DEL did not come" count=1`,
		},
		"the first one is reclaimed": {
			now:  &status.Status{Orphans: &status.Orphans{Returned: 1}},
			want: `level=INFO msg="leftover of an ended pod reclaimed, DEL did not come" count=1`,
		},
		"the container runtime was first": {was: withOrphan("may still", 0), now: &status.Status{}},
	} {
		t.Run(name, c.check)
	}
}

// TestCausesInTheLog: what is logged as work that is left or waited for is not logged
// once more for each device.
func TestCausesInTheLog(t *testing.T) {
	for cause, logged := range map[pool.Cause]bool{
		pool.CausePFDown: true, pool.CauseNoLink: true, pool.CauseVFLinkDisabled: true, pool.CausePCIeErrors: true,
		pool.CauseOpen: true, pool.CauseHeldElsewhere: true,
		pool.CauseWaiting: false, pool.CauseNoInterface: false, pool.CauseUnfinished: false, pool.CauseUnusable: false,
	} {
		if got := len(newNews(newsGrace).of(withDevice(false, cause, "x"), newsStart, allKnown)) > 0; got != logged {
			t.Errorf("%s: logged %v, want %v", cause, got, logged)
		}
	}
}

// TestNewsOfOneAmongMany: what is new is found by PF, pool and device.
func TestNewsOfOneAmongMany(t *testing.T) {
	many := func(last int) *status.Status {
		s := &status.Status{}
		for i := range last + 1 {
			pf := status.PF{Address: fmt.Sprintf("0000:%02x:00.0", i), Errors: []status.Problem{{Msg: "the same on each"}}}
			s.PFs = append(s.PFs, pf)
			s.Pools = append(s.Pools, status.Pool{ResourceName: fmt.Sprintf("example.com/%d", i), Members: []status.Device{
				{ID: pf.Address, Reason: status.Reason{Cause: string(pool.CauseNoLink), Text: "no link"}},
			}})
		}
		slices.Reverse(s.PFs)
		return s
	}
	n := newNews(newsGrace)
	n.of(many(7), newsStart, allKnown)
	got := texts(n.of(many(8), newsStart, allKnown))
	if len(got) != 2 || !strings.Contains(got[0], "pf=0000:08:00.0") || !strings.Contains(got[1], "device=0000:08:00.0") {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
}
