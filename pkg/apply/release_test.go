package apply_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/talos-sriov/talos-sriov/pkg/apply"
	"github.com/talos-sriov/talos-sriov/pkg/internal/modelkernel"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// counting is a gate that has how many claims of each PF are not released.
type counting struct {
	mu   sync.Mutex
	open map[string]int
}

func (g *counting) Begin(pf string) apply.Claims { return &counted{gate: g, pf: pf} }

func (g *counting) claimed(pf string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.open[pf] > 0
}

type counted struct {
	gate   *counting
	pf     string
	claims int
}

func (c *counted) Claim(context.Context, []string) ([]use.Holder, error) {
	c.gate.mu.Lock()
	defer c.gate.mu.Unlock()
	c.claims++
	c.gate.open[c.pf]++
	return nil, nil
}

func (c *counted) Release() {
	c.gate.mu.Lock()
	defer c.gate.mu.Unlock()
	c.gate.open[c.pf] -= c.claims
	c.claims = 0
}

// The claims of a run last until the kernel has answered each of its writes: while one
// hangs, also when the process is about to end, nobody may get what it is about.
func TestClaimsLastUntilTheAnswer(t *testing.T) {
	for name, ends := range map[string]bool{"over time": false, "when the process ends": true} {
		synctest.Test(t, func(t *testing.T) {
			k, g := machine(), &counting{open: map[string]int{}}
			answered := make(chan bool, 1)
			a := newApplier(k, apply.Options{Gate: g, OnAnswer: func(pf string) { answered <- g.claimed(pf) }})
			a.Run(t.Context(), compute(k, config(map[string]int{pf0: 2})))
			if g.claimed(pf0) {
				t.Errorf("%s: the claims of a run that is over are not released", name)
			}
			release := make(chan struct{})
			k.Faults(func(file, value string) modelkernel.Fault {
				if file == numVFs(pf0) && value == "0" {
					return modelkernel.Fault{Until: release}
				}
				return modelkernel.Fault{}
			})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go func() {
				synctest.Wait()
				if ends {
					cancel()
				}
			}()
			for range 2 { // the second run finds the PF stuck, and must not end the first one's claims
				if rep := a.Run(ctx, compute(k, config(map[string]int{pf0: 4}))); !rep.PFs[0].Stuck {
					t.Errorf("%s: %+v", name, rep.PFs[0])
				}
				if !g.claimed(pf0) || !a.Stuck()[pf0] {
					t.Errorf("%s: claimed %t, stuck %v while the kernel has not answered", name, g.claimed(pf0), a.Stuck())
				}
			}
			close(release)
			if <-answered {
				t.Errorf("%s: the claims are not released after the answer", name)
			}
		})
	}
}
