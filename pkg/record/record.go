package record

import (
	"maps"
	"slices"
)

// Record is all that earlier runs wrote down.
type Record struct {
	// BootID is the boot (random/boot_id) during which everything but the part that
	// outlives boots was written: VFs do not outlive a boot.
	BootID string        `json:"bootID"`
	PFs    map[string]PF `json:"pfs"` // by PCI address
	// Lost is true when what earlier runs wrote cannot be read, or not yet: it is
	// not known which force tokens were carried out, so none is taken for new.
	Lost bool `json:"lost,omitempty"`
	// Spent are the force tokens that the config had when the record was lost. They
	// count as carried out on every PF, also on one that appears later.
	Spent []string `json:"spent,omitempty"`
}

// PF is the record of one PF.
type PF struct {
	// PermMAC and Device tell a card from another that was put in its slot.
	PermMAC string `json:"permMAC,omitempty"`
	Device  string `json:"device,omitempty"` // vendor:device
	// SafeSpec is the hash of the config under which this PF was last seen not to
	// carry the machine's network. It outlives boots.
	SafeSpec string `json:"safeSpec,omitempty"`
	// Forced are the last force tokens that were carried out, the newest last. They
	// outlive boots.
	Forced []string `json:"forced,omitempty"`
	// Made is what was changed during this boot, nil when nothing.
	Made *Made `json:"made,omitempty"`
	// Open are the step IDs of VF attributes that a run set out to write and is not
	// known to have written: each may or may not have had its effect. A file of an
	// older version also has those of other steps, which nothing asks for.
	Open []string `json:"open,omitempty"`
	// Refused are the attributes that the driver refused during this boot, by step
	// ID, so that a refused write is not repeated at each reconcile.
	Refused map[string]Refusal `json:"refused,omitempty"`
}

// Made is what a PF was like before it was first changed during this boot.
type Made struct {
	NumVFs      int    `json:"numVFs"`
	AutoProbe   bool   `json:"autoProbe"`
	MTU         int    `json:"mtu,omitempty"`
	EswitchMode string `json:"eswitchMode,omitempty"`
	// Wrote are the last two values of each setting that a run set out to write: a
	// reset undoes only what still has a value of these, and a run that was cut
	// short may have left either.
	Wrote map[Setting][]string `json:"wrote,omitempty"`
	// Overrides are the driver_override values that a run set out to write, by VF
	// index. They matter on VFs that somebody else made: others go with all they
	// have.
	Overrides map[int]string `json:"overrides,omitempty"`
}

// Setting is a setting of the PF that a reset brings back.
type Setting string

// The settings; their names are those in the file.
const (
	NumVFs      Setting = "numvfs"
	AutoProbe   Setting = "autoprobe"
	MTU         Setting = "mtu"
	EswitchMode Setting = "eswitch-mode"
)

// Refusal is the driver's answer to one attribute.
type Refusal struct {
	Value  string `json:"value"`  // what was refused
	Answer string `json:"answer"` // EOPNOTSUPP, or text
	// Volatile refusals may depend on the link (a rate above the speed of a port
	// that is down): one without a link counts only while there is none.
	Volatile bool `json:"volatile,omitempty"`
	Carrier  bool `json:"carrier,omitempty"`
}

// Holds reports whether the refusal is about the value, and nothing it may
// depend on has changed.
func (r Refusal) Holds(value string, carrier bool) bool {
	return r.Value == value && (!r.Volatile || r.Carrier || !carrier)
}

// Card is one card in its slot.
type Card struct {
	Address string // PCI address of the PF
	Device  string // vendor:device
	PermMAC string // "" when not known
}

// Of returns the record of the card: the one of its slot as far as it is about the
// same card and, save for the part that outlives boots, about the boot bootID.
func (r Record) Of(c Card, bootID string) PF {
	f, ok := r.PFs[c.Address]
	if !ok || f.Device != c.Device || (f.PermMAC != "" && c.PermMAC != "" && f.PermMAC != c.PermMAC) {
		return PF{}
	}
	if bootID == "" || r.BootID != bootID {
		f = f.Lasting()
	}
	return f
}

// now returns the card's record of this boot, to be changed: a new one when there is
// none, or one about another card.
func (r Record) now(c Card) PF {
	f := r.Of(c, r.BootID)
	f.Device = c.Device
	if c.PermMAC != "" {
		f.PermMAC = c.PermMAC
	}
	return f
}

// Clone returns a copy that shares nothing with r.
func (r Record) Clone() Record {
	c := Record{BootID: r.BootID, Lost: r.Lost, Spent: slices.Clone(r.Spent), PFs: make(map[string]PF, len(r.PFs))}
	for a, f := range r.PFs {
		if f.Made != nil {
			f.Made = f.Made.clone()
		}
		f.Forced = slices.Clone(f.Forced)
		f.Open = slices.Clone(f.Open)
		f.Refused = maps.Clone(f.Refused)
		c.PFs[a] = f
	}
	return c
}

func (m *Made) clone() *Made {
	c := *m
	c.Wrote, c.Overrides = maps.Clone(m.Wrote), maps.Clone(m.Overrides)
	for s, values := range c.Wrote {
		c.Wrote[s] = slices.Clone(values)
	}
	return &c
}

// Has reports whether the value of the setting is one that a run set out to write.
func (m *Made) Has(s Setting, value string) bool { return slices.Contains(m.Wrote[s], value) }

// Boot returns the record as far as it holds during the boot: all of it when it
// was written during it, else only what outlives boots.
func (r Record) Boot(bootID string) Record {
	c := r.Clone()
	if r.BootID == bootID {
		return c
	}
	c.BootID = bootID
	for a, f := range c.PFs {
		f = f.Lasting()
		if f.SafeSpec == "" && len(f.Forced) == 0 {
			delete(c.PFs, a)
			continue
		}
		c.PFs[a] = f
	}
	return c
}

// Lasting is the part of the record that outlives the boot.
func (f PF) Lasting() PF {
	f.Made, f.Open, f.Refused = nil, nil, nil
	return f
}

// After returns the record of a process that did not know yet what an earlier one
// of the same boot had recorded about the card: what the PF was like before the
// first change is what the earlier one saw.
func (f PF) After(was PF) PF {
	if was.Made != nil {
		f.Made = was.Made.before(f.Made)
	}
	f.Forced = union(was.Forced, f.Forced)
	f.Open = union(f.Open, was.Open)
	f.Refused = with(was.Refused, f.Refused)
	return f
}

// before returns m with what was written after it.
func (m *Made) before(next *Made) *Made {
	c := m.clone()
	if next == nil {
		return c
	}
	c.Overrides = with(c.Overrides, next.Overrides)
	for s, values := range next.Wrote {
		if c.Wrote == nil {
			c.Wrote = map[Setting][]string{}
		}
		c.Wrote[s] = append(slices.Clone(c.Wrote[s]), values...)
	}
	return c
}

// with is a map of both; where they differ, more's value is it.
func with[K comparable, V any](m, more map[K]V) map[K]V {
	out := maps.Clone(m)
	if out == nil && len(more) > 0 {
		out = make(map[K]V, len(more))
	}
	maps.Copy(out, more)
	return out
}

// union is the elements of both, each once, those of first before the others.
func union(first, then []string) []string {
	out := slices.Clone(first)
	for _, s := range then {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}
