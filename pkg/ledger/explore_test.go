package ledger

import (
	"fmt"
	"strings"
	"sync/atomic"
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
	late     bool  // its books may come late after that
	restarts int   // how often the kubelet restarts
	silence  bool  // List may hang, while everything else of the kubelet works
	noFile   bool  // the kubelet's checkpoint cannot be read
	stalls   bool  // whoever has an answer may take minutes to hand it on
	fine     bool  // also what lies between two steps that are mostly taken as one
	broken   fault
}

// step is one that can be taken now.
type step struct {
	do     func(*world)
	format string
	args   []any
}

// node is how a state was first reached.
type node struct {
	parent int
	step   step
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
		nodes = []node{{parent: -1}}
		queue = []*world{newWorld(&b)}
		seen  = map[uint64]bool{queue[0].fingerprint(): true}
	)
	for at := 0; at < len(queue); at++ {
		w := queue[at]
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
			nodes = append(nodes, node{at, s})
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
		out = append([]string{fmt.Sprintf(nodes[i].step.format, nodes[i].step.args...)}, out...)
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
	name  string
	quick bool // explored with -short and with -race too
	bounds
}{
	{"a change", true, bounds{devices: 1, names: 1, writers: []int{0}, pods: 1, changes: 2}},
	{"a rename", true, bounds{devices: 1, names: 2, pods: 2}},
	{"a change, step by step", false, bounds{devices: 1, names: 1, writers: []int{0}, pods: 1, changes: 1, fine: true}},
	{"a change between two pods", false, bounds{devices: 1, names: 1, writers: []int{0}, pods: 2, changes: 1}},
	{"a rename and a change", false, bounds{devices: 1, names: 2, writers: []int{0}, pods: 1, changes: 1}},
	{"an answer that is handed on late", false, bounds{devices: 1, names: 1, writers: []int{0}, pods: 2, changes: 1, stalls: true}},
	{"two devices", false, bounds{devices: 2, names: 1, writers: []int{0}, pods: 1, changes: 1}},
	{"two workers at one device", false, bounds{devices: 1, names: 1, writers: []int{0, 0}, pods: 1, changes: 1}},
	{"a kubelet that hangs", false, bounds{devices: 1, names: 1, writers: []int{0}, pods: 1, changes: 1, silence: true}},
	{"a kubelet that restarts", false, bounds{devices: 1, names: 1, writers: []int{0}, pods: 1, changes: 1, restarts: 1}},
	{"a kubelet that restarts, and a rename", false, bounds{devices: 1, names: 2, pods: 2, restarts: 1}},
	{"a checkpoint that cannot be read", false, bounds{devices: 1, names: 1, writers: []int{0}, pods: 2, changes: 1, noFile: true}},
	{"a crash", false, bounds{devices: 1, names: 1, writers: []int{0}, pods: 1, changes: 1, crashes: 1}},
	{"a crash and a rename", false, bounds{devices: 1, names: 2, pods: 2, crashes: 1}},
	{"a crash, and books that cannot be read", false, bounds{devices: 1, names: 1, writers: []int{0}, pods: 1, changes: 1, crashes: 1, lost: true}},
	{"a crash, and books that come late", false, bounds{devices: 1, names: 1, writers: []int{0}, pods: 1, changes: 1, crashes: 1, late: true}},
	// Note refuses what the list of the device plugin has not heard of yet.
	{"Allocate does not look at its list again", false, bounds{devices: 1, names: 1, writers: []int{0}, pods: 1, changes: 2, broken: checksOnce}},
}

// Whatever the order of things, no device is given to two pods, none is written that a
// pod has, and none is lost.
func TestExplore(t *testing.T) {
	var states, transitions atomic.Int64
	t.Run("scenarios", func(t *testing.T) {
		for _, s := range scenarios {
			t.Run(s.name, func(t *testing.T) {
				if !s.quick && (testing.Short() || raced) {
					t.Skip("too many states")
				}
				t.Parallel()
				f := explore(s.bounds)
				states.Add(int64(f.states))
				transitions.Add(int64(f.transitions))
				t.Logf("%s: %d states, %d transitions", s.name, f.states, f.transitions)
				if f.violation != "" {
					t.Error(f)
				}
			})
		}
	})
	t.Logf("all: %d states, %d transitions", states.Load(), transitions.Load())
}
