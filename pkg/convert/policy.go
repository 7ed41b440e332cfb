package convert

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

// policy is the spec of a SriovNetworkNodePolicy.
type policy struct {
	name, id string

	ResourceName string            `yaml:"resourceName"`
	NodeSelector map[string]string `yaml:"nodeSelector"`
	Priority     *int              `yaml:"priority"`
	MTU          int               `yaml:"mtu"`
	NumVFs       int               `yaml:"numVfs"`
	NICSelector  struct {
		Vendor      string   `yaml:"vendor"`
		DeviceID    string   `yaml:"deviceID"`
		RootDevices []string `yaml:"rootDevices"`
		PFNames     []string `yaml:"pfNames"`
		NetFilter   string   `yaml:"netFilter"`
	} `yaml:"nicSelector"`
	DeviceType        string `yaml:"deviceType"`
	IsRDMA            bool   `yaml:"isRdma"`
	NeedVhostNet      bool   `yaml:"needVhostNet"`
	LinkType          string `yaml:"linkType"`
	EswitchMode       string `yaml:"eSwitchMode"`
	VDPAType          string `yaml:"vdpaType"`
	ExcludeTopology   bool   `yaml:"excludeTopology"`
	ExternallyManaged bool   `yaml:"externallyManaged"`
	Bridge            any    `yaml:"bridge"`

	Unknown map[string]any `yaml:",inline"`
}

// priority: 0 is the highest; the operator's webhook makes an absent one 99.
func (p *policy) priority() int { return given(p.Priority, 99) }

// group is the operator's VfGroup.
type group struct {
	policy     *policy
	first, end int // VF indexes, both included
}

// merged is what the operator computes for one PF.
type merged struct {
	numVFs, mtu           int
	linkType, eswitchMode string
	external              bool
	groups                []group
	priority              int
}

// target is a PF, or what is known of one from the policies alone.
type target struct {
	PF
	match spec.Match
}

// mergePolicies computes the entries of the config, one for each PF.
func (c *converter) mergePolicies() {
	var policies []*policy
	selectors := make(map[string]bool)
	for i := range c.policies {
		p := &c.policies[i]
		if c.o.NodeLabels != nil && !covers(c.o.NodeLabels, p.NodeSelector) {
			c.find(p.id, "nodeSelector", "it does not select the node, and is left out")
			continue
		}
		selectors[fmt.Sprint(p.NodeSelector)] = true
		c.unequal(p)
		policies = append(policies, p)
	}
	if c.o.NodeLabels == nil && len(selectors) > 1 {
		c.find("policies", "nodeSelector", "they select different nodes and are taken together: --node-label takes those of one kind of node")
	}
	// The operator applies them from the lowest priority (the largest number) to
	// the highest, of equal ones by name: the last one wins.
	slices.SortFunc(policies, func(a, b *policy) int {
		return cmp.Or(cmp.Compare(b.priority(), a.priority()), cmp.Compare(a.name, b.name))
	})
	for _, t := range c.targets(policies) {
		var m *merged
		for _, p := range policies {
			if p.NumVFs != 0 && p.selects(&t) {
				m = c.apply(m, p, &t)
			}
		}
		if m != nil {
			c.config.PhysicalFunctions = append(c.config.PhysicalFunctions, c.entry(m, &t))
		}
	}
}

func covers(labels, selector map[string]string) bool {
	for k, v := range selector {
		if have, ok := labels[k]; !ok || have != v {
			return false
		}
	}
	return true
}

// targets are the node's PFs, or without a node what the policies name.
func (c *converter) targets(policies []*policy) []target {
	if c.o.PFs != nil {
		return nodeTargets(c.o.PFs)
	}
	var out []target
	byIDs := false
	for _, p := range policies {
		named := p.targets()
		if len(named) == 0 {
			c.find(p.id, "nicSelector", "it selects nothing, and is left out")
		}
		for _, t := range named {
			byIDs = byIDs || !t.named()
			out = addTarget(out, t)
		}
	}
	if byIDs && len(out) > 1 {
		c.find("policies", "nicSelector", "some select by name and some by ids: whether they meet on one PF cannot be known from here; -n merges them on a node's own PFs, as the operator does")
	}
	return out
}

func nodeTargets(pfs []PF) []target {
	var out []target
	for _, pf := range pfs {
		t := target{PF: pf}
		if pf.Name != "" {
			t.match.Names = []string{pf.Name}
		} else {
			t.match.PCIAddresses = []string{pf.Address}
		}
		out = append(out, t)
	}
	return out
}

