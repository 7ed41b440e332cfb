package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/talos-sriov/talos-sriov/pkg/plan"
	"github.com/talos-sriov/talos-sriov/pkg/status"
	"github.com/talos-sriov/talos-sriov/pkg/talos"
)

// nodeStatus is how one node is.
type nodeStatus struct {
	Node    string         `json:"node" yaml:"node"`
	Service talos.Service  `json:"service" yaml:"service"`
	Status  *status.Status `json:"status,omitempty" yaml:"status,omitempty"`
	Notes   []string       `json:"notes,omitempty" yaml:"notes,omitempty"`
}

func (a *app) status() *cobra.Command {
	var watch bool
	var interval time.Duration
	var devices bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Show how nodes are",
		Long: `status shows, for each node: whether the extension runs, which document is in
force and whether the newest one was accepted, its PFs, its pools and who holds
their devices, and everything that is wrong with what to do about it.

It needs os:admin; with os:reader only the service is seen. The exit code is 1
when something is wrong on a node.`,
		Example: "  sriovctl status -n 10.5.0.3,10.5.0.4\n  sriovctl status -n 10.5.0.3 --watch",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := a.checkOutput(); err != nil {
				return err
			}
			if watch {
				return a.watch(c.Context(), interval, devices)
			}
			answers, err := a.statusAll(c.Context())
			if err != nil {
				return err
			}
			return a.showStatus(a.out, answers, devices)
		},
	}
	c.Flags().BoolVarP(&watch, "watch", "w", false, "show it again whenever it changes, until interrupted")
	c.Flags().DurationVar(&interval, "interval", 2*time.Second, "how often --watch looks")
	c.Flags().BoolVar(&devices, "devices", false, "list every device of the pools")
	a.outputFlag(c)
	return c
}

func (a *app) statusAll(ctx context.Context) ([]oneNode[*nodeStatus], error) {
	return forEach(ctx, a, readStatus)
}

func readStatus(ctx context.Context, n *talos.Node) (*nodeStatus, error) {
	out := &nodeStatus{Node: n.Name}
	var err error
	if out.Service, err = n.Service(ctx); err != nil {
		return nil, err
	}
	out.Status, err = n.Status(ctx)
	switch {
	case talos.Denied(err):
		out.Notes = append(out.Notes, "more than the service is seen with os:admin only")
	case err != nil:
		return nil, err
	case !out.Service.Installed:
		out.Notes = append(out.Notes, "the extension is not installed: docs/install.md says how")
	case out.Status == nil:
		out.Notes = append(out.Notes, "the extension has written no status yet: sriovctl logs says more")
	}
	return out, nil
}

func (a *app) showStatus(w io.Writer, answers []oneNode[*nodeStatus], devices bool) error {
	list := []*nodeStatus{}
	bad := false
	for _, n := range answers {
		if n.err == nil {
			list = append(list, n.value)
			bad = bad || !healthy(n.value)
		}
	}
	old := a.out
	a.out = w
	err := a.write(list, func(w io.Writer) error {
		for i, s := range list {
			if i > 0 {
				fmt.Fprintln(w)
			}
			if err := a.statusText(w, s, devices); err != nil {
				return err
			}
		}
		return nil
	})
	a.out = old
	if err != nil {
		return err
	}
	if err := failures(a, answers); err != nil {
		return err
	}
	if bad {
		return errFailed
	}
	return nil
}

func healthy(n *nodeStatus) bool {
	if !n.Service.Installed || n.Service.State != "Running" {
		return false
	}
	s := n.Status
	if s == nil {
		return len(n.Notes) > 0 // the role does not allow to see more
	}
	if s.Spec.State == status.SpecRefused || s.Spec.State == status.SpecPartly || len(s.Problems) > 0 {
		return false
	}
	if s.CNI != nil && s.CNI.State == "failed" {
		return false
	}
	for i := range s.PFs {
		if s.PFs[i].State == status.PFFailed {
			return false
		}
	}
	for i := range s.Pools {
		if s.Pools[i].Error != "" {
			return false
		}
	}
	return true
}

