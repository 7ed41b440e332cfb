package spec

import (
	"net"
	"strconv"
	"strings"
)

// Limits of the kernel.
const (
	minMTU  = 68    // ETH_MIN_MTU, include/uapi/linux/if_ether.h
	maxMTU  = 65535 // ETH_MAX_MTU
	maxVLAN = 4094  // 4095 is reserved by IEEE 802.1Q
	maxQoS  = 7     // the 3 bits of the 802.1Q priority
	maxRate = 1<<31 - 1
	maxHold = 600 // seconds
	minHold = 1   // milliseconds
)

// validator judges a decoded document. It says nothing about a place that has
// an error already.
type validator struct {
	*decoder
	c         *Config
	owners    owners            // of the VFs of the entry being judged
	addresses map[string]string // each listed MAC or GUID -> its path
}

// validate applies every rule that the document alone can break.
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

// said reports whether the document has the key.
func (v *validator) said(path string) bool {
	_, found := v.spans[path]
	return found
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
	if v.full() {
		v.count(path)
		return
	}
	e := &Error{Pos: v.pos(place), Path: path, Msg: msg, Hint: hint}
	v.add(e)
}

// pos is where the value at path stands.
func (v *validator) pos(path string) Pos { return v.spans[path].val }

func (v *validator) line(path string) string { return "line " + strconv.Itoa(v.pos(path).Line) }

func (v *validator) between(path string, n, low, high int, unit, hint string) {
	if n >= low && n <= high {
		return
	}
	if unit != "" {
		unit = " " + unit
	}
	v.complain(path, hint, strconv.Itoa(n)+" is out of range: "+strconv.Itoa(low)+" to "+strconv.Itoa(high)+unit)
}

func (v *validator) physicalFunction(i int) {
	pf := &v.c.PhysicalFunctions[i]
	at := index("physicalFunctions", i)
	if !v.said(at) {
		return
	}
	v.match(&pf.Match, at)
	switch {
	case pf.NumVFs != nil:
		v.between(at+".numVFs", *pf.NumVFs, 0, maxVFs, "", "0 removes the VFs; sriov_totalvfs in sysfs is the most that the PF can have")
	case !v.said(at+".numVFs") && !pf.ExternallyManaged && v.isMapping(at):
		v.missing(at, "numVFs", "say how many VFs there shall be, or externallyManaged: true when somebody else decides it")
	}
	if pf.MTU != nil {
		v.between(at+".mtu", *pf.MTU, minMTU, maxMTU, "bytes", "")
	}
	if pf.EswitchMode == EswitchSwitchdev && pf.LinkType == LinkInfiniBand {
		v.complain(at+".eswitchMode", "remove it; an InfiniBand port has no eswitch of this kind", "switchdev needs linkType ethernet")
	}
	v.owners.next()
	for g := range pf.VirtualFunctions {
		group := index(at+".virtualFunctions", g)
		if v.enough() {
			return
		}
		if !v.isMapping(group) {
			continue
		}
		v.indexes(pf, at, g)
		v.group(pf, &pf.VirtualFunctions[g], group)
		v.addressList(pf.VirtualFunctions[g].MACAddresses.List, group+".macAddresses")
		v.addressList(pf.VirtualFunctions[g].GUIDs.List, group+".guids")
	}
}

// isMapping reports whether something that should be a mapping was one.
func (v *validator) isMapping(path string) bool { return v.said(path) && !v.badSelf(path) }

// badSelf reports whether the value at path itself, rather than something in
// it, was refused.
func (v *validator) badSelf(path string) bool { return v.bad[path] == blameSelf }

func (v *validator) match(m *Match, at string) {
	at += ".match"
	if !v.said(at) {
		if owner := strings.TrimSuffix(at, ".match"); v.isMapping(owner) {
			v.missing(owner, "match", "say which PFs are meant, such as match: {names: [enp1s0f0np0]}")
		}
		return
	}
	any := false
	for _, l := range m.lists() {
		path := at + "." + l.key
		if !v.said(path) {
			continue
		}
		any = true
		if len(l.values) == 0 {
			v.complain(path, "list at least one value, or remove the key", "an empty list matches nothing")
		}
		v.noRepeats(path, l.values)
	}
	if !any {
		v.complain(at, "give at least one of "+strings.Join(matchKeys(), ", "), "is empty: it would match every PF")
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

func matchKeys() []string {
	var keys []string
	for _, l := range new(Match).lists() {
		keys = append(keys, l.key)
	}
	return keys
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
func (v *validator) indexes(pf *PhysicalFunction, at string, g int) {
	group := index(at+".virtualFunctions", g)
	path := group + ".indexes"
	set := pf.VirtualFunctions[g].Indexes
	if !v.said(path) {
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
	first := v.owners.claim(set, g)
	if first < 0 {
		return
	}
	other := index(at+".virtualFunctions", first) + ".indexes"
	v.complain(path, "a VF belongs to one group", vfsAre(v.owners.of(set, first).ranges())+" in the group at "+v.line(other)+" already")
}

// addressList checks an explicit list of MACs or GUIDs. An address is listed
// once in the whole document: two VFs with one address, of one PF or of two, on
// one node or on two that share the document, disturb each other's traffic.
func (v *validator) addressList(list []net.HardwareAddr, path string) {
	for i, a := range list {
		if a == nil {
			continue
		}
		at := index(path, i)
		zero, ones := true, true
		for _, b := range a {
			zero = zero && b == 0
			ones = ones && b == 0xff
		}
		switch {
		case zero:
			v.complain(at, "give every VF an address of its own", "the address is all zero")
			continue
		case len(a) == 6 && a[0]&1 != 0:
			v.complain(at, "the lowest bit of the first byte must be 0", a.String()+" is a multicast address")
			continue
		case ones:
			v.complain(at, "give every VF an address of its own", "the address is all ones")
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
	if path := "health.holdDown"; v.said(path) && v.ok(path) {
		if ms := h.HoldDown.milliseconds(); ms < minHold || ms > maxHold*1000 {
			v.complain(path, "leave it out for the default of 2s", h.HoldDown.String()+" is out of range: 1ms to 10m")
		}
	}
	if path := "cni.binDir"; v.said(path) && v.ok(path) && !inBinDirs(v.c.CNI.BinDir) {
		v.complain(path, "give a folder below /opt (the default is "+DefaultBinDir+") or below /var/lib", quote(v.c.CNI.BinDir)+" is not below /opt or /var/lib, the places of the host that can be written and outlive a reboot")
	}
}

// inBinDirs reports whether dir is a place for the CNI plugin: Talos' root is
// read-only, /etc and /run are empty after each boot, so /opt and /var/lib
// remain.
func inBinDirs(dir string) bool {
	return strings.HasPrefix(dir, "/opt/") || strings.HasPrefix(dir, "/var/lib/")
}
