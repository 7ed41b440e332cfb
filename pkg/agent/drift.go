package agent

import (
	"slices"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/op"
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

// deviation is one thing on a PF that is not as the config says.
type deviation struct {
	object      string
	found, want op.Value
}

// changed is what somebody changed, of a plan that writes: the first thing that is now
// not as the plan leaves it in the end. What only changes on the way there (autoprobe
// while VFs are made) nobody changed, and a driver is unbound and probed for something
// else that is named first.
func changed(pf *inventory.PF, steps []plan.Step) deviation {
	end := map[string]op.Value{} // by object
	for i := range steps {
		end[steps[i].Op.Object()] = steps[i].Op.Want()
	}
	var first deviation
	for i := range steps {
		o := steps[i].Op
		if !o.Writes() {
			continue
		}
		found, known := o.Read(pf)
		d := deviation{o.Object(), found, end[o.Object()]}
		switch o.(type) {
		case op.UnbindVF, op.ProbeVF:
			d.want = o.Want() // one object for all VFs
		default:
			if known && !op.Equal(d.found, d.want) {
				return d
			}
		}
		if first.object == "" {
			first = d
		}
	}
	return first
}
