package agent

import (
	"slices"

	"github.com/talos-sriov/talos-sriov/pkg/plan"
)

// drift counts how often a PF that was as its config says was found changed,
// although the config was not: somebody, or something, changed it by hand.
type drift map[string]drifted

type drifted struct {
	settled string // the config under which the PF was last as it should be
	count   int
}

// observe takes in a plan under the config with the hash, and returns the PFs on
// which drift has just been found.
func (d drift) observe(p *plan.Plan, hash string) []string {
	var news []string
	for i := range p.PFs {
		f := &p.PFs[i]
		was := d[f.Address]
		switch {
		case len(f.Steps) == 0 && len(f.Problems) == 0:
			was.settled = hash
		case len(f.Steps) > 0 && !slices.ContainsFunc(f.Steps, writes):
			// The kernel is not done yet: a driver that binds late, for example.
		case len(f.Steps) > 0 && hash != "" && was.settled == hash:
			was.settled = ""
			was.count++
			news = append(news, f.Address)
		case was.settled != hash:
			was.settled = ""
		}
		d[f.Address] = was
	}
	return news
}

// writes reports whether a step changes anything; others wait for the kernel.
func writes(s plan.Step) bool { return s.Op.Writes() }