func (a *app) statusText(w io.Writer, n *nodeStatus, devices bool) error {
	service := "not installed"
	if n.Service.Installed {
		service = strings.ToLower(n.Service.State)
		if n.Service.State != "Running" && n.Service.Message != "" {
			service += ": " + n.Service.Message
		}
	}
	color := red
	if n.Service.State == "Running" {
		color = green
	}
	fmt.Fprintf(w, "%s: extension %s\n", n.Node, a.paint(color, service))
	for _, note := range n.Notes {
		fmt.Fprintf(w, "  note: %s\n", note)
	}
	s := n.Status
	if s == nil {
		return nil
	}
	a.specText(w, &s.Spec)
	a.cniText(w, s.CNI)
	a.orphansText(w, s.Orphans)
	for _, p := range s.Problems {
		a.problem(w, "  ", p)
	}
	for _, p := range s.Notices {
		fmt.Fprintf(w, "  note: %s\n", p.Msg)
	}
	if len(s.PFs) > 0 {
		fmt.Fprintln(w)
		tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(tw, "  PF\tPCI\tDRIVER\tSTATE\tVFS\tLINK")
		for i := range s.PFs {
			pf := &s.PFs[i]
			vfs := fmt.Sprintf("%d of %d", pf.Actual.NumVFs, pf.Actual.TotalVFs)
			if pf.Desired.NumVFs != nil && *pf.Desired.NumVFs != pf.Actual.NumVFs {
				vfs += fmt.Sprintf(", wants %d", *pf.Desired.NumVFs)
			}
			up := "down"
			if pf.Actual.Carrier {
				up = "up"
			}
			fmt.Fprintf(tw, "  %s\t%s\t%s\t%s\t%s\t%s\n", pf.Name, pf.Address, dash(pf.Driver), pf.State, vfs, up)
		}
		if err := tw.Flush(); err != nil {
			return err
		}
		for i := range s.PFs {
			a.pfText(w, &s.PFs[i])
		}
	}
	return a.poolsText(w, s.Pools, devices)
}

// cniText says what is installed as the CNI plugin, and whose it is.
func (a *app) cniText(w io.Writer, c *status.CNI) {
	if c == nil {
		return
	}
	what := "the extension's, version " + c.Version
	switch c.Owner {
	case "other":
		what = "not the extension's"
	case "nobody":
		what = "none"
	case "unknown":
		what = "not known yet"
	}
	if c.State == "off" {
		what += " (turned off)"
	}
	fmt.Fprintf(w, "  CNI plugin %s: %s\n", c.Path, what)
	if c.Reason == "" {
		return
	}
	switch c.State {
	case "failed":
		a.problem(w, "  ", plan.Problem{Msg: c.Reason, Hint: c.Hint})
	default:
		a.problem(w, "  ", plan.Problem{Msg: c.Reason, Hint: c.Hint, Pending: true})
	}
}

// orphansText says what pods that are gone have left.
func (a *app) orphansText(w io.Writer, o *status.Orphans) {
	if o == nil {
		return
	}
	if o.Returned > 0 {
		fmt.Fprintf(w, "  note: taken back from pods that ended without the CNI plugin's DEL, since the service started: %d\n", o.Returned)
	}
	for _, p := range o.Pending {
		what := p.Device
		if p.Attachment != "" {
			what += " (" + p.Attachment + ")"
		}
		a.problem(w, "  ", plan.Problem{Msg: what + " was left by a pod that is gone: " + p.Reason, Pending: true})
	}
}

func (a *app) specText(w io.Writer, s *status.Spec) {
	switch s.State {
	case status.SpecAccepted:
		fmt.Fprintf(w, "  document %s is in force\n", short(s.InForce))
	case status.SpecPartly:
		fmt.Fprintf(w, "  document %s is in force, %s\n", short(s.InForce), a.paint(yellow, "but not on every PF"))
	case status.SpecAbsent:
		fmt.Fprintf(w, "  no document: the node is not configured\n")
	case status.SpecRefused:
		fmt.Fprintf(w, "  %s\n", a.paint(red, "the newest document "+short(s.Hash)+" was refused"))
		if s.InForce != "" {
			fmt.Fprintf(w, "  document %s stays in force\n", short(s.InForce))
		}
	default:
		fmt.Fprintf(w, "  it is not known yet whether there is a document\n")
	}
	for _, e := range s.Errors {
		where := ""
		if e.Pos.Line > 0 {
			where = fmt.Sprintf("line %d, column %d: ", e.Pos.Line, e.Pos.Column)
		}
		if e.Path != "" {
			where += e.Path + ": "
		}
		a.problem(w, "  ", plan.Problem{Msg: where + e.Msg, Hint: e.Hint})
	}
}

