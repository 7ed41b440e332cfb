package main

import (
	"context"
	"fmt"
	"io"
	"path"

	"github.com/spf13/cobra"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/plan"
	"github.com/talos-sriov/talos-sriov/pkg/report"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/state"
	"github.com/talos-sriov/talos-sriov/pkg/status"
	"github.com/talos-sriov/talos-sriov/pkg/talos"
)

// nodePlan is a node's plan for a config.
type nodePlan struct {
	Node string       `json:"node" yaml:"node"`
	Plan *status.Plan `json:"plan" yaml:"plan"`
	// Selectors is what the node's machine config, or the file, would do to links
	// that it must not: what is pending may be so, all else is refused.
	Selectors []status.Problem `json:"selectors,omitempty" yaml:"selectors,omitempty"`
	// Notes say what the API does not show, and the plan so does not know.
	Notes []string `json:"notes,omitempty" yaml:"notes,omitempty"`
}

func (a *app) plan() *cobra.Command {
	var force []string
	c := &cobra.Command{
		Use:   "plan FILE",
		Short: "Show what a config would do on nodes",
		Long: `plan reads the nodes' hardware through the Talos API (os:admin is needed), and
prints for each what the config would create, change and remove, which of it
would wait for which pods, and what is wrong. It runs the code that the node
runs. Nothing is changed, also with --force: pods are gone over when the config
says so (docs/operations.md).

The exit code is 1 when a node cannot have the config.`,
		Example: "  sriovctl plan machineconfig-patches/worker-sriov.yaml -n 10.5.0.3",
		Args:    oneFile,
		RunE: func(c *cobra.Command, args []string) error {
			_, answers, err := a.planAll(c.Context(), args[0], force)
			if err != nil {
				return err
			}
			return a.showPlans(answers)
		},
	}
	c.Flags().StringSliceVar(&force, "force", nil, "PFs (PCI addresses) to plan as if their entry had a new force: pods not waited for")
	a.outputFlag(c)
	return c
}

// planAll reads a file, and plans it on all nodes.
func (a *app) planAll(ctx context.Context, file string, force []string) (*configFile, []oneNode[*nodePlan], error) {
	d, err := a.load(file)
	if err != nil {
		return nil, nil, err
	}
	answers, err := forEach(ctx, a, func(ctx context.Context, n *talos.Node) (*nodePlan, error) {
		return planNode(ctx, n, d, force)
	})
	return d, answers, err
}

// showPlans writes the plans and says whether any has a problem.
func (a *app) showPlans(answers []oneNode[*nodePlan]) error {
	well := func(p *nodePlan) bool { return !p.Plan.Failed() && !status.Lasting(p.Selectors) }
	return show(a, answers, well, func(w io.Writer, p *nodePlan) error {
		fmt.Fprintf(w, "%s:\n", p.Node)
		if err := status.PlanText(w, p.Plan); err != nil {
			return err
		}
		for i := range p.Selectors {
			status.ProblemText(w, "", &p.Selectors[i], status.TextOptions{Paint: a.tone})
		}
		for _, n := range p.Notes {
			fmt.Fprintf(w, "note: %s\n", n)
		}
		return nil
	})
}

// planNode reads a node and computes its plan as the node would.
func planNode(ctx context.Context, n *talos.Node, d *configFile, force []string) (*nodePlan, error) {
	in := plan.Input{Config: d.config, SpecHash: d.hash, Force: make(map[string]bool)}
	for _, f := range force {
		in.Force[f] = true
	}
	var st *status.Status
	var view *talos.View
	var damaged error
	err := talos.InOrder(
		func() (err error) { view, err = n.View(ctx); return err },
		func() (err error) { st, err = n.Status(ctx); return err },
		func() (err error) { in.Record, damaged, err = n.Record(ctx); return err },
		func() (err error) { in.BootID, err = n.BootID(ctx); return err },
	)
	if err != nil {
		return nil, err
	}
	in.Snapshot, in.Use = view.Snapshot, report.WithPFs(report.UseOf(st), view.Snapshot)
	// The daemon waits some seconds more, to see that it stays so.
	in.Quiet = plan.QuietNow(in.Snapshot)
	out := &nodePlan{Node: n.Name}
	if out.Selectors, err = selectorProblems(ctx, n, view, d); err != nil {
		return nil, err
	}
	if damaged != nil {
		out.Notes = append(out.Notes, fmt.Sprintf("%s is damaged, or of another version than sriovctl knows, and what it says was not used: %v", path.Join(state.Dir, state.RecordFile), damaged))
	}
	if !sees(d.config, in.Snapshot, st) {
		out.Notes = append(out.Notes, "the Talos API does not show VF attributes and eswitch modes, so what the config says of them is planned as if it were not set yet")
	}
	out.Plan = report.Plan(plan.Compute(in))
	return out, nil
}

// sees takes eswitch modes from the daemon's status, and reports whether what
// the config asks can be compared with what is there.
func sees(c *spec.Config, s *inventory.Snapshot, st *status.Status) bool {
	known := make(map[string]string)
	if st != nil {
		for i := range st.PFs {
			known[st.PFs[i].Address] = st.PFs[i].Actual.EswitchMode
		}
	}
	for i := range s.PFs {
		if mode := known[s.PFs[i].Address]; mode != "" {
			s.PFs[i].EswitchMode = mode
		}
	}
	for i := range c.PhysicalFunctions {
		pf := &c.PhysicalFunctions[i]
		if pf.EswitchMode != "" && len(known) == 0 {
			return false
		}
		for j := range pf.VirtualFunctions {
			g := &pf.VirtualFunctions[j]
			if g.Trust != nil || g.SpoofCheck != nil || g.QueryRSS != nil || g.LinkState != "" || g.VLAN != nil || g.Rate != nil ||
				g.MACAddresses.Mode != spec.MACDefault || g.GUIDs.Mode != spec.MACDefault {
				return false
			}
		}
	}
	return true
}
