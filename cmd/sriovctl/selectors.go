package main

import (
	"context"
	"fmt"
	"io"

	"github.com/talos-sriov/talos-sriov/pkg/machineconfig"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/status"
	"github.com/talos-sriov/talos-sriov/pkg/talos"
	"github.com/talos-sriov/talos-sriov/pkg/talos/nodenet"
)

// observed is a node that was read, with what its machine config says of links;
// selectors is nil when the role does not allow to read it.
type observed struct {
	*talos.Discovery
	selectors *talos.Selectors
}

// observe finds the PFs of a node and reads its selectors.
func observe(ctx context.Context, n *talos.Node) (*observed, error) {
	d, err := n.Discover(ctx)
	if err != nil {
		return nil, err
	}
	out := &observed{Discovery: d}
	if d.View != nil {
		if out.selectors, err = n.Selectors(ctx, d.View); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// selects says what the node's own machine config would do with the config's
// VFs: what is to be mended, and what is worth knowing.
func (l *observed) selects(c *spec.Config) []nodenet.Finding {
	if l.selectors == nil {
		return []nodenet.Finding{{
			Msg:  "it is not known whether the node's own selectors select the VFs too: reading the machine config needs os:admin",
			Hint: installSelectors,
		}}
	}
	return l.selectors.Check(c, nil)
}

const installSelectors = `docs/install.md, "The node's own selectors", says what to look for`

// selectorProblems says, for a node and a file for it, what of the node's machine
// config and of the file has to do with links that it must not.
func selectorProblems(ctx context.Context, n *talos.Node, v *talos.View, d *configFile) ([]status.Problem, error) {
	selectors, err := n.Selectors(ctx, v)
	if err != nil {
		return nil, err
	}
	var patch []machineconfig.Document
	var found []nodenet.Finding
	if !d.bare {
		if patch, err = machineconfig.Documents(d.file); err != nil {
			return nil, &talos.Error{Msg: d.name, Err: err}
		}
		found = talos.Ignored(v, patch)
	}
	found = append(found, selectors.Check(d.config, patch)...)
	if d.bare {
		found = append(found, needsFor(d.config, v).Unselected...)
	}
	var out []status.Problem
	for _, f := range found {
		out = append(out, status.Problem{Msg: f.Msg, Hint: f.Hint, Pending: !f.Refuse})
	}
	return out, nil
}

// needsFor are the needs of a config on a node.
func needsFor(c *spec.Config, v *talos.View) talos.Needs {
	needs := talos.NeedsOf(c, talos.HardwareOf(c, v.Snapshot))
	needs.Spare(v.Links)
	return needs
}

// findings writes findings as notes, each with a prefix that says on what.
func findings(w io.Writer, prefix string, list ...nodenet.Finding) {
	for _, f := range list {
		fmt.Fprintf(w, "note: %s%s\nhint: %s\n", prefix, f.Msg, f.Hint)
	}
}
