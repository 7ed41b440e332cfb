package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/talos"
	"github.com/talos-sriov/talos-sriov/pkg/talos/versions"
)

func (a *app) generate() *cobra.Command {
	c := &cobra.Command{
		Use:   "generate",
		Short: "Write patches, schematics and networks",
		Long:  "generate writes what a node or a cluster needs to the standard output. Nothing is\nchanged anywhere.",
		Example: `  sriovctl generate patch -n 10.5.0.3
  sriovctl generate schematic vfs.yaml
  sriovctl generate network networks.yaml
  sriovctl generate reference > document.yaml`,
	}
	c.AddCommand(a.generatePatch(), a.generateSchematic(), a.generateNetwork(), a.generateReference())
	return c
}

// patchRequest is what the patch is to ask for.
type patchRequest struct {
	pfs         []string
	vfs, mtu    int
	resource    string
	driver      string
	rdma, trust bool
	uplink      bool
	talos       string
	once        bool
}

func (a *app) generatePatch() *cobra.Command {
	var w patchRequest
	c := &cobra.Command{
		Use:   "patch",
		Short: "Write the machine-config patch for PFs",
		Long: `patch writes the smallest machine-config patch that gives the chosen PFs their
VFs, with what the node needs beside the config. With -n the nodes' hardware is
looked at; without, the names are taken as they are. On a terminal, what the
flags do not say is asked for.

What Talos 1.12 and 1.13 must be given once only (kernel modules: Talos appends
to that list each time) is written by --once.`,
		Example: `  sriovctl generate patch -n 10.5.0.3
  sriovctl generate patch -n 10.5.0.3 --pf enp1s0f0np0 --vfs 4 --resource nvidia.com/cx7
  sriovctl generate patch --pf ens1f0 --vfs 8 --resource intel.com/dpdk --driver vfio-pci`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.runPatch(c.Context(), &w) },
	}
	f := c.Flags()
	f.StringSliceVar(&w.pfs, "pf", nil, "PFs, by interface name or PCI address")
	f.IntVar(&w.vfs, "vfs", 0, "VFs on each PF")
	f.StringVar(&w.resource, "resource", "", "resource that pods ask for, as vendor.com/name")
	f.StringVar(&w.driver, "driver", "", "driver of the VFs: vfio-pci or uio_pci_generic (default: the NIC's own)")
	f.BoolVar(&w.rdma, "rdma", false, "give pods the RDMA device of their VF")
	f.BoolVar(&w.trust, "trust", false, "let VFs change their MAC address and go promiscuous")
	f.IntVar(&w.mtu, "mtu", 0, "MTU of PF and VFs in bytes (default: as it is)")
	f.BoolVar(&w.uplink, "allow-uplink", false, "also on a PF that carries the node's own network")
	f.StringVar(&w.talos, "talos", "1.13", "Talos version, when no node is looked at")
	f.BoolVar(&w.once, "once", false, "write what must be applied once only, instead")
	return c
}

func (a *app) runPatch(ctx context.Context, w *patchRequest) error {
	nodes, err := a.observeAll(ctx)
	if err != nil {
		return err
	}
	var found []*talos.Discovery
	for _, n := range nodes {
		found = append(found, n.Discovery)
		w.talos = n.Talos
	}
	if err := a.ask(ctx, w, found); err != nil {
		return err
	}
	if missing := w.missing(); len(missing) > 0 {
		return usageError{fmt.Errorf("generate patch: %s must be given, or asked for on a terminal with -n", strings.Join(missing, ", "))}
	}
	chosen, err := w.choose(found)
	if err != nil {
		return err
	}
	minor, err := versions.Of(w.talos)
	if err != nil {
		return &talos.Error{Msg: err.Error()}
	}
	c, err := w.config(chosen)
	if err != nil {
		return err
	}
	if err := a.selected(nodes, c); err != nil {
		return err
	}
	needs := talos.NeedsOf(c, hardware(chosen))
	for _, d := range found {
		needs.Spare(d.Links)
	}
	if w.once {
		return a.writeOnce(needs, minor)
	}
	return a.writePatch(c, needs, minor)
}

// observeAll observes the nodes of the command line, at none when none are named.
func (a *app) observeAll(ctx context.Context) ([]*observed, error) {
	if len(a.options.Nodes) == 0 {
		return nil, nil
	}
	return valuesOf(ctx, a, observe)
}

// missing are the flags without which there is no patch, sorted.
func (w *patchRequest) missing() []string {
	var out []string
	if len(w.pfs) == 0 {
		out = append(out, "--pf")
	}
	if w.resource == "" {
		out = append(out, "--resource")
	}
	if w.vfs <= 0 {
		out = append(out, "--vfs")
	}
	return out
}

// writeOnce writes the patch that must be applied once only.
func (a *app) writeOnce(needs talos.Needs, v versions.Minor) error {
	once := talos.OncePatch(needs, v)
	if once == nil {
		_, err := fmt.Fprintf(a.out, "# Nothing has to be applied once on Talos %s.\n", v.Version)
		return err
	}
	_, err := a.file.Write(once)
	return err
}

// writePatch writes the patch, and notes what is needed beside it.
func (a *app) writePatch(c *spec.Config, needs talos.Needs, v versions.Minor) error {
	patch, err := talos.Patch(c, needs, v)
	if err != nil {
		return err
	}
	findings(a.err, "", needs.Unselected...)
	if talos.OncePatch(needs, v) != nil {
		fmt.Fprintf(a.err, "note: modules are needed too (%s): --once writes the patch for them\n", strings.Join(needs.Modules, ", "))
	}
	for _, r := range slices.Concat(needs.KernelArgs, needs.Extensions) {
		fmt.Fprintf(a.err, "note: for the schematic: %s (%s)\n", r.Value, r.Why)
	}
	_, err = a.file.Write(patch)
	return err
}

