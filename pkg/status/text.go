package status

import (
	"cmp"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/talos-sriov/talos-sriov/pkg/install/outcome"
	"github.com/talos-sriov/talos-sriov/pkg/use/holder"
)

// Tone is how good the news of a text is; a terminal shows it as a colour.
type Tone int

const (
	Good Tone = iota
	Uncertain
	Bad
)

// TextOptions are what a reader wants of the text.
type TextOptions struct {
	// Devices lists every device of the pools, also those that are free and
	// healthy.
	Devices bool
	// Paint marks a part of the text; nil leaves it as it is.
	Paint func(Tone, string) string
}

// text is one status on its way to a reader.
type text struct {
	w io.Writer
	o TextOptions
}

func (t *text) line(format string, args ...any) { fmt.Fprintf(t.w, format+"\n", args...) }

// table is one after an empty line, with its head.
func (t *text) table(head string) *tabwriter.Writer {
	t.line("")
	tw := tabwriter.NewWriter(t.w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "  "+head)
	return tw
}

func (t *text) paint(tone Tone, s string) string {
	if t.o.Paint == nil {
		return s
	}
	return t.o.Paint(tone, s)
}

// Text writes the status for people, indented by two spaces.
func Text(w io.Writer, s *Status, o TextOptions) error {
	t := &text{w: w, o: o}
	t.spec(&s.Spec)
	t.cni(s.CNI)
	t.orphans(s.Orphans)
	for i := range s.Problems {
		t.problem("  ", &s.Problems[i])
	}
	for i := range s.Notices {
		t.line("  note: %s", s.Notices[i].Msg)
	}
	if err := t.pfs(s.PFs); err != nil {
		return err
	}
	return t.pools(s.Pools)
}

// ProblemText writes a problem, as [Text] does.
func ProblemText(w io.Writer, indent string, p *Problem, o TextOptions) {
	(&text{w: w, o: o}).problem(indent, p)
}

// word is yes or no as b is.
func word(b bool, yes, no string) string {
	if b {
		return yes
	}
	return no
}

func (t *text) problem(indent string, p *Problem) {
	mark := word(p.Pending, t.paint(Uncertain, "."), t.paint(Bad, "!"))
	t.line("%s%s %s", indent, mark, p.Msg)
	if p.Hint != "" {
		t.line("%s  hint: %s", indent, p.Hint)
	}
}

func (t *text) spec(s *Spec) {
	switch s.State {
	case SpecAccepted:
		t.line("  config %s is in force", short(s.InForce))
	case SpecPartly:
		t.line("  config %s is in force, %s", short(s.InForce), t.paint(Uncertain, "but not on every PF"))
	case SpecAbsent:
		t.line("  no config: the node is not configured")
	case SpecRefused:
		t.line("  %s", t.paint(Bad, "the newest config "+short(s.Hash)+" was refused"))
		if s.InForce != "" {
			t.line("  config %s stays in force", short(s.InForce))
		}
	case SpecUnknown, "":
		t.line("  it is not known yet whether there is a config")
	default: // of a newer daemon
		t.line("  config %s: %s", short(s.Hash), t.paint(Uncertain, string(s.State)))
		if s.InForce != "" {
			t.line("  config %s is in force", short(s.InForce))
		}
	}
	for i := range s.Errors {
		e := &s.Errors[i]
		where := ""
		if e.Pos.Line > 0 {
			where = fmt.Sprintf("line %d, column %d: ", e.Pos.Line, e.Pos.Column)
		}
		if e.Path != "" {
			where += e.Path + ": "
		}
		t.problem("  ", &Problem{Msg: where + e.Msg, Hint: e.Hint})
	}
}

func short(hash string) string { return hash[:min(len(hash), 12)] }

// cni is what is installed as the CNI plugin, and whose it is.
func (t *text) cni(c *CNI) {
	if c == nil {
		return
	}
	what := string(c.Owner) // of a newer daemon
	switch c.Owner {
	case outcome.Extension:
		what = "the extension's, version " + c.Version
	case outcome.Other:
		what = "not the extension's"
	case outcome.Nobody:
		what = "none"
	case outcome.Unknown, "":
		what = "not known yet"
	}
	if c.State == outcome.Off {
		what += " (turned off)"
	}
	t.line("  CNI plugin %s: %s", c.Path, what)
	if c.Reason != "" {
		t.problem("  ", &Problem{Msg: c.Reason, Hint: c.Hint, Pending: c.State != outcome.Failed})
	}
}

