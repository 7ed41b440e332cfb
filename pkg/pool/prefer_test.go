package pool_test

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/talos-sriov/talos-sriov/pkg/pool"
)

// ports makes a pool from "pf@numa:count ..."; devices are pf.0, pf.1, ...
func ports(policy pool.Policy, text string) *pool.Pool {
	p := &pool.Pool{Resource: "x.y/r", Policy: policy}
	for _, f := range strings.Fields(text) {
		var pf string
		var numa, n int
		if _, err := fmt.Sscanf(strings.NewReplacer("@", " ", ":", " ").Replace(f), "%s %d %d", &pf, &numa, &n); err != nil {
			panic(err)
		}
		for i := range n {
			p.Devices = append(p.Devices, pool.Device{ID: fmt.Sprintf("%s.%d", pf, i), PF: pf, Index: i, NUMANode: numa})
		}
	}
	return p
}

func ids(p *pool.Pool) []string {
	var out []string
	for _, d := range p.Devices {
		out = append(out, d.ID)
	}
	return out
}

func TestPrefer(t *testing.T) {
	const two = "a@0:2 b@0:2 c@1:4"
	for _, tc := range []struct {
		name, ports string
		policy      pool.Policy
		without     string // not available
		must        string
		n           int
		want        string
	}{
		{"one", two, "", "", "", 1, "a.0"},
		{"packed on a PF", two, "", "a.0", "", 2, "b.0 b.1"},
		{"NUMA before PF order", two, "", "a.0 a.1", "", 3, "c.0 c.1 c.2"},
		{"one NUMA node although more PFs", "a@0:2 b@0:2 c@1:1", "", "", "", 3, "a.0 a.1 b.0"},
		{"fewer PFs on the other node", "a@0:2 b@0:2 c@1:4", "", "", "", 4, "c.0 c.1 c.2 c.3"},
		{"spread over PFs", two, pool.Spread, "", "", 2, "a.0 b.0"},
		{"spread within a node", two, pool.Spread, "", "", 4, "a.0 a.1 b.0 b.1"},
		{"must decides the node", two, "", "", "c.3", 2, "c.0 c.3"},
		{"must decides the PF", two, "", "", "b.1", 2, "b.0 b.1"},
		{"spread beside must", two, pool.Spread, "", "a.1", 2, "a.1 b.0"},
		{"all of it", two, "", "", "", 8, "a.0 a.1 b.0 b.1 c.0 c.1 c.2 c.3"},
		{"node unknown", "a@-1:2 b@-1:2", pool.Spread, "", "", 2, "a.0 b.0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := ports(tc.policy, tc.ports)
			available := slices.DeleteFunc(ids(p), func(id string) bool { return slices.Contains(strings.Fields(tc.without), id) })
			slices.Reverse(available) // the order of the request is of no concern
			got, err := p.Prefer(available, strings.Fields(tc.must), tc.n)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tc.want, strings.Join(got, " ")); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestPreferRefuses(t *testing.T) {
	p := ports("", "a@0:2")
	for _, tc := range []struct {
		available, must []string
		n               int
		want            string
	}{
		{nil, nil, 1, "1 devices are asked for, 0 are available"},
		{[]string{"a.0"}, nil, 0, "0 devices are asked for"},
		{[]string{"a.0"}, nil, -1, "-1 devices are asked for"},
		{[]string{"a.0", "a.0"}, nil, 2, "device a.0 is available twice"},
		{[]string{"a.0", "a.1"}, []string{"a.0", "a.1"}, 1, "1 devices are asked for, 2 must be among them"},
		{[]string{"a.0", "a.1"}, []string{"b"}, 1, "device b must be chosen and is not available"},
		{[]string{"a.0", "a.1"}, []string{"a.0", "a.0"}, 2, "device a.0 must be chosen twice"},
	} {
		if _, err := p.Prefer(tc.available, tc.must, tc.n); err == nil || err.Error() != tc.want {
			t.Errorf("Prefer(%v, %v, %d): %v, want %s", tc.available, tc.must, tc.n, err, tc.want)
		}
	}
}

// TestPreferOracle compares with the best of all subsets.
func TestPreferOracle(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for round := range 4000 {
		p := &pool.Pool{Resource: "x.y/r"}
		if r.IntN(2) == 0 {
			p.Policy = pool.Spread
		}
		for i := range 1 + r.IntN(9) {
			// A PF of its own node, mostly; the rules hold for any machine.
			pf := r.IntN(4)
			numa := pf%3 - 1
			if r.IntN(8) == 0 {
				numa = r.IntN(3)
			}
			p.Devices = append(p.Devices, pool.Device{ID: fmt.Sprintf("d%d", i), PF: fmt.Sprintf("pf%d", pf), NUMANode: numa})
		}
		available := slices.DeleteFunc(ids(p), func(string) bool { return r.IntN(5) == 0 })
		if len(available) == 0 {
			continue
		}
		n := 1 + r.IntN(len(available))
		perm := r.Perm(len(available))
		var must []string
		for _, i := range perm[:r.IntN(n+1)] {
			if r.IntN(2) == 0 {
				must = append(must, available[i])
			}
		}
		want := oracle(p, available, must, n)
		r.Shuffle(len(available), func(i, j int) { available[i], available[j] = available[j], available[i] })
		got, err := p.Prefer(available, must, n)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("round %d: %s, %d of %v with %v, devices %+v (-want +got):\n%s", round, p.Policy, n, available, must, p.Devices, d)
		}
	}
}

// oracle tries every subset. available is in the pool's order, so that of two
// equally good ones the one whose first differing device comes earlier wins.
func oracle(p *pool.Pool, available, must []string, n int) []string {
	device := map[string]*pool.Device{}
	for i := range p.Devices {
		device[p.Devices[i].ID] = &p.Devices[i]
	}
	var best []string
	var bestKey [2]int
	for set := range 1 << len(available) {
		if bits.OnesCount(uint(set)) != n {
			continue
		}
		var chosen []string
		nodes, pfs := map[int]bool{}, map[string]bool{}
		for i, id := range available {
			if set&(1<<i) != 0 {
				chosen = append(chosen, id)
				nodes[device[id].NUMANode], pfs[device[id].PF] = true, true
			}
		}
		if slices.ContainsFunc(must, func(m string) bool { return !slices.Contains(chosen, m) }) {
			continue
		}
		key := [2]int{len(nodes), len(pfs)}
		if p.Policy == pool.Spread {
			key[1] = -key[1]
		}
		c := slices.Compare(key[:], bestKey[:])
		if c == 0 {
			for i := range chosen {
				if a, b := slices.Index(available, chosen[i]), slices.Index(available, best[i]); a != b {
					c = a - b
					break
				}
			}
		}
		if best == nil || c < 0 {
			best, bestKey = chosen, key
		}
	}
	return best
}

func BenchmarkPrefer(b *testing.B) {
	var text []string
	for pf := range 16 {
		text = append(text, fmt.Sprintf("pf%d@%d:128", pf, pf%8))
	}
	p := ports("", strings.Join(text, " "))
	all := ids(p)
	for b.Loop() {
		if _, err := p.Prefer(all, nil, 8); err != nil {
			b.Fatal(err)
		}
	}
}
