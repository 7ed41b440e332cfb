package spec

import (
	"net"
	"reflect"
	"strconv"
	"strings"

	"github.com/talos-sriov/talos-sriov/pkg/vfrules"
)

// Limits of holdDown.
const (
	maxHold = 600 // seconds
	minHold = 1   // milliseconds
)

// validator judges a decoded document. It says nothing about a place that has
// an error already.
type validator struct {
	*decoder
	c         *Config
	addresses map[string]string // each listed MAC or GUID -> its path
}

// validate applies every rule that the config alone can break.
func validate(c *Config, d *decoder) {
	v := &validator{decoder: d, c: c, addresses: make(map[string]string)}
	for i := range c.PhysicalFunctions {
		if v.enough() {
			return
		}
		v.physicalFunction(i)
	}
	v.samePF()
	v.resources()
	v.globals()
}

// complain adds an error about the value at path. Positions in spans are those
// of the file already.
func (v *validator) complain(path, hint, msg string) {
	v.complainAs(path, path, hint, msg)
}

// missing adds an error about a key that owner lacks, unless it is only
// misspelt.
func (v *validator) missing(owner, key, hint string) {
	if v.meant[owner+"."+key] {
		return
	}
	v.complainAs(owner, owner+"."+key, hint, "is missing")
}

func (v *validator) complainAs(place, path, hint, msg string) {
	if !v.ok(path) {
		return
	}
	v.add(&Error{Pos: v.spans[place], Path: path, Msg: msg, Hint: hint})
}

func (v *validator) line(path string) string { return "line " + strconv.Itoa(v.spans[path].Line) }

// problems adds an error for each rule that the value at path, or a part of it,
// breaks.
func (v *validator) problems(path string, list []vfrules.Problem) {
	for _, p := range list {
		at, text := path, p.Text
		if p.Part != "" {
			at += "." + string(p.Part)
		}
		if p.Other != "" {
			text += " (" + v.line(path+"."+string(p.Other)) + ")"
		}
		v.complain(at, p.Hint, text)
	}
}

func (v *validator) physicalFunction(i int) {
	pf := &v.c.PhysicalFunctions[i]
	at := index("physicalFunctions", i)
	if !v.has(at) {
		return
	}
	v.match(&pf.Match, at)
	switch {
	case pf.NumVFs != nil:
		v.problems(at+".numVFs", vfrules.InRange("", *pf.NumVFs, 0, maxVFs, "", "0 removes the VFs; sriov_totalvfs in sysfs is the most that the PF can have"))
	case !v.has(at+".numVFs") && !pf.ExternallyManaged && v.isMapping(at):
		v.missing(at, "numVFs", "say how many VFs there are to be, or externallyManaged: true when somebody else decides it")
	}
	if pf.MTU != nil {
		v.problems(at+".mtu", vfrules.MTU(*pf.MTU))
	}
	if pf.EswitchMode == EswitchSwitchdev && pf.LinkType == LinkInfiniBand {
		v.complain(at+".eswitchMode", "remove it; an InfiniBand port has no eswitch of this kind", "switchdev needs linkType ethernet")
	}
	taken := make(owners)
	for g := range pf.VirtualFunctions {
		group := index(at+".virtualFunctions", g)
		if v.enough() {
			return
		}
		if !v.isMapping(group) {
			continue
		}
		v.indexes(pf, at, g, taken)
		v.group(pf, at, &pf.VirtualFunctions[g], group)
		v.addressList(pf.VirtualFunctions[g].MACAddresses.List, group+".macAddresses")
		v.addressList(pf.VirtualFunctions[g].GUIDs.List, group+".guids")
	}
}

// isMapping reports whether something that should be a mapping was one.
func (v *validator) isMapping(path string) bool { return v.has(path) && !v.badSelf(path) }

// badSelf reports whether the value at path itself, rather than something in
// it, was refused.
func (v *validator) badSelf(path string) bool { return v.bad[path] == blameSelf }

