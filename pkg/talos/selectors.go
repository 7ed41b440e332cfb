package talos

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/machineconfig"
	"github.com/talos-sriov/talos-sriov/pkg/selection"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
	"github.com/talos-sriov/talos-sriov/pkg/talos/nodenet"
)

// Selectors are what a node's own machine config says of links, and where VFs
// will be.
type Selectors struct {
	view   *View
	places map[string]Place
	docs   []machineconfig.Document
	unread error // why docs are not known
}

// Selectors reads the node's machine config, and where the VFs of its PFs are on
// the bus. A machine config that cannot be read is no error, but every answer is
// then that it is not known. It needs os:admin.
func (n *Node) Selectors(ctx context.Context, v *View) (*Selectors, error) {
	s := &Selectors{view: v}
	err := InOrder(
		func() error {
			s.docs, s.unread = n.Documents(ctx)
			if fatal(s.unread) {
				return s.unread
			}
			return nil
		},
		func() (err error) {
			s.places, err = n.places(ctx, v.Snapshot)
			return err
		},
	)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Check says what in the node's machine config, and in a patch for it, selects
// interfaces of the VFs that c asks for.
func (s *Selectors) Check(c *spec.Config, patch []machineconfig.Document) []nodenet.Finding {
	toBe := VFLinks(c, s.view.Snapshot, s.places)
	if len(toBe) == 0 {
		return nil
	}
	var out []nodenet.Finding
	if s.unread != nil {
		out = append(out, nodenet.Finding{
			Msg:  fmt.Sprintf("it is not known whether the node's own selectors select the VFs too: %v", s.unread),
			Hint: "docs/install.md, \"The node's own selectors\", says what to look for",
		})
	}
	own := slices.DeleteFunc(slices.Clone(s.view.Links), func(l nodenet.Link) bool { return l.VF })
	return append(append(out, nodenet.Check(kept(s.docs, patch), toBe, own)...), nodenet.Check(patch, toBe, own)...)
}

// kept are the documents that a patch leaves as they are: it replaces the selector
// of a document with the same kind and name, or the whole document.
func kept(docs, patch []machineconfig.Document) []machineconfig.Document {
	return slices.DeleteFunc(slices.Clone(docs), func(d machineconfig.Document) bool {
		return d.Kind != machineconfig.KindV1Alpha1 && slices.ContainsFunc(patch, func(p machineconfig.Document) bool {
			same := p.Kind == d.Kind && p.Name == d.Name && p.APIVersion == d.APIVersion
			return same && (machineconfig.At(p.Node(), "selector", "match") != nil || machineconfig.Text(machineconfig.Child(p.Node(), "$patch")) == "delete")
		})
	})
}

// Ignored says which links of the node a patch makes Talos ignore that it must
// not: those that are no VFs of the node's PFs, and those that carry its network.
func Ignored(v *View, patch []machineconfig.Document) []nodenet.Finding {
	mayIgnore := func(l nodenet.Link) bool { return l.VF && l.Uplink == "" }
	return nodenet.Ignored(patch, slices.DeleteFunc(slices.Clone(v.Links), mayIgnore))
}

// HardwareOf are the PFs of a node that a document is for, never nil.
func HardwareOf(c *spec.Config, s *inventory.Snapshot) []Hardware {
	out := []Hardware{}
	bound := selection.PFs(c, s)
	for i := range bound.Bindings {
		if pf := s.PF(bound.Bindings[i].PF); pf != nil {
			out = append(out, Hardware{Vendor: pf.Vendor, Device: pf.Device, Driver: pf.Driver})
		}
	}
	return out
}

// places reads where VFs of the PFs would be. A kernel that does not say leaves
// places where no VF is.
func (n *Node) places(ctx context.Context, s *inventory.Snapshot) (map[string]Place, error) {
	var pfs []string
	for i := range s.PFs {
		pfs = append(pfs, s.PFs[i].Address)
	}
	return gather(ctx, pfs, func(ctx context.Context, addr string) (Place, error) {
		var values [2]int
		for i, attr := range []string{sysfs.AttrOffset, sysfs.AttrStride} {
			data, err := n.ReadFile(ctx, "/sys/"+sysfs.DeviceAttr(addr, attr))
			if fatal(err) {
				return Place{}, err
			}
			// What cannot be read leaves 0, which no VF has.
			values[i], _ = strconv.Atoi(strings.TrimSpace(string(data)))
		}
		return Place{values[0], values[1]}, nil
	})
}
