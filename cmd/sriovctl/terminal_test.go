package main

import (
	"bytes"
	"context"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/siderolabs/talos/pkg/machinery/api/machine"
	"github.com/siderolabs/talos/pkg/machinery/role"

	"github.com/talos-sriov/talos-sriov/pkg/status"
	"github.com/talos-sriov/talos-sriov/pkg/talos/talostest"
)

// screen is an output that a test can wait on.
type screen struct {
	mu      sync.Mutex
	b       bytes.Buffer
	changed chan struct{}
}

func newScreen() *screen { return &screen{changed: make(chan struct{}, 1)} }

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case s.changed <- struct{}{}:
	default:
	}
	return s.b.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// wait returns when the screen shows text.
func (s *screen) wait(t *testing.T, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for !strings.Contains(s.String(), text) {
		select {
		case <-s.changed:
		case <-ctx.Done():
			t.Fatalf("no %q on the screen:\n%s", text, s)
		}
	}
}

// terminal is a sriovctl that has a terminal, as far as it can tell.
type terminal struct {
	*app
	out, err *screen
}

func newTerminal(t *testing.T, typed string, nodes ...*talostest.Node) *terminal {
	t.Helper()
	t.Setenv("TALOSCONFIG", talostest.Start(t, 0, nodes...).Talosconfig(t, role.Admin, time.Hour))
	x := &terminal{out: newScreen(), err: newScreen()}
	x.app = &app{in: strings.NewReader(typed), out: x.out, err: x.err, now: time.Now, interactive: true, progress: true, color: true}
	return x
}

func runningNode(t *testing.T) *talostest.Node {
	n := fixtureNode(t, "igb", "82576", "enp33s0")
	n.Services = []*machine.ServiceInfo{{Id: "ext-sriov", State: "Running"}}
	writeStatus(t, n.Files, igbStatus())
	return n
}

// --watch shows the status again when it has changed, and only then, and goes on
// until it is interrupted, which is no error.
func TestWatch(t *testing.T) {
	n := runningNode(t)
	x := newTerminal(t, "", n)
	x.color = false
	ctx, cancel := context.WithCancel(t.Context())
	code := make(chan int, 1)
	go func() { code <- x.run(ctx, []string{"status", "-n", "igb", "--watch", "--interval", "100ms"}) }()
	x.out.wait(t, "config b0cf210a94da is in force")
	s := igbStatus()
	s.Spec.State = status.SpecRefused
	writeStatus(t, n.Files, s)
	x.out.wait(t, "was refused")
	cancel()
	if c := <-code; c != exitOK {
		t.Errorf("exit code %d", c)
	}
	if got := strings.Count(x.out.String(), "igb: extension running"); got != 2 {
		t.Errorf("shown %d times for one change:\n%s", got, x.out)
	}
}