// targets are what a policy names: each interface, else each root device, else the
// vendor and device.
func (p *policy) targets() []target {
	s := &p.NICSelector
	ids := target{PF: PF{Vendor: strings.ToLower(s.Vendor), Device: strings.ToLower(s.DeviceID)}}
	if ids.Vendor != "" {
		ids.match.Vendors = []string{ids.Vendor}
	}
	if ids.Device != "" {
		ids.match.Devices = []string{ids.Device}
	}
	var out []target
	switch {
	case len(s.PFNames) > 0:
		for _, name := range s.PFNames {
			t := ids
			t.Name, _, _ = strings.Cut(name, "#")
			t.match.Names = []string{t.Name}
			if len(s.RootDevices) > 0 {
				t.match.PCIAddresses = s.RootDevices
			}
			out = append(out, t)
		}
	case len(s.RootDevices) > 0:
		for _, address := range s.RootDevices {
			t := ids
			t.Address = address
			t.match.PCIAddresses = []string{address}
			out = append(out, t)
		}
	case ids.Vendor != "" || ids.Device != "":
		out = append(out, ids)
	}
	return out
}

// named reports whether t is one PF, and not every one with its ids.
func (t *target) named() bool { return t.Name != "" || t.Address != "" }

// same reports whether both mean the same PFs.
func (t *target) same(o *target) bool {
	return t.Name == o.Name && t.Address == o.Address && (t.named() || t.Vendor == o.Vendor && t.Device == o.Device)
}

// addTarget adds t, unless it is there: then the ids that it knows of the PF are
// taken.
func addTarget(list []target, t target) []target {
	i := slices.IndexFunc(list, func(have target) bool { return have.same(&t) })
	if i < 0 {
		return append(list, t)
	}
	if list[i].Vendor == "" && t.Vendor != "" {
		list[i].Vendor, list[i].Device = t.Vendor, t.Device
	}
	return list
}

// selects is the operator's match: AND of what the selector says. Of a target
// that is not a real PF, what is not known counts as equal.
func (p *policy) selects(t *target) bool {
	s := &p.NICSelector
	real := t.Address != "" && t.Vendor != ""
	same := func(want, have string) bool {
		return want == "" || strings.EqualFold(want, have) || have == "" && !real
	}
	byName, byDevice := len(s.PFNames) > 0, len(s.RootDevices) > 0
	switch {
	case !byName && !byDevice && s.Vendor == "" && s.DeviceID == "",
		!same(s.Vendor, t.Vendor) || !same(s.DeviceID, t.Device),
		byDevice && !slices.Contains(s.RootDevices, t.Address) && (t.Address != "" || t.Name == ""):
		return false
	case byName:
		return slices.ContainsFunc(s.PFNames, func(n string) bool {
			name, _, _ := strings.Cut(n, "#")
			return name == t.Name || slices.Contains(t.AltNames, name)
		})
	}
	// A policy by ids alone does not select what only a name is known of.
	return real || byDevice && t.Address != "" || !t.named()
}

// vfRange is the range in the first pfNames entry for the PF, else all VFs. The
// operator compares the interface's name only, so that a range given with an
// altname becomes all VFs; here it counts.
func (p *policy) vfRange(t *target) (first, end int, err error) {
	for _, n := range p.NICSelector.PFNames {
		name, text, ranged := strings.Cut(n, "#")
		if name != t.Name && !slices.Contains(t.AltNames, name) {
			continue
		}
		if !ranged {
			break
		}
		a, b, ok := strings.Cut(text, "-")
		if !ok {
			return 0, 0, fmt.Errorf("%q: a range looks like %s#0-3", n, name)
		}
		if first, err = strconv.Atoi(a); err == nil {
			end, err = strconv.Atoi(b)
		}
		if err != nil || first < 0 || end < first || end >= p.NumVFs {
			return 0, 0, fmt.Errorf("%q: want a range within 0-%d", n, p.NumVFs-1)
		}
		return first, end, nil
	}
	return 0, p.NumVFs - 1, nil
}

