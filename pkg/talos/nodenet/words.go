package nodenet

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/talos-sriov/talos-sriov/pkg/machineconfig"
)

// selector is one of the two kinds that Talos has.
type selector interface {
	match(l *Link) Certainty
	String() string
	// instead is what to write so that only these links are selected. id is their
	// PCI id, "" when it is not theirs alone.
	instead(links []Link, id string) string
}

type deviceSelector struct{ node *yaml.Node }

func (s deviceSelector) match(l *Link) Certainty { return DeviceSelector(s.node, l) }

func (s deviceSelector) String() string {
	var parts []string
	for key, value := range machineconfig.Pairs(s.node) {
		parts = append(parts, key.Value+": "+machineconfig.Text(value))
	}
	return strings.Join(parts, ", ")
}

func (deviceSelector) instead(links []Link, id string) string {
	each := byAddress(links, "permanentAddr: %q (%s)")
	hint := "write permanentAddr of the interface that is meant: talosctl get links -o yaml shows it"
	if each != "" {
		hint = "write a selector for each interface that is meant: " + each
	}
	if id != "" {
		hint += "; or pciID: " + id + ", which no VF here has"
	}
	return hint
}

type celExpression string

func (s celExpression) match(l *Link) Certainty { return Expression(string(s), l) }

func (s celExpression) String() string { return strings.Join(strings.Fields(string(s)), " ") }

func (celExpression) instead(links []Link, _ string) string {
	each := byAddress(links, "mac(link.permanent_addr) == %q for %s")
	if each == "" {
		return `write mac(link.permanent_addr) == "..." with the address of the link that is meant: talosctl get links -o yaml shows it`
	}
	return "select by what no VF has: " + each
}

// byAddress writes the permanent address and the name of each link that has one.
func byAddress(links []Link, format string) string {
	var each []string
	for i := range links {
		if l := &links[i]; l.PermMAC != "" {
			each = append(each, fmt.Sprintf(format, l.PermMAC, l.Name))
		}
	}
	return strings.Join(each, ", ")
}

// selects is the verb for what a selector does to a link that it may match.
func selects(c Certainty) string {
	if c == Yes {
		return "selects"
	}
	return "may select"
}

// add makes a finding of a selector, if it selects any of the links to be.
func (c *check) add(where string, toBe []Link, s selector, effect string, grave bool) {
	var hit []Link
	sure := No
	for i := range toBe {
		m := s.match(&toBe[i])
		if m == No {
			continue
		}
		hit, sure = append(hit, toBe[i]), either(sure, m)
	}
	if len(hit) == 0 {
		return
	}
	f := Finding{Refuse: sure == Yes && grave}
	if text := s.String(); text != "" {
		where += " (" + text + ")"
	}
	f.Msg = fmt.Sprintf("%s %s %s too: Talos %s", where, selects(sure), names(hit), effect)
	meant := c.meant(s)
	f.Hint = s.instead(meant, c.idOf(meant))
	c.found = append(c.found, f)
}

// meant are the links that the selector selects as the node is.
func (c *check) meant(s selector) []Link {
	return slices.DeleteFunc(slices.Clone(c.present), func(l Link) bool { return s.match(&l) != Yes })
}

// idOf is the PCI id that all the links have and no link to be, "" for none.
func (c *check) idOf(links []Link) string {
	if len(links) == 0 || links[0].PCIID == "" {
		return ""
	}
	id := links[0].PCIID
	other := func(l Link) bool { return l.PCIID != id }
	same := func(l Link) bool { return l.PCIID == id || l.PCIID == "" }
	if slices.ContainsFunc(links, other) || slices.ContainsFunc(c.toBe, same) {
		return ""
	}
	return id
}

// names counts links to be: "4 VFs of enp1s0f0np0 and 4 representors of it".
func names(links []Link) string {
	type key struct {
		pf          string
		representor bool
	}
	counts := make(map[key]int)
	var order []key
	for i := range links {
		k := key{links[i].PF, links[i].Representor}
		if counts[k] == 0 {
			order = append(order, k)
		}
		counts[k]++
	}
	var parts []string
	for _, k := range order {
		what := "VF"
		if k.representor {
			what = "representor"
		}
		if counts[k] > 1 {
			what += "s"
		}
		parts = append(parts, fmt.Sprintf("%d %s of %s", counts[k], what, k.pf))
	}
	return "the " + strings.Join(parts, ", and the ")
}

// Ignored says which of the links, none of which it must, the entries with
// `ignore: true` select, in the order of the entries.
func Ignored(docs []machineconfig.Document, links []Link) []Finding {
	var out []Finding
	for i := range docs {
		if docs[i].Kind != machineconfig.KindV1Alpha1 {
			continue
		}
		for j, entry := range machineconfig.Items(machineconfig.At(docs[i].Node(), "machine", "network", "interfaces")) {
			selector := machineconfig.Child(entry, "deviceSelector")
			if selector == nil || !isTrue(machineconfig.Child(entry, "ignore")) {
				continue
			}
			where := fmt.Sprintf("machine.network.interfaces[%d].deviceSelector (%s)", j, deviceSelector{selector})
			for k := range links {
				if m := DeviceSelector(selector, &links[k]); m != No {
					out = append(out, ignored(where, &links[k], m))
				}
			}
		}
	}
	return out
}

func ignored(where string, l *Link, sure Certainty) Finding {
	return Finding{
		Refuse: sure == Yes,
		Msg: fmt.Sprintf("%s with ignore: true %s %s, which %s: Talos would take its addresses away",
			where, selects(sure), l.Name, cmp.Or(l.Uplink, "is no VF of a PF of this node")),
		Hint: "select what only the VFs have, for example each by its place (busPath: \"0000:21:10.0\"), " +
			"or take the entry out of the file for this node",
	}
}
