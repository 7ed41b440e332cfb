package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/talos"
)

func (a *app) discover() *cobra.Command {
	var verbose bool
	c := &cobra.Command{
		Use:   "discover",
		Short: "Find the SR-IOV capable ports of nodes",
		Long: `discover lists every SR-IOV capable port (PF) of the nodes, through the Talos API
alone: the extension need not be installed yet.

With os:admin everything is seen. With os:reader all but the most VFs that a PF
can have, and its NUMA node.

--verbose lists each VF with its driver, interface and IOMMU group, and so do json
and yaml. What only the kernel's netlink shows, as the VLAN of a VF, the Talos API
does not have.`,
		Example: "  sriovctl discover -n 10.5.0.3,10.5.0.4\n  sriovctl discover -n 10.5.0.3 -o yaml",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			answers, err := forEach(c.Context(), a, discoverNode)
			if err != nil {
				return err
			}
			found := given(answers)
			if err := a.write(found, func(w io.Writer) error { return discoveryText(w, found, verbose) }); err != nil {
				return err
			}
			return failures(a, answers)
		},
	}
	c.Flags().BoolVarP(&verbose, "verbose", "v", false, "list each VF, subfunction and card without SR-IOV too (table)")
	a.outputFlag(c)
	return c
}

func discoverNode(ctx context.Context, n *talos.Node) (*talos.Discovery, error) {
	return n.Discover(ctx)
}

// discoveryText is the table, and with verbose what [inventory.Table] has of each node.
func discoveryText(w io.Writer, found []*talos.Discovery, verbose bool) error {
	if err := discoveryTable(w, found); err != nil || !verbose {
		return err
	}
	for _, d := range found {
		fmt.Fprintf(w, "\n%s:\n", d.Node)
		if d.View == nil {
			fmt.Fprintln(w, "  note: its VFs are seen with os:admin only")
			continue
		}
		if err := inventory.Table(w, d.View.Snapshot); err != nil {
			return err
		}
	}
	return nil
}

func discoveryTable(w io.Writer, found []*talos.Discovery) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	rows := 0
	for _, d := range found {
		for i := range d.PFs {
			if rows == 0 {
				fmt.Fprintln(tw, "NODE\tPF\tPCI\tPRODUCT\tDRIVER\tVFS\tNUMA\tLINK\tMAC")
			}
			rows++
			pf := &d.PFs[i]
			total, numa := "?", "?"
			if pf.TotalVFs != nil {
				total = strconv.Itoa(*pf.TotalVFs)
			}
			if pf.NUMANode != nil {
				if numa = "-"; *pf.NUMANode >= 0 {
					numa = strconv.Itoa(*pf.NUMANode)
				}
			}
			fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%d/%s\t%s\t%s\t%s\n", d.Node, dash(pf.Name), pf.Address, dash(pf.Product),
				dash(pf.Driver), pf.NumVFs, total, numa, link(pf), dash(pf.MAC))
		}
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for _, d := range found {
		if rows > 0 {
			fmt.Fprintln(w)
			rows = 0
		}
		iommu, extension := "off", "not installed"
		if d.IOMMU {
			iommu = "on"
		}
		if d.Service.Installed {
			extension = strings.ToLower(d.Service.State)
		}
		if _, err := fmt.Fprintf(w, "%s: Talos %s, IOMMU %s, extension %s\n", d.Node, d.Talos, iommu, extension); err != nil {
			return err
		}
		for i := range d.PFs {
			if pf := &d.PFs[i]; pf.Uplink != "" {
				fmt.Fprintf(w, "  %s is an uplink of this node: it %s\n", dash(pf.Name), pf.Uplink)
			}
		}
		for _, note := range d.Notes {
			fmt.Fprintf(w, "  note: %s\n", note)
		}
	}
	return nil
}

func dash(s string) string { return cmp.Or(s, "-") }

func link(pf *talos.DiscoveryPF) string {
	switch {
	case pf.Name == "":
		return "-"
	case !pf.LinkUp:
		return "down"
	case pf.SpeedMbps <= 0:
		return "up"
	case pf.SpeedMbps%1000 == 0:
		return fmt.Sprintf("%dG", pf.SpeedMbps/1000)
	}
	return fmt.Sprintf("%dM", pf.SpeedMbps)
}