// apply is one step of the operator's merge: the newest policy goes in, older
// groups stay that share neither its resource nor any VF with it. Counts and MTU
// are the larger ones when something stays or the priorities are equal; all else
// is the newest policy's.
func (c *converter) apply(m *merged, p *policy, t *target) *merged {
	first, end, err := p.vfRange(t)
	if err != nil {
		c.find(p.id, "nicSelector.pfNames", "%v; it is left out", err)
		return m
	}
	next := &merged{
		numVFs: p.NumVFs, mtu: p.MTU, linkType: p.LinkType, eswitchMode: p.EswitchMode,
		external: p.ExternallyManaged, priority: p.priority(), groups: []group{{p, first, end}},
	}
	if m == nil {
		return next
	}
	kept := false
	for _, g := range m.groups {
		if g.policy.ResourceName != p.ResourceName && (g.end < first || g.first > end) {
			next.groups = append(next.groups, g)
			kept = true
			continue
		}
		c.find(g.policy.id, "", "on %s, %s takes its place: it has the same resource or VFs, and comes later in the operator's order", t, p.id)
	}
	if kept || m.priority == p.priority() {
		next.numVFs, next.mtu = max(m.numVFs, p.NumVFs), max(m.mtu, p.MTU)
	}
	return next
}

func (t *target) String() string {
	return cmp.Or(t.Name, t.Address, t.Vendor+":"+t.Device)
}

// entry writes what was merged in our terms.
func (c *converter) entry(m *merged, t *target) spec.PhysicalFunction {
	e := spec.PhysicalFunction{Match: t.match, ExternallyManaged: m.external}
	e.NumVFs = &m.numVFs
	if m.mtu > 0 {
		e.MTU = &m.mtu
	}
	switch strings.ToLower(m.linkType) {
	case "eth":
		e.LinkType = spec.LinkEthernet
	case "ib":
		e.LinkType = spec.LinkInfiniBand
	}
	e.EswitchMode = spec.EswitchMode(m.eswitchMode)
	slices.SortFunc(m.groups, func(a, b group) int { return cmp.Compare(a.first, b.first) })
	if len(m.groups) == 1 {
		g := &m.groups[0]
		if g.first == 0 && g.end == m.numVFs-1 && plain(g.policy) {
			e.ResourceName = c.resource(g.policy)
			return e
		}
	}
	for i := range m.groups {
		g := &m.groups[i]
		p := g.policy
		out := spec.VFGroup{
			ResourceName: c.resource(p), RDMA: p.IsRDMA || e.LinkType == spec.LinkInfiniBand && p.DeviceType != "vfio-pci",
			VhostNet: p.NeedVhostNet, VDPA: spec.VDPAType(p.VDPAType),
		}
		for v := g.first; v <= g.end; v++ {
			out.Indexes = append(out.Indexes, v)
		}
		if p.DeviceType == "vfio-pci" {
			out.Driver = spec.DriverVFIO
		} else if p.MTU > 0 && p.MTU != m.mtu {
			out.MTU = &p.MTU
		}
		e.VirtualFunctions = append(e.VirtualFunctions, out)
	}
	return e
}

// plain: nothing but a resource for kernel VFs.
func plain(p *policy) bool {
	return p.DeviceType != "vfio-pci" && !p.IsRDMA && !p.NeedVhostNet && p.VDPAType == "" && !strings.EqualFold(p.LinkType, "ib")
}

func (c *converter) resource(p *policy) string { return c.o.ResourcePrefix + "/" + p.ResourceName }

// unequal reports what a policy says and our config cannot, or means
// differently.
func (c *converter) unequal(p *policy) {
	for _, u := range []struct {
		applies    bool
		field, msg string
	}{
		{p.NumVFs == 0, "numVfs", "it is 0, so the operator does nothing, and it is left out"},
		{p.ExcludeTopology, "excludeTopology", "no equivalent for the VFs of a PF; an entry of resourceList has it"},
		{p.NICSelector.NetFilter != "", "nicSelector.netFilter", "no equivalent: it selects by the networks of a cloud"},
		{p.Bridge != nil, "bridge", "no equivalent: whoever runs Open vSwitch makes its bridges"},
		{p.LinkType != "", "linkType", "it is checked only: the operator changes it in the firmware of Mellanox cards, " +
			"which needs a tool on the host"},
		{strings.HasPrefix(p.DeviceType, "vfio"), "deviceType", "the machine config must load vfio_pci and vfio_iommu_type1: " +
			"sriovctl convert --once writes the patch"},
		{p.MTU > 0 && !p.ExternallyManaged, "mtu", "the PF's MTU becomes exactly this; the operator only ever raises it"},
	} {
		if u.applies {
			c.find(p.id, u.field, "%s", u.msg)
		}
	}
}
