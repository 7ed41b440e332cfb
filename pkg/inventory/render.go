package inventory

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/talos-sriov/talos-sriov/pkg/nic"
)

// Table writes what the Talos API shows of a machine for people: one line for each
// PF, VF, subfunction and other network function, and what could not be read.
func Table(w io.Writer, s *Snapshot) error {
	var b strings.Builder
	if len(s.PFs) == 0 {
		b.WriteString("No SR-IOV capable network device or accelerator was found.\n")
	} else {
		pfTable(&b, s)
	}
	vfTable(&b, s)
	sfTable(&b, s)
	otherTable(&b, s)
	for i := range s.PFs {
		if pf := &s.PFs[i]; pf.Uplink != "" {
			fmt.Fprintf(&b, "\n%s is an uplink of this node: it %s.\n", pf.Name(), pf.Uplink)
		}
	}
	if len(s.Notes) > 0 {
		b.WriteString("\nCould not be read:\n")
		for _, n := range s.Notes {
			fmt.Fprintf(&b, "  %s\n", n)
		}
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write inventory: %w", err)
	}
	return nil
}

// section is a table after an empty line, nothing when it has a head alone.
func section(b *strings.Builder, rows [][]string) {
	if len(rows) > 1 {
		b.WriteString("\n")
		table(b, rows)
	}
}

// table writes rows in aligned columns, headed by the first.
func table(b *strings.Builder, rows [][]string) {
	tw := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		for i, cell := range row {
			if cell == "" {
				row[i] = "-"
			}
		}
		// Both only fail when the builder does, which it never does.
		_, _ = io.WriteString(tw, strings.Join(row, "\t")+"\n")
	}
	_ = tw.Flush()
}

func pfTable(b *strings.Builder, s *Snapshot) {
	rows := [][]string{{"PF", "PCI ADDRESS", "PRODUCT", "DRIVER", "VFS", "NUMA", "LINK", "MAC", "ESWITCH"}}
	for i := range s.PFs {
		pf := &s.PFs[i]
		d := first(pf.Netdevs)
		rows = append(rows, []string{
			d.Name, pf.Address, nic.Name(pf.Vendor, pf.Device), pf.Driver, fmt.Sprintf("%d/%d", pf.NumVFs, pf.TotalVFs),
			number(pf.NUMANode), linkOf(d), d.MAC, pf.EswitchMode,
		})
	}
	table(b, rows)
}

func vfTable(b *strings.Builder, s *Snapshot) {
	rows := [][]string{{"VF", "PCI ADDRESS", "DRIVER", "NETDEV", "MAC", "IOMMU", "RDMA", "ATTRIBUTES"}}
	for i := range s.PFs {
		pf := &s.PFs[i]
		for j := range pf.VFs {
			vf := &pf.VFs[j]
			d := first(vf.Netdevs)
			var rdma []string
			for _, r := range vf.RDMA {
				rdma = append(rdma, r.Name)
			}
			rows = append(rows, []string{
				pf.Name() + " #" + strconv.Itoa(vf.Index), vf.Address, vf.Driver, d.Name, d.MAC, number(vf.IOMMUGroup),
				strings.Join(rdma, ","), attributes(vf),
			})
		}
	}
	section(b, rows)
}

// attributes names what differs from an untouched VF.
func attributes(vf *VF) string {
	var out []string
	if vf.Representor != "" {
		out = append(out, "representor="+vf.Representor)
	}
	if vf.VDPA != nil {
		out = append(out, "vdpa="+vf.VDPA.Name)
	}
	if vf.HostUse != "" {
		out = append(out, "host: "+vf.HostUse)
	}
	return strings.Join(out, " ")
}

func sfTable(b *strings.Builder, s *Snapshot) {
	rows := [][]string{{"SF", "PARENT", "SFNUM", "DRIVER", "NETDEV"}}
	for i := range s.Subfunctions {
		sf := &s.Subfunctions[i]
		rows = append(rows, []string{sf.Name, sf.Parent, strconv.Itoa(sf.SFNum), sf.Driver, first(sf.Netdevs).Name})
	}
	section(b, rows)
}

func otherTable(b *strings.Builder, s *Snapshot) {
	rows := [][]string{{"WITHOUT SR-IOV", "PCI ADDRESS", "PRODUCT", "DRIVER", "NUMA", "LINK"}}
	for i := range s.Others {
		f := &s.Others[i]
		d := first(f.Netdevs)
		rows = append(rows, []string{d.Name, f.Address, nic.Name(f.Vendor, f.Device), f.Driver, number(f.NUMANode), linkOf(d)})
	}
	section(b, rows)
}

// number is that of a NUMA node or IOMMU group, "" for none.
func number(n int) string {
	if n < 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// first is the first interface, an empty one when there is none.
func first(list []Netdev) Netdev {
	if len(list) == 0 {
		return Netdev{}
	}
	return list[0]
}

// linkOf is "up 100G", "no carrier" or "down", "" without an interface.
func linkOf(d Netdev) string {
	switch {
	case d.Name == "":
		return ""
	case !d.AdminUp:
		return "down"
	case !d.Carrier:
		return "no carrier"
	case d.SpeedMbps == 0:
		return "up"
	case d.SpeedMbps%1000 == 0:
		return fmt.Sprintf("up %dG", d.SpeedMbps/1000)
	case d.SpeedMbps > 1000:
		return fmt.Sprintf("up %gG", float64(d.SpeedMbps)/1000)
	}
	return fmt.Sprintf("up %dM", d.SpeedMbps)
}