func (v *validator) match(m *Match, at string) {
	at += ".match"
	if !v.has(at) {
		if owner := strings.TrimSuffix(at, ".match"); v.isMapping(owner) {
			v.missing(owner, "match", "say which PFs are meant, such as match: {names: [enp1s0f0np0]}")
		}
		return
	}
	any := false
	for _, l := range m.lists() {
		path := at + "." + l.key
		if !v.has(path) {
			continue
		}
		any = true
		if len(l.values) == 0 {
			v.complain(path, "list at least one value, or remove the key", "an empty list matches nothing")
		}
		v.noRepeats(path, l.values)
	}
	if !any {
		v.complain(at, "give at least one of "+strings.Join(v.shape(reflect.TypeFor[Match]()).names, ", "), "is empty: it would match every PF")
	}
}

// matchList is one key of a Match.
type matchList struct {
	key    string
	values []string
}

func (m *Match) lists() []matchList {
	return []matchList{
		{"names", m.Names},
		{"pciAddresses", m.PCIAddresses},
		{"vendors", m.Vendors},
		{"devices", m.Devices},
		{"drivers", m.Drivers},
		{"macAddresses", m.MACAddresses},
	}
}

func (v *validator) noRepeats(path string, list []string) {
	first := make(map[string]int)
	for i, s := range list {
		if s == "" {
			continue // refused already
		}
		if j, found := first[s]; found {
			v.complain(index(path, i), "keep one of them", quote(s)+" is listed twice; the first is at "+v.line(index(path, j)))
			continue
		}
		first[s] = i
	}
}

// indexes checks group g against numVFs and the groups before it.
func (v *validator) indexes(pf *PhysicalFunction, at string, g int, taken owners) {
	group := index(at+".virtualFunctions", g)
	path := group + ".indexes"
	set := pf.VirtualFunctions[g].Indexes
	if !v.has(path) {
		v.missing(group, "indexes", `say which VFs are meant, such as indexes: "0-3"`)
		return
	}
	if len(set) == 0 {
		return
	}
	if last := set[len(set)-1]; pf.NumVFs != nil && last >= *pf.NumVFs && *pf.NumVFs >= 0 {
		hint := "the last index is " + strconv.Itoa(*pf.NumVFs-1) + "; indexes begin at 0"
		if *pf.NumVFs == 0 {
			hint = "remove the group, or raise numVFs"
		}
		v.complain(path, hint, "names VF "+strconv.Itoa(last)+", but numVFs is "+strconv.Itoa(*pf.NumVFs)+" ("+v.line(at+".numVFs")+")")
	}
	first := taken.claim(set, g)
	if first < 0 {
		return
	}
	other := index(at+".virtualFunctions", first) + ".indexes"
	v.complain(path, "a VF belongs to one group", vfsAre(taken.of(set, first).ranges())+" in the group at "+v.line(other)+" already")
}

// addressList checks an explicit list of MACs or GUIDs. An address is listed
// once in the whole document: two VFs with one address, of one PF or of two, on
// one node or on two that share the config, disturb each other's traffic.
func (v *validator) addressList(list []net.HardwareAddr, path string) {
	for i, a := range list {
		if a == nil {
			continue
		}
		at := index(path, i)
		if bad := vfrules.Address(a); len(bad) > 0 {
			v.problems(at, bad)
			continue
		}
		if first, found := v.addresses[string(a)]; found {
			v.complain(at, "give every VF an address of its own", a.String()+" is listed twice; the first is at "+v.line(first))
			continue
		}
		v.addresses[string(a)] = at
	}
}

func (v *validator) globals() {
	h := v.c.Health
	if path := "health.holdDown"; v.has(path) && v.ok(path) {
		if ms := h.HoldDown.milliseconds(); ms < minHold || ms > maxHold*1000 {
			v.complain(path, "leave it out for the default of 2s", h.HoldDown.String()+" is out of range: 1ms to 10m")
		}
	}
	if path := "cni.binDir"; v.has(path) && v.ok(path) && !inBinDirs(v.c.CNI.BinDir) {
		v.complain(path, "give a directory below /opt (the default is "+DefaultBinDir+") or below /var/lib", quote(v.c.CNI.BinDir)+" is not below /opt or /var/lib, the places of the host that can be written and outlive a reboot")
	}
}

// inBinDirs reports whether dir is a place for the CNI plugin: Talos' root is
// read-only, /etc and /run are empty after each boot, so /opt and /var/lib
// remain.
func inBinDirs(dir string) bool {
	return strings.HasPrefix(dir, "/opt/") || strings.HasPrefix(dir, "/var/lib/")
}
