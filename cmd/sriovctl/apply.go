package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/talos-sriov/talos-sriov/pkg/status"
	"github.com/talos-sriov/talos-sriov/pkg/talos"
	"github.com/talos-sriov/talos-sriov/pkg/talos/versions"
)

func (a *app) apply() *cobra.Command {
	var yes, dryRun bool
	c := &cobra.Command{
		Use:   "apply FILE",
		Short: "Check, plan, confirm, patch and follow until it is in force",
		Long: `apply checks the file, shows the plan of every node, asks, merges the file into
the machine config of the nodes (without a reboot), and waits until each says
that the config is in force. A bare config is wrapped into a patch first,
with what the node needs beside it. It needs os:admin.

Nothing is changed when the config is bad, when any node cannot have it, or
when the answer is no.`,
		Example: "  sriovctl apply vfs.yaml -n 10.5.0.3\n  sriovctl apply vfs.yaml -n 10.5.0.3 --dry-run",
		Args:    oneFile,
		RunE: func(c *cobra.Command, args []string) error {
			d, answers, err := a.planAll(c.Context(), args[0], nil)
			if err != nil {
				return err
			}
			if err := a.showPlans(answers); err != nil {
				if errors.Is(err, errFailed) {
					fmt.Fprintln(a.err, "nothing was changed")
				}
				return err
			}
			if !dryRun && !yes {
				if err := a.confirm(c.Context(), len(answers)); err != nil {
					return err
				}
			}
			return a.patchAll(c.Context(), d, dryRun)
		},
	}
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "let the nodes check the machine config, and change nothing")
	return c
}

func (a *app) patchAll(ctx context.Context, d *configFile, dryRun bool) error {
	answers, err := forEach(ctx, a, func(ctx context.Context, n *talos.Node) (string, error) {
		return applyNode(ctx, n, d, dryRun)
	})
	if err != nil {
		return err
	}
	fmt.Fprintln(a.out)
	for _, n := range answers {
		if n.err == nil {
			fmt.Fprintf(a.out, "%s: %s\n", n.name, n.value)
		}
	}
	return failures(a, answers)
}

// applyNode patches one node and returns what came of it.
func applyNode(ctx context.Context, n *talos.Node, d *configFile, dryRun bool) (string, error) {
	service, err := n.Service(ctx)
	if err != nil {
		return "", err
	}
	patches := [][]byte{d.file}
	if d.bare {
		if patches, err = wrap(ctx, n, d); err != nil {
			return "", err
		}
	}
	changed := false
	for _, p := range patches {
		did, err := n.Patch(ctx, p, dryRun)
		if err != nil {
			return "", err
		}
		changed = changed || did
	}
	switch {
	case dryRun && changed:
		return "the machine config would change, and is good", nil
	case service.Installed:
		// What did not change may still be on its way: follow anyway.
		return follow(ctx, n, d.hash)
	case changed:
		return "the machine config is changed; the extension is not installed yet (docs/install.md)", nil
	}
	return "the machine config has it already", nil
}

// wrap makes patches of a bare config, for the node as it is.
func wrap(ctx context.Context, n *talos.Node, d *configFile) ([][]byte, error) {
	version, err := n.Version(ctx)
	if err != nil {
		return nil, err
	}
	minor, err := versions.Of(version)
	if err != nil {
		return nil, &talos.Error{Node: n.Name, Msg: err.Error()}
	}
	view, err := n.View(ctx)
	if err != nil {
		return nil, err
	}
	needs := needsFor(d.config, view)
	// Only those modules go in that are missing: Talos appends to its list, and a
	// node that was upgraded may have them there and not as documents.
	if needs.Modules, err = n.MissingModules(ctx, needs.Modules); err != nil {
		return nil, err
	}
	// The config goes in as it was written, comments and all.
	patch, err := talos.WrapDocument(d.file, needs, minor)
	if err != nil {
		return nil, err
	}
	if once := talos.OncePatch(needs, minor); once != nil {
		return [][]byte{once, patch}, nil
	}
	return [][]byte{patch}, nil
}

// follow waits until the node says what became of the config.
func follow(ctx context.Context, n *talos.Node, hash string) (string, error) {
	ticker := time.NewTicker(500 * time.Millisecond)
	defer ticker.Stop()
	for {
		s, err := n.Status(ctx)
		if err == nil && s != nil && s.Spec.Hash == hash {
			if done, text, err := outcome(n.Name, s); done {
				return text, err
			}
		}
		select {
		case <-ctx.Done():
			return "", &talos.Error{Node: n.Name, Msg: "the machine config is changed, but the config is not in force yet", Hint: "sriovctl status and sriovctl logs say more; --timeout waits longer"}
		case <-ticker.C:
		}
	}
}

func outcome(node string, s *status.Status) (done bool, text string, err error) {
	if s.Spec.State == status.SpecRefused {
		return true, "", &talos.Error{Node: node, Msg: "the node refused the config", Hint: "sriovctl status says why"}
	}
	if s.Spec.InForce != s.Spec.Hash {
		return false, "", nil
	}
	var waits []string
	for i := range s.PFs {
		pf := &s.PFs[i]
		switch pf.State {
		case status.PFFailed:
			return true, "", &talos.Error{Node: node, Msg: pf.Name + " cannot have it", Hint: "sriovctl status says why"}
		case status.PFPending:
			return false, "", nil
		case status.PFWaiting:
			waits = append(waits, pf.Name)
		}
	}
	if len(waits) > 0 {
		return true, "in force; " + strings.Join(waits, ", ") + " waits for pods (sriovctl status)", nil
	}
	return true, "in force", nil
}

func hardware(pfs []talos.DiscoveryPF) []talos.Hardware {
	var out []talos.Hardware
	for i := range pfs {
		out = append(out, talos.Hardware{Vendor: pfs[i].Vendor, Device: pfs[i].Device, Driver: pfs[i].Driver})
	}
	return out
}
