package ledger

import (
	"fmt"
	"strings"
	"testing"
)

// The explorer walks through every order in which the steps of everybody around the
// ledger can come: the loop, the workers, the kubelet, the pods, the config, and the end
// of the daemon at any point. The ledger is the real one; the others are small state
// machines whose steps are its doors and what happens between them. Each state is visited
// once: two that differ only in how far the clocks and counters went are one.
//
// What the actors are taken to do is in explore_world_test.go, explore_daemon_test.go and
// explore_kubelet_test.go, and what must hold in each state in explore_check_test.go.

// bounds are how much happens in one exploration, and where the protocol is broken on
// purpose.
type bounds struct {
	devices  int
	names    int   // resource names; with two, the config may rename each device once
	writers  []int // the device of each worker
	pods     int   // how many pods ever start
	changes  int   // how often the config wants something else that destroys a device
	crashes  int   // how often the daemon ends
	lost     bool  // its books may be unreadable after that
	restarts int   // how often the kubelet restarts
	silence  bool  // List may hang, while everything else of the kubelet works
	noFile   bool  // the kubelet's checkpoint cannot be read
	fine     bool // also what lies between two steps that are mostly taken as one
	broken   fault
}

// step is one that can be taken now.
type step struct {
	text string
	do   func(*world)
}

// node is how a state was first reached.
type node struct {
	parent int
	text   string
}

// found is what an exploration came to.
type found struct {
	states, transitions int
	violation           string
	trace               []string
}

// explore visits everything that is within the bounds, the nearest first, so that the
// trace to a violation is a shortest one. With no violation, trace is empty.
func explore(b bounds) found {
	var (
		out   found
		nodes = []node{{parent: -1, text: "start"}}
		queue = []*world{newWorld(&b)}
		seen  = map[uint64]bool{queue[0].fingerprint(): true}
	)
	for at := 0; at < len(queue); at++ {
		w := queue[at]
		if at%100000 == 99999 {
			fmt.Println(at, len(queue)-at, len(nodes), out.transitions)
		}
		queue[at] = nil
		for _, s := range w.steps() {
			out.transitions++
			next := w.clone()
			s.do(next)
			why := next.violated()
			key := next.fingerprint()
			if seen[key] && why == "" {
				continue
			}
			seen[key] = true
			nodes = append(nodes, node{at, s.text})
			if why == "" {
				why = next.stranded()
			}
			if why != "" {
				out.states, out.violation, out.trace = len(nodes), why, path(nodes)
				return out
			}
			queue = append(queue, next)
		}
	}
	out.states = len(nodes)
	return out
}

// path is the way to the last node.
func path(nodes []node) []string {
	var out []string
	for i := len(nodes) - 1; i > 0; i = nodes[i].parent {
		out = append([]string{nodes[i].text}, out...)
	}
	return out
}

// String shows a violation with the way to it.
func (f found) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, after %d steps:\n", f.violation, len(f.trace))
	for i, s := range f.trace {
		fmt.Fprintf(&b, "%3d. %s\n", i+1, s)
	}
	return b.String()
}

// scenarios are the bounds that are explored: one thing that goes wrong at a time, with
// everything else beside it.
var scenarios = []struct {
	name string
	long bool // left out with -short
	bounds
}{
	{"a change", false, bounds{devices: 1, names: 1, writers: []int{0}, pods: 2, changes: 2}},
	{"a rename", false, bounds{devices: 1, names: 2, pods: 2}},
	{"a rename and a change", true, bounds{devices: 1, names: 2, writers: []int{0}, pods: 2, changes: 1}},
	{"a kubelet that hangs", true, bounds{devices: 1, names: 1, writers: []int{0}, pods: 2, changes: 1, silence: true}},
	{"a kubelet that restarts", true, bounds{devices: 1, names: 1, writers: []int{0}, pods: 2, changes: 1, restarts: 1}},
	{"a rename and a kubelet that restarts", true, bounds{devices: 1, names: 2, pods: 2, restarts: 1}},
	{"a crash", true, bounds{devices: 1, names: 1, writers: []int{0}, pods: 2, changes: 1, crashes: 1}},
	{"a crash without books", true, bounds{devices: 1, names: 1, writers: []int{0}, pods: 1, changes: 1, crashes: 1, lost: true, restarts: 1}},
	{"a rename and a crash", true, bounds{devices: 1, names: 2, pods: 2, crashes: 1}},
	{"no checkpoint", true, bounds{devices: 1, names: 1, writers: []int{0}, pods: 2, changes: 1, noFile: true}},
	{"two devices", true, bounds{devices: 2, names: 1, writers: []int{0}, pods: 2, changes: 1}},
	{"two workers at one device", true, bounds{devices: 1, names: 1, writers: []int{0, 0}, pods: 1, changes: 2}},
}

// Whatever the order of things, no device is given to two pods, none is written that a
// pod has, and none is lost.
func TestExplore(t *testing.T) {
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			if s.long && testing.Short() {
				t.Skip("long")
			}
			t.Parallel()
			f := explore(s.bounds)
			t.Logf("%d states, %d transitions: %s", f.states, f.transitions, s.name)
			if f.violation != "" {
				t.Error(f)
			}
		})
	}
}
