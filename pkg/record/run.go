package record

import "slices"

// Run is a run of the plan of one PF, as far as the record is about it.
type Run struct {
	Card Card
	// Found is what the PF is before the run: what a reset has to bring back if it
	// is the first that changes the PF.
	Found Made
	// Reset is true when the run undoes what was made of a PF that left the config.
	Reset bool
	// Intents are those of all steps of the plan.
	Intents []Intent
}

// Intent is what one step is about to do.
type Intent struct {
	ID string // of the step
	// Attribute is true when the step is about an attribute of a VF, which the
	// kernel may not report: whether the write had its effect is not seen later.
	Attribute bool
	// Setting is what the step makes Value of, "" when no reset would bring back what
	// was there before.
	Setting Setting
	// Overrides are the VFs whose driver_override becomes Value.
	Overrides []int
	Value     string
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

// Begin returns the record with the intent to run the steps with the IDs: what the
// PF was like before its first change of this boot, and what the steps write.
func (r Record) Begin(run Run, ids []string) Record {
	c := r.Clone()
	f := c.now(run.Card)
	if f.Made == nil {
		f.Made = run.Found.clone()
	}
	var open []string
	for i := range run.Intents {
		in := &run.Intents[i]
		if !slices.Contains(ids, in.ID) {
			continue
		}
		if in.Attribute {
			open = append(open, in.ID)
		}
		if !run.Reset { // what a reset writes is what was there before
			f.Made.intend(in)
		}
	}
	// What an earlier run left open stays so until it is known to be done.
	f.Open = union(open, f.Open)
	c.PFs[run.Card.Address] = f
	return c
}

// End returns the record with the PF's run over, and its outcome recorded.
func (r Record) End(run Run, out Outcome) Record {
	c := r.Clone()
	f := c.now(run.Card)
	var open []string
	planned := map[string]bool{}
	for i := range run.Intents {
		in := &run.Intents[i]
		planned[in.ID] = true
		if in.Attribute && slices.Contains(out.Unfinished, in.ID) {
			open = append(open, in.ID)
		}
	}
	for _, id := range f.Open {
		// What this plan did not come to is as open as before.
		if !planned[id] {
			open = append(open, id)
		}
	}
	f.Open = open
	f.Refused = with(f.Refused, out.Refused)
	if run.Reset && len(out.Unfinished) == 0 && !out.Waiting {
		f = f.Lasting() // nothing that was made is left
	}
	c.PFs[run.Card.Address] = f
	return c
}

// intend records what a step is about to write.
func (m *Made) intend(in *Intent) {
	for _, vf := range in.Overrides {
		m.override(vf, in.Value)
	}
	was := m.Wrote[in.Setting]
	if in.Setting == "" || len(was) > 0 && was[len(was)-1] == in.Value {
		return
	}
	if m.Wrote == nil {
		m.Wrote = map[Setting][]string{}
	}
	m.Wrote[in.Setting] = append(slices.Clone(was[max(0, len(was)-1):]), in.Value)
}

func (m *Made) override(vf int, value string) {
	if m.Overrides == nil {
		m.Overrides = map[int]string{}
	}
	m.Overrides[vf] = value
}
