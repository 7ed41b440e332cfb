package plan

import (
	"maps"
	"slices"
	"strings"

	"github.com/talos-sriov/talos-sriov/pkg/op"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

// State is what earlier runs wrote down. It is pure data; the agent stores it.
// It only ever permits (an early start, a reset of what we made) or avoids
// repeating (a refused attribute): losing it never causes a write.
type State struct {
	// BootID is the boot (random/boot_id) during which everything but the safe
	// records was written: VFs do not outlive a boot.
	BootID string             `json:"bootID"`
	PFs    map[string]PFState `json:"pfs"` // by PCI address
	// Lost is true when what earlier runs wrote cannot be read, or not yet: it is
	// not known which orders were carried out, so none is taken for new.
	Lost bool `json:"lost,omitempty"`
	// Spent are the orders that the document gave when the record was lost. They
	// count as carried out on every PF, also on one that appears later.
	Spent []string `json:"spent,omitempty"`
}

// PFState is the record of one PF.
type PFState struct {
	// PermMAC and Device tell a card from another that was put in its slot.
	PermMAC string `json:"permMAC,omitempty"`
	Device  string `json:"device,omitempty"` // vendor:device
	// SafeSpec is the hash of the document under which this PF was last seen not to
	// carry the machine's network, by the rule in evidence.go. It outlives boots.
	SafeSpec string `json:"safeSpec,omitempty"`
	// Forced are the last orders of documents not to wait for holders that were
	// carried out, the newest last. They outlive boots.
	Forced []string `json:"forced,omitempty"`
	// Made is what we changed during this boot, nil when nothing.
	Made *Made `json:"made,omitempty"`
	// Open are the IDs of the steps of a run that began and is not known to
	// have ended: that many steps may or may not have had their effect.
	Open []string `json:"open,omitempty"`
	// Refused are the attributes that the driver refused during this boot, by
	// step ID, so that a refused write is not made on each look at the machine.
	Refused map[string]Refusal `json:"refused,omitempty"`
}

// Refusal is the driver's answer to one attribute.
type Refusal struct {
	Value  string `json:"value"`  // what was refused
	Answer string `json:"answer"` // EOPNOTSUPP, or in words
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

// Outcome is what a run came to, as far as later plans depend on it.
type Outcome struct {
	// Unfinished are the IDs of steps that began or should have, and may have
	// had no effect: they failed, or the run was stopped.
	Unfinished []string
	// Waiting is true when steps are left that wait for holders.
	Waiting bool
	// Refused are the attributes that the driver refused, by step ID.
	Refused map[string]Refusal
}

// Made is what a PF was like before we first changed it during this boot.
type Made struct {
	NumVFs      int    `json:"numVFs"`
	AutoProbe   bool   `json:"autoProbe"`
	MTU         int    `json:"mtu,omitempty"`
	EswitchMode string `json:"eswitchMode,omitempty"`
	// Wrote are the last two values of the PF that we set out to write, by kind:
	// a reset takes back only what still has the value that we gave it, and a run
	// that was cut short may have left either.
	Wrote map[op.Kind][]string `json:"wrote,omitempty"`
	// Overrides are the driver_override values that we set out to write, by VF
	// index. They matter on VFs that somebody else made: ours go with all they
	// have.
	Overrides map[int]string `json:"overrides,omitempty"`
}

func (m *Made) clone() *Made {
	c := *m
	c.Wrote, c.Overrides = maps.Clone(m.Wrote), maps.Clone(m.Overrides)
	return &c
}

// wrote records the intent of a step. The way through 0 VFs makes nothing.
func (m *Made) wrote(s *Step) {
	kind, value := s.Op.Kind(), op.Text(s.Op.Want())
	was := m.Wrote[kind]
	if op.Equal(s.Op.Want(), op.Count(0)) || len(was) > 0 && was[len(was)-1] == value {
		return
	}
	if m.Wrote == nil {
		m.Wrote = map[op.Kind][]string{}
	}
	m.Wrote[kind] = append(slices.Clone(was[max(0, len(was)-1):]), value)
}

func (m *Made) override(vf int, value string) {
	if m.Overrides == nil {
		m.Overrides = map[int]string{}
	}
	m.Overrides[vf] = value
}

// For returns the record of the PF as far as it is about the same card and,
// save for the safe record, about the boot bootID.
func (s State) For(address, device, permMAC, bootID string) PFState {
	r, ok := s.PFs[address]
	if !ok || r.Device != device || (r.PermMAC != "" && permMAC != "" && r.PermMAC != permMAC) {
		return PFState{}
	}
	if bootID == "" || s.BootID != bootID {
		r = r.Lasting()
	}
	return r
}

// After returns the record of a process that did not know yet what an earlier one
// of the same boot had recorded about the card: what the PF was like before the
// first change is what the earlier one saw.
func (r PFState) After(was PFState) PFState {
	if was.Made != nil {
		m := was.Made.clone()
		if r.Made != nil {
			for i, v := range r.Made.Overrides {
				m.override(i, v)
			}
			for k, values := range r.Made.Wrote {
				if m.Wrote == nil {
					m.Wrote = map[op.Kind][]string{}
				}
				m.Wrote[k] = append(slices.Clone(m.Wrote[k]), values...)
			}
		}
		r.Made = m
	}
	r.Forced = union(was.Forced, r.Forced)
	for _, id := range was.Open {
		if !slices.Contains(r.Open, id) {
			r.Open = append(slices.Clone(r.Open), id)
		}
	}
	r.Refused = maps.Clone(r.Refused)
	for id, refusal := range was.Refused {
		if _, known := r.Refused[id]; !known {
			if r.Refused == nil {
				r.Refused = map[string]Refusal{}
			}
			r.Refused[id] = refusal
		}
	}
	return r
}

// union is the orders of both, the older ones first.
func union(old, now []string) []string {
	out := slices.Clone(old)
	for _, o := range now {
		if !slices.Contains(out, o) {
			out = append(out, o)
		}
	}
	return out
}

// Lasting is the part of the record that outlives the boot.
func (r PFState) Lasting() PFState {
	r.Made, r.Open, r.Refused = nil, nil, nil
	return r
}

// Clone returns a copy that shares nothing with s.
func (s State) Clone() State {
	c := State{BootID: s.BootID, Lost: s.Lost, Spent: slices.Clone(s.Spent), PFs: make(map[string]PFState, len(s.PFs))}
	for a, r := range s.PFs {
		if r.Made != nil {
			r.Made = r.Made.clone()
		}
		r.Forced = slices.Clone(r.Forced)
		r.Open = slices.Clone(r.Open)
		r.Refused = maps.Clone(r.Refused)
		c.PFs[a] = r
	}
	return c
}

// Boot returns the state as far as it holds during the boot: all of it when it
// was written during it, else only the safe records.
func (s State) Boot(bootID string) State {
	c := s.Clone()
	if s.BootID == bootID {
		return c
	}
	c.BootID = bootID
	for a, r := range c.PFs {
		r = r.Lasting()
		if r.SafeSpec == "" && len(r.Forced) == 0 {
			delete(c.PFs, a)
			continue
		}
		c.PFs[a] = r
	}
	return c
}

// Begin returns the state with the intent to run the steps on the PF: what it
// was like before our first change of this boot, and the steps' IDs.
func (s State) Begin(f *PFPlan, ids []string) State {
	c := s.Clone()
	r := c.of(f)
	if r.Made == nil {
		r.Made = &Made{}
		if was := f.Found.Made; was != nil {
			*r.Made = *was
		}
	}
	for i := range f.Steps {
		s := &f.Steps[i]
		if f.Left || !slices.Contains(ids, s.ID) {
			continue
		}
		switch o := s.Op.(type) {
		case op.SetNumVFs, op.SetAutoProbe, op.SetMTU, op.SetEswitchMode:
			r.Made.wrote(s)
		case op.SetDriverOverride:
			r.Made.override(o.Index, o.Driver.String())
		}
	}
	// What an earlier run left open stays so until it is known to be done.
	for _, id := range r.Open {
		if !slices.Contains(ids, id) {
			ids = append(slices.Clone(ids), id)
		}
	}
	r.Open = slices.Clone(ids)
	c.PFs[f.Address] = r
	return c
}

// End returns the state with the PF's run over, and its outcome recorded.
func (s State) End(f *PFPlan, out Outcome) State {
	c := s.Clone()
	r := c.of(f)
	open := slices.Clone(out.Unfinished)
	for _, id := range r.Open {
		// An attribute of a VF that this run did not come to is as open as before.
		if strings.Contains(id, "/vf") && !f.has(id) {
			open = append(open, id)
		}
	}
	r.Open = open
	for id, refusal := range out.Refused {
		if r.Refused == nil {
			r.Refused = map[string]Refusal{}
		}
		r.Refused[id] = refusal
	}
	if f.Left && len(out.Unfinished) == 0 && !out.Waiting {
		r = r.Lasting() // taken back: nothing on it is ours any more
	}
	c.PFs[f.Address] = r
	return c
}

// Proven returns the state with every PF of p that was seen to be no uplink
// recorded as safe under the document with the hash, and whether that is news.
// A PF that turned out to be an uplink loses its record.
func (s State) Proven(p *Plan, hash string) (State, bool) {
	c, news := s.Clone(), false
	for i := range p.PFs {
		f := &p.PFs[i]
		want := ""
		switch {
		case f.Safe:
			want = hash
		case !f.Uplink:
			continue
		}
		r := c.of(f)
		if r.SafeSpec == want {
			continue
		}
		r.SafeSpec, news = want, true
		c.PFs[f.Address] = r
	}
	return c, news
}

// remembered is how many orders of a PF are kept.
const remembered = 16

// Obeyed returns the state with the orders recorded that the document gives for
// PFs that are as it says, and these PFs. When the record was lost, every order of
// the document counts as carried out: it may have been, and pods are not taken
// their VFs twice. Without a document there is nothing to compare a later one
// with, and the record stays lost.
func (s State) Obeyed(p *Plan) (State, []string) {
	c := s.Clone()
	if s.Lost && !p.Document {
		return c, nil
	}
	if s.Lost {
		c.Lost, c.Spent = false, union(s.Spent, p.Orders)
	}
	var done []string
	for i := range p.PFs {
		f := &p.PFs[i]
		open := len(f.Steps) > 0 || slices.ContainsFunc(f.Problems, func(pr Problem) bool { return !pr.Partial })
		if f.Order == "" || open && !s.Lost {
			continue
		}
		r := c.of(f)
		if slices.Contains(r.Forced, f.Order) {
			continue
		}
		r.Forced = append(slices.Clone(r.Forced[max(0, len(r.Forced)-remembered+1):]), f.Order)
		c.PFs[f.Address] = r
		done = append(done, f.Address)
	}
	return c, done
}

// orders are the orders that the document gives, each once.
func orders(c *spec.Config) []string {
	var out []string
	for i := range c.PhysicalFunctions {
		if o := c.PhysicalFunctions[i].Force; o != "" && !slices.Contains(out, o) {
			out = append(out, o)
		}
	}
	return out
}

// of returns the PF's record, a new one when it is about another card.
func (s State) of(f *PFPlan) PFState {
	r := s.For(f.Address, f.Found.Device, f.Found.PermMAC, s.BootID)
	r.Device = f.Found.Device
	if f.Found.PermMAC != "" {
		r.PermMAC = f.Found.PermMAC
	}
	return r
}
