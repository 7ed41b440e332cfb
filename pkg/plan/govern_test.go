package plan_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/plan"
	"github.com/talos-sriov/talos-sriov/pkg/pool"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

const uplinkText = "carries the IPv4 default route"

// TestWhichConfigGoverns: where the newest config asks what the machine cannot give, the
// last good one stays in force, if that can be. The good config has 4 VFs on line 40.
func TestWhichConfigGoverns(t *testing.T) {
	asks := func(change func(*spec.PhysicalFunction)) *spec.Config {
		e := entry(4, 6, "enp33s0")
		e.ResourceName = "example.com/new"
		change(&e)
		return config(e)
	}
	old := func(change func(*spec.PhysicalFunction)) *spec.Config {
		e := entry(40, 4, "enp33s0")
		e.ResourceName = "example.com/old"
		change(&e)
		return config(e)
	}
	same := func(*spec.PhysicalFunction) {}
	vfs := func(n int) func(*spec.PhysicalFunction) { return func(e *spec.PhysicalFunction) { e.NumVFs = &n } }
	allowed := func(n int) func(*spec.PhysicalFunction) {
		return func(e *spec.PhysicalFunction) { e.NumVFs, e.AllowUplink = &n, true }
	}
	mtu := 20000
	uplink := func(pf *inventory.PF) { pf.Uplink = uplinkText }
	two := asks(same)
	two.PhysicalFunctions = append(two.PhysicalFunctions, entry(9, 7, "enp33s0"))
	for name, c := range map[string]struct {
		newest, good *spec.Config
		pf           func(*inventory.PF)
		kept         bool
		problem      string // the first one, "" for none
		want         int    // VFs that steps make, 0 for no steps
	}{
		"both can be":          {newest: asks(same), good: old(same), want: 6},
		"no good one":          {newest: asks(vfs(9)), problem: "at most 7"},
		"too many VFs":         {newest: asks(vfs(9)), good: old(same), kept: true, problem: "at most 7", want: 4},
		"neither can be":       {newest: asks(vfs(9)), good: old(vfs(8)), problem: "asks for 9"},
		"not in the good one":  {newest: asks(vfs(9)), good: config(entry(40, 4, "enp65s0")), problem: "at most 7"},
		"another link type":    {newest: asks(func(e *spec.PhysicalFunction) { e.LinkType = "infiniband" }), good: old(same), kept: true, problem: "linkType", want: 4},
		"too large an MTU":     {newest: asks(func(e *spec.PhysicalFunction) { e.MTU = &mtu }), good: old(same), kept: true, problem: "mtu 20000", want: 4},
		"no eswitch":           {newest: asks(func(e *spec.PhysicalFunction) { e.EswitchMode = spec.EswitchSwitchdev }), good: old(same), kept: true, problem: "eswitch", want: 4},
		"entries disagree":     {newest: two, good: old(same), kept: true, problem: "disagree", want: 4},
		"it left, and is back": {newest: config(), good: old(same)},
		"it is waited for":     {newest: asks(same), good: old(same), pf: func(pf *inventory.PF) { pf.Driver = "" }, problem: "no driver is bound"},
		// An uplink is changed only where the newest config allows it.
		"uplink, allowed":             {newest: asks(allowed(6)), good: old(same), pf: uplink, want: 6},
		"uplink, not allowed":         {newest: asks(same), good: old(same), pf: uplink, problem: "refused"},
		"uplink, allowed before":      {newest: asks(same), good: old(allowed(4)), pf: uplink, problem: "refused"},
		"uplink that is as it was":    {newest: asks(same), good: old(vfs(0)), pf: uplink, kept: true, problem: "refused"},
		"uplink that is as it is now": {newest: asks(vfs(0)), good: old(vfs(4)), pf: uplink},
		"silent":                      {newest: asks(vfs(9)), good: old(same), pf: func(pf *inventory.PF) { pf.Silent = noAnswer }, kept: true, problem: noAnswer},
	} {
		t.Run(name, func(t *testing.T) {
			s := machine().Snapshot()
			if c.pf != nil {
				c.pf(s.PF(igb0))
			}
			s.PF(igb0).Netdevs[0].MaxMTU = 9216
			p := planned(plan.Input{Config: c.newest, Good: c.good, Snapshot: s, Quiet: plan.QuietNow(s), BootID: "b"})
			f := p.PF(igb0)
			if f == nil {
				f = &plan.PFPlan{}
			}
			if f.Governed.Kept != c.kept || p.Displaces() == c.kept {
				t.Errorf("kept %v, displaces %v, want kept %v", f.Governed.Kept, p.Displaces(), c.kept)
			}
			first := ""
			if len(f.Problems) > 0 {
				first = f.Problems[0].Msg
				if f.Entry.Line != 4 || f.Problems[0].Pos.Line != 4 && f.Problems[0].Pos.Line != 9 {
					t.Errorf("entry %v, problem at %v", f.Entry, f.Problems[0].Pos)
				}
			}
			if (first == "") != (c.problem == "") || !strings.Contains(first, c.problem) {
				t.Errorf("first problem %q, want %q", first, c.problem)
			}
			if refused := c.kept || len(f.Problems) > 0 && !f.Problems[0].Pending; f.Governed.Refused != refused || slices.Contains(p.Refused(), igb0) != refused {
				t.Errorf("refused %v (%q), want %v", f.Governed.Refused, p.Refused(), refused)
			}
			checkMade(t, f, c.want)
			checkPool(t, c.newest, s, p, c.kept)
		})
	}
}

func checkMade(t *testing.T, f *plan.PFPlan, want int) {
	t.Helper()
	made := 0
	for _, s := range f.Steps {
		if strings.Contains(s.ID, "/numvfs") {
			made = len(s.Op.VFs())
		}
	}
	if made != want {
		t.Errorf("steps make %d VFs, want %d", made, want)
	}
}

// checkPool: pools go by the config that governs the PF.
func checkPool(t *testing.T, newest *spec.Config, s *inventory.Snapshot, p *plan.Plan, kept bool) {
	t.Helper()
	pools := pool.Assign(newest, s, p.Bound)
	if got := pools.Pool("example.com/old") != nil; got != kept {
		t.Errorf("pool of the last good config: %v, want %v", got, kept)
	}
}

// TestForceTokensOfBothConfigs: tokens of entries that are kept are in the config.
func TestForceTokensOfBothConfigs(t *testing.T) {
	e, was := entry(4, 9, "enp33s0"), entry(40, 4, "enp33s0")
	e.Force, was.Force = "now", "then"
	s := machine().Snapshot()
	p := planned(plan.Input{Config: config(e), Good: config(was), Snapshot: s, Quiet: plan.QuietNow(s), BootID: "b"})
	if !slices.Equal(p.ForceTokens, []string{"now", "then"}) || p.PF(igb0).ForceToken != "then" {
		t.Errorf("tokens %q, of the PF: %q", p.ForceTokens, p.PF(igb0).ForceToken)
	}
}