// orphans is what pods that are gone have left.
func (t *text) orphans(o *Orphans) {
	if o == nil {
		return
	}
	if o.Returned > 0 {
		t.line("  note: reclaimed from pods that ended without the CNI plugin's DEL, since the service started: %d", o.Returned)
	}
	for i := range o.Pending {
		p := &o.Pending[i]
		what := p.Device
		if p.Attachment != "" {
			what += " (" + p.Attachment + ")"
		}
		t.problem("  ", &Problem{Msg: what + " was left by a pod that is gone: " + p.Reason, Pending: true})
	}
}

func (t *text) pfs(pfs []PF) error {
	if len(pfs) == 0 {
		return nil
	}
	tw := t.table("PF\tPCI\tDRIVER\tSTATE\tVFS\tLINK")
	for i := range pfs {
		pf := &pfs[i]
		vfs := fmt.Sprintf("%d of %d", pf.Actual.NumVFs, pf.Actual.TotalVFs)
		if pf.Desired.NumVFs != nil && *pf.Desired.NumVFs != pf.Actual.NumVFs {
			vfs += fmt.Sprintf(", wants %d", *pf.Desired.NumVFs)
		}
		link := word(pf.Actual.Carrier, "up", "down")
		fmt.Fprintf(tw, "  %s\t%s\t%s\t%s\t%s\t%s\n", pf.Name, pf.Address, cmp.Or(pf.Driver, "-"), pf.State, vfs, link)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for i := range pfs {
		t.pf(&pfs[i])
	}
	return nil
}

func (t *text) pf(pf *PF) {
	for i := range pf.Errors {
		t.problem("  "+pf.Name+": ", &pf.Errors[i])
	}
	for i := range pf.Notices {
		t.line("  %s: note: %s", pf.Name, pf.Notices[i].Msg)
	}
	if pf.Drift > 0 {
		t.line("  %s: note: changed by somebody else, and repaired, since the service started: %d", pf.Name, pf.Drift)
	}
	for i := range pf.Steps {
		if s := &pf.Steps[i]; len(s.Wait) > 0 {
			t.line("  %s: %s waits for %s", pf.Name, s.Object, holder.Names(s.Wait))
		}
	}
}

func (t *text) pools(pools []Pool) error {
	if len(pools) == 0 {
		return nil
	}
	tw := t.table("RESOURCE\tDEVICES\tHEALTHY\tHELD\tKUBELET")
	for i := range pools {
		p := &pools[i]
		held := 0
		for j := range p.Members {
			if p.Members[j].InUse() == UseHeld {
				held++
			}
		}
		registered := word(p.Registered, "registered", "not registered")
		fmt.Fprintf(tw, "  %s\t%d\t%d\t%d\t%s\n", p.ResourceName, p.Devices, p.Healthy, held, registered)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for i := range pools {
		p := &pools[i]
		if p.Error != "" {
			t.line("  %s %s: %s", t.paint(Bad, "!"), p.ResourceName, p.Error)
		}
		for j := range p.Members {
			if d := &p.Members[j]; t.o.Devices || !d.Healthy || d.InUse() != UseFree {
				t.line("  %s %s", d.ID, deviceText(d))
			}
		}
	}
	return nil
}

// deviceText is whether a device is free, who has it, and why it is unhealthy.
func deviceText(d *Device) string {
	state := useText(d)
	if d.Healthy {
		return state
	}
	state += ", unhealthy"
	if why := cmp.Or(d.Reason.Text, d.Reason.Cause); why != "" {
		state += ": " + why
	}
	return state
}

func useText(d *Device) string {
	switch d.InUse() {
	case UseFree:
		return "free"
	case UseHeld:
		return "held by " + cmp.Or(holder.Names(d.Holders), "a holder that the node does not name")
	}
	return "not known to be free, counts as in use: " + cmp.Or(holder.Names(d.Holders), d.UnknownText())
}

// UnknownText is why it is not known whether d is free, when the node names
// nothing that did not answer.
func (d *Device) UnknownText() string {
	switch d.Use {
	case "":
		return "the extension on the node is too old to say whether it is free"
	case UseUnknown, UseFree, UseHeld:
		return "the node does not know who has it"
	}
	return fmt.Sprintf("the node says %q, which this sriovctl does not know", d.Use)
}