func short(hash string) string { return hash[:min(len(hash), 12)] }

func (a *app) problem(w io.Writer, indent string, p plan.Problem) {
	mark := a.paint(red, "!")
	if p.Pending {
		mark = a.paint(yellow, ".")
	}
	fmt.Fprintf(w, "%s%s %s\n", indent, mark, p.Msg)
	if p.Hint != "" {
		fmt.Fprintf(w, "%s  hint: %s\n", indent, p.Hint)
	}
}

func (a *app) pfText(w io.Writer, pf *status.PF) {
	for _, p := range pf.Errors {
		a.problem(w, "  "+pf.Name+": ", p)
	}
	for _, p := range pf.Notices {
		fmt.Fprintf(w, "  %s: note: %s\n", pf.Name, p.Msg)
	}
	if pf.Drift > 0 {
		fmt.Fprintf(w, "  %s: note: changed by somebody else, and repaired, since the service started: %d\n", pf.Name, pf.Drift)
	}
	for _, step := range pf.Steps {
		if len(step.Wait) > 0 {
			var names []string
			for _, h := range step.Wait {
				names = append(names, h.String())
			}
			fmt.Fprintf(w, "  %s: %s waits for %s\n", pf.Name, step.Path, strings.Join(names, ", "))
		}
	}
}

func (a *app) poolsText(w io.Writer, pools []status.Pool, devices bool) error {
	if len(pools) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "  RESOURCE\tDEVICES\tHEALTHY\tHELD\tKUBELET")
	for i := range pools {
		p := &pools[i]
		held := 0
		for j := range p.Members {
			if p.Members[j].InUse() == status.UseHeld {
				held++
			}
		}
		registered := "registered"
		if !p.Registered {
			registered = "not registered"
		}
		fmt.Fprintf(tw, "  %s\t%d\t%d\t%d\t%s\n", p.ResourceName, p.Devices, p.Healthy, held, registered)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for i := range pools {
		p := &pools[i]
		if p.Error != "" {
			fmt.Fprintf(w, "  %s %s: %s\n", a.paint(red, "!"), p.ResourceName, p.Error)
		}
		for j := range p.Members {
			m := &p.Members[j]
			if !devices && m.Healthy && m.InUse() == status.UseFree {
				continue
			}
			state := deviceUse(m)
			if !m.Healthy {
				state += ", unhealthy"
				if m.Reason != "" {
					state += ": " + m.Reason
				}
			}
			fmt.Fprintf(w, "  %s %s\n", m.ID, state)
		}
	}
	return nil
}

// deviceUse says whether a device is free, and who has it.
func deviceUse(m *status.Device) string {
	switch m.InUse() {
	case status.UseFree:
		return "free"
	case status.UseHeld:
		return "held by " + cmp.Or(m.Holder, "a holder that the node does not name")
	}
	return "not known to be free, counts as in use: " + cmp.Or(m.Holder, "the extension is too old to say")
}

// watch shows the status whenever it changed. There is no event to wait for:
// the API can only be asked.
func (a *app) watch(ctx context.Context, interval time.Duration, devices bool) error {
	ticker := time.NewTicker(max(interval, 100*time.Millisecond))
	defer ticker.Stop()
	var last []byte
	for {
		answers, err := a.statusAll(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		var b bytes.Buffer
		errOut := a.err
		a.err = &b
		_ = a.showStatus(&b, answers, devices) // what is wrong is in b, and watching goes on
		a.err = errOut
		if !bytes.Equal(b.Bytes(), last) {
			if last != nil {
				fmt.Fprintf(a.out, "\n--- %s\n", a.now().Format(time.TimeOnly))
			}
			if _, err := a.out.Write(b.Bytes()); err != nil {
				return err
			}
			last = b.Bytes()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}