// selected refuses a config whose VFs the nodes' own machine config selects, and
// notes what may do so.
func (a *app) selected(nodes []*observed, c *spec.Config) error {
	var errs []error
	for _, n := range nodes {
		for _, f := range n.selects(c) {
			if f.Refuse {
				errs = append(errs, &talos.Error{Node: n.Node, Msg: f.Msg, Hint: f.Hint})
			} else {
				findings(a.err, n.Node+": ", f)
			}
		}
	}
	return errors.Join(errs...)
}

// choose finds the requested PFs on the nodes, and refuses what these cannot have.
func (w *patchRequest) choose(found []*talos.Discovery) ([]talos.DiscoveryPF, error) {
	if len(found) == 0 {
		return nil, nil
	}
	var chosen []talos.DiscoveryPF
	var errs []error
	for _, name := range w.pfs {
		hit := false
		var names []string
		for _, d := range found {
			for i := range d.PFs {
				pf := d.PFs[i]
				names = append(names, cmp.Or(pf.Name, pf.Address))
				if name != pf.Name && name != pf.Address {
					continue
				}
				hit = true
				chosen = append(chosen, pf)
				if pf.TotalVFs != nil && w.vfs > *pf.TotalVFs {
					errs = append(errs, &talos.Error{
						Node: d.Node, Msg: fmt.Sprintf("%s can have %d VFs, %d are asked for", name, *pf.TotalVFs, w.vfs),
						Hint: "the card's firmware sets the most; on ConnectX it is NUM_OF_VFS",
					})
				}
				if pf.Uplink != "" && !w.uplink {
					errs = append(errs, &talos.Error{
						Node: d.Node, Msg: fmt.Sprintf("%s is an uplink of the node: it %s", name, pf.Uplink),
						Hint: "--allow-uplink makes VFs on it anyway",
					})
				}
			}
		}
		if !hit {
			slices.Sort(names)
			errs = append(errs, &talos.Error{
				Msg: fmt.Sprintf("no node has an SR-IOV capable port %q", name), Hint: "there are: " + cmp.Or(strings.Join(slices.Compact(names), ", "), "none"),
			})
		}
	}
	return chosen, errors.Join(errs...)
}

// config is what is requested, checked by the decoder that will read it.
func (w *patchRequest) config(chosen []talos.DiscoveryPF) (*spec.Config, error) {
	pf := spec.PhysicalFunction{NumVFs: &w.vfs, AllowUplink: w.uplink && (len(chosen) == 0 || slices.ContainsFunc(chosen, isUplink))}
	for _, name := range w.pfs {
		if strings.Contains(name, ":") {
			pf.Match.PCIAddresses = append(pf.Match.PCIAddresses, name)
		} else {
			pf.Match.Names = append(pf.Match.Names, name)
		}
	}
	if w.mtu > 0 {
		pf.MTU = &w.mtu
	}
	pf.ResourceName = w.resource
	if w.driver != "" || w.rdma || w.trust {
		g := spec.VFGroup{Driver: spec.Driver(w.driver), RDMA: w.rdma}
		for i := range w.vfs {
			g.Indexes = append(g.Indexes, i)
		}
		if w.trust {
			g.Trust = &w.trust
		}
		pf.VirtualFunctions = []spec.VFGroup{g}
	}
	// Names and addresses are alternatives, but keys of one match are not.
	entries := []spec.PhysicalFunction{pf}
	if len(pf.Match.Names) > 0 && len(pf.Match.PCIAddresses) > 0 {
		entries = append(entries, pf)
		entries[0].Match.PCIAddresses, entries[1].Match.Names = nil, nil
	}
	c := &spec.Config{APIVersion: spec.APIVersion, Kind: spec.Kind, PhysicalFunctions: entries}
	text, err := spec.Marshal(c)
	if err != nil {
		return nil, err
	}
	if _, err := spec.Load("generated config", text); err != nil {
		return nil, err
	}
	return c, nil
}

func isUplink(pf talos.DiscoveryPF) bool { return pf.Uplink != "" }

func (a *app) generateSchematic() *cobra.Command {
	image := "ghcr.io/talos-sriov/sriov:" + version
	c := &cobra.Command{
		Use:   "schematic FILE",
		Short: "Write the image factory's schematic for a config",
		Long: `schematic writes kernel arguments and extensions that a config needs, as a
schematic for the image factory. With -n the nodes' hardware is looked at too,
because firmware depends on the card.`,
		Example: "  sriovctl generate schematic vfs.yaml -n 10.5.0.3",
		Args:    oneFile,
		RunE: func(c *cobra.Command, args []string) error {
			d, err := a.load(args[0])
			if err != nil {
				return err
			}
			var pfs []talos.DiscoveryPF
			if len(a.options.Nodes) > 0 {
				found, err := valuesOf(c.Context(), a, discoverNode)
				if err != nil {
					return err
				}
				for _, d := range found {
					pfs = append(pfs, d.PFs...)
				}
			}
			_, err = a.file.Write(talos.Schematic(talos.NeedsOf(d.config, hardware(pfs)), image))
			return err
		},
	}
	c.Flags().StringVar(&image, "image", image, "reference of the extension's image")
	return c
}

func (a *app) generateReference() *cobra.Command {
	return &cobra.Command{
		Use:     "reference",
		Short:   "Write a config that has every key, with what each means",
		Long:    "reference writes a valid config in which every key is set and explained, as\ndocs/reference.md has it.",
		Example: "  sriovctl generate reference | less",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := a.file.Write(spec.Reference())
			return err
		},
	}
}
