package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

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
		Long: `status shows, for each node: whether the extension runs, which config is in
force and whether the newest one was accepted, its PFs, its pools and who holds
their devices, and everything that is wrong with what to do about it.

It needs os:admin; with os:reader only the service is seen. The exit code is 1
when something is wrong on a node.`,
		Example: "  sriovctl status -n 10.5.0.3,10.5.0.4\n  sriovctl status -n 10.5.0.3 --watch",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if watch {
				return a.watch(c.Context(), interval, devices)
			}
			answers, err := forEach(c.Context(), a, readStatus)
			if err != nil {
				return err
			}
			return a.showStatus(answers, devices)
		},
	}
	c.Flags().BoolVarP(&watch, "watch", "w", false, "show it again whenever it changes, until interrupted")
	c.Flags().DurationVar(&interval, "interval", 2*time.Second, "how often --watch looks")
	c.Flags().BoolVar(&devices, "devices", false, "list every device of the pools")
	a.outputFlag(c)
	return c
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

func (a *app) showStatus(answers []oneNode[*nodeStatus], devices bool) error {
	return show(a, answers, healthy, func(w io.Writer, s *nodeStatus) error { return a.statusText(w, s, devices) })
}

func healthy(n *nodeStatus) bool {
	if !n.Service.Installed || n.Service.State != "Running" {
		return false
	}
	if n.Status == nil {
		return len(n.Notes) > 0 // the role does not allow to see more
	}
	return n.Status.Healthy()
}

func (a *app) statusText(w io.Writer, n *nodeStatus, devices bool) error {
	service := "not installed"
	if n.Service.Installed {
		service = strings.ToLower(n.Service.State)
		if n.Service.State != "Running" && n.Service.Message != "" {
			service += ": " + n.Service.Message
		}
	}
	tone := status.Bad
	if n.Service.State == "Running" {
		tone = status.Good
	}
	fmt.Fprintf(w, "%s: extension %s\n", n.Node, a.tone(tone, service))
	for _, note := range n.Notes {
		fmt.Fprintf(w, "  note: %s\n", note)
	}
	if n.Status == nil {
		return nil
	}
	return status.Text(w, n.Status, status.TextOptions{Devices: devices, Paint: a.tone})
}

// tone paints a part of a status.
func (a *app) tone(t status.Tone, s string) string {
	switch t {
	case status.Good:
		return a.paint(green, s)
	case status.Uncertain:
		return a.paint(yellow, s)
	}
	return a.paint(red, s)
}

// watch shows the status whenever it changed. There is no event to wait for:
// the API can only be asked.
func (a *app) watch(ctx context.Context, interval time.Duration, devices bool) error {
	ticker := time.NewTicker(max(interval, 100*time.Millisecond))
	defer ticker.Stop()
	var last []byte
	for {
		answers, err := forEach(ctx, a, readStatus)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		var b bytes.Buffer
		shown := *a
		shown.out, shown.err = &b, &b
		_ = shown.showStatus(answers, devices) // what is wrong is in b, and watching goes on
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