// Without flags, generate patch asks; a wrong answer is explained and asked for
// again; without an end to the answers nothing is written.
func TestAsk(t *testing.T) {
	nodes := []*talostest.Node{runningNode(t), fixtureNode(t, "cx7", "connectx7", ""), fixtureNode(t, "plain", "e1000e", "")}
	good := []string{"numVFs: 4\n", `names: ["enp1s0f0np0"]`, "resourceName: nvidia.com/cx7"}
	for name, x := range map[string]struct {
		node  string
		args  []string
		typed string
		code  int
		out   []string // in the output; nothing may be there when it is empty
		err   []string // in the error output
	}{
		"all is asked for": {node: "cx7", typed: "enp1s0f0np0\n4\nnvidia.com/cx7\n", out: good, err: []string{"NVIDIA ConnectX-7", "which PFs", "how many VFs", "which resource name"}},
		"no end of line":   {node: "cx7", typed: "enp1s0f0np0\n4\nnvidia.com/cx7", out: good},
		"bad answers first": {
			node: "cx7", typed: "\neth7\n enp1s0f0np0, \n\nmany\n-1\n17\n4\n\nnodomain\nnvidia.com/cx7\n", out: good,
			err: []string{
				"! name at least one, enp1s0f0np0 for example", `! there is no "eth7" in the list above`, `! "many" is no number of VFs`, `! "-1" is no`,
				"! enp1s0f0np0 can have 16 at most", "! give it a name", `! "nodomain": `,
			},
		},
		"only what is missing": {node: "cx7", args: []string{"--pf", "0000:01:00.0", "--resource", "nvidia.com/cx7"}, typed: "4\n", out: []string{`pciAddresses: ["0000:01:00.0"]`, "numVFs: 4\n"}},
		"no answer":            {node: "cx7", code: exitError, err: []string{"error: no answer", "hint: --pf, --vfs and --resource"}},
		"ends half way":        {node: "cx7", typed: "enp1s0f0np0\n4\n", code: exitError, err: []string{"error: no answer"}},
		"uplink, yes":          {node: "igb", typed: "enp33s0\n2\nintel.com/igb\ny\n", out: []string{"allowUplink: true"}, err: []string{"is an uplink of the node: it carries the IPv4 default route. VFs on it anyway? [y/N]"}},
		"uplink, no":           {node: "igb", typed: "enp33s0\n2\nintel.com/igb\n\n", code: exitError, err: []string{"--allow-uplink"}},
		"nothing to choose":    {node: "plain", typed: "eth0\n", code: exitError, err: []string{"--pf, --resource, --vfs must be given"}},
	} {
		t.Run(name, func(t *testing.T) {
			term := newTerminal(t, x.typed, nodes...)
			term.color = false
			want := x.code
			if name == "nothing to choose" {
				want = exitUsage
			}
			if code := term.run(t.Context(), append([]string{"generate", "patch", "-n", x.node}, x.args...)); code != want {
				t.Errorf("exit code %d, want %d", code, want)
			}
			if len(x.out) == 0 && term.out.String() != "" {
				t.Errorf("written although it failed:\n%s", term.out)
			}
			for _, s := range x.out {
				if !strings.Contains(term.out.String(), s) {
					t.Errorf("no %q in the output:\n%s", s, term.out)
				}
			}
			for _, s := range x.err {
				if !strings.Contains(term.err.String(), s) {
					t.Errorf("no %q in the error output:\n%s", s, term.err)
				}
			}
		})
	}
}

// apply changes nothing without a yes.
func TestConfirm(t *testing.T) {
	for typed, changed := range map[string]bool{"y\n": true, "Yes\n": true, "n\n": false, "\n": false, "": false, "sure\n": false} {
		n := runningNode(t)
		addMachineConfig(t, n)
		applied := 0
		n.Applied = func(data []byte) { applied++; accept(t, n.Files, data) }
		x := newTerminal(t, typed, n)
		code := x.run(t.Context(), []string{"apply", "testdata/igb-vfs.yaml", "-n", "igb"})
		if (applied > 0) != changed || (code == exitOK) != changed {
			t.Errorf("answer %q: applied %d times, exit code %d", typed, applied, code)
		}
		if !strings.Contains(x.err.String(), "apply this to 1 node(s)? [y/N]") {
			t.Errorf("answer %q: not asked:\n%s", typed, x.err)
		}
	}
}

// A line says for whom is waited when that takes longer than a second, on a
// terminal only, and is gone at the end.
func TestProgress(t *testing.T) {
	for _, watched := range []bool{true, false} {
		x := newTerminal(t, "", silentNode(t), fixtureNode(t, "plain", "e1000e", ""))
		x.progress = watched
		if code := x.run(t.Context(), []string{"discover", "-n", "silent,plain", "--timeout", "1500ms"}); code != exitError {
			t.Errorf("exit code %d", code)
		}
		line := strings.Index(x.err.String(), "waiting for silent")
		if watched != (line >= 0) {
			t.Errorf("terminal %v, but the progress line was shown: %v:\n%q", watched, line >= 0, x.err)
		}
		if watched && !strings.Contains(x.err.String()[line:], "\r\x1b[K") {
			t.Errorf("the progress line is not taken away: %q", x.err)
		}
		if !strings.Contains(x.out.String(), "plain: Talos v1.13.0") {
			t.Errorf("the other node's answer is missing:\n%s", x.out)
		}
	}
}

// Colours are for terminals: the same output, with and without.
func TestColor(t *testing.T) {
	var shown [2]string
	for i, color := range []bool{true, false} {
		x := newTerminal(t, "", runningNode(t))
		x.color = color
		if code := x.run(t.Context(), []string{"status", "-n", "igb"}); code != exitOK {
			t.Errorf("exit code %d: %s", code, x.err)
		}
		shown[i] = x.out.String()
	}
	if strings.Contains(shown[1], "\x1b") {
		t.Errorf("colours without a terminal: %q", shown[1])
	}
	if plain := escape.ReplaceAllString(shown[0], ""); plain == shown[0] || plain != shown[1] {
		t.Errorf("with a terminal: %q, want the same as without, in colours", shown[0])
	}
}

var escape = regexp.MustCompile("\x1b\\[[0-9]*m")
