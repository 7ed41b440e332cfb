package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/talos"
)

var (
	errNotConfirmed = errors.New("not confirmed: nothing was changed")
	errInterrupted  = errors.New("interrupted")
)

// answer is a line that a person typed.
type answer struct {
	text string
	err  error
}

// question asks and returns the line that is typed. The line is read beside, so
// that an interrupt is not kept waiting for it: reading is left behind then, and
// nobody asks again.
func (a *app) question(ctx context.Context, w io.Writer, text string) (string, error) {
	fmt.Fprintf(w, "%s ", text)
	if a.lines == nil {
		a.lines = bufio.NewReader(a.in)
	}
	typed := make(chan answer, 1)
	go func() {
		line, err := a.lines.ReadString('\n')
		if line != "" {
			err = nil // the last line may have no end
		}
		typed <- answer{strings.TrimSpace(line), err}
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(w)
		return "", errInterrupted
	case line := <-typed:
		return line.text, line.err
	}
}

// until asks until take accepts the answer, and says what was wrong with others.
func (a *app) until(ctx context.Context, text string, take func(string) error) error {
	for {
		line, err := a.question(ctx, a.err, text)
		switch {
		case errors.Is(err, io.EOF):
			fmt.Fprintln(a.err)
			return &talos.Error{Msg: "no answer", Hint: "--pf, --vfs and --resource say it without being asked"}
		case err != nil:
			return err
		}
		err = take(line)
		if err == nil {
			return nil
		}
		fmt.Fprintf(a.err, "%s %v\n", a.paint(yellow, "!"), err)
	}
}

// ask asks for what the flags do not say, when there is somebody to ask.
func (a *app) ask(ctx context.Context, w *patchRequest, found []*talos.Discovery) error {
	if !a.interactive || len(found) == 0 {
		return nil
	}
	var pfs []talos.DiscoveryPF
	for _, d := range found {
		pfs = append(pfs, d.PFs...)
	}
	if len(pfs) == 0 {
		return nil // choose says it
	}
	if len(w.pfs) == 0 {
		if err := discoveryTable(a.err, found); err != nil {
			return err
		}
		fmt.Fprintln(a.err)
		if err := a.until(ctx, "which PFs (names or PCI addresses, separated by commas)?", func(s string) error { return w.takePFs(s, pfs) }); err != nil {
			return err
		}
	}
	chosen := slices.DeleteFunc(slices.Clone(pfs), func(pf talos.DiscoveryPF) bool { return !w.names(&pf) })
	if w.vfs == 0 {
		if err := a.until(ctx, "how many VFs on each?", func(s string) error { return w.takeVFs(s, chosen) }); err != nil {
			return err
		}
	}
	if w.resource == "" {
		if err := a.until(ctx, "which resource name, as vendor.com/name?", w.takeResource); err != nil {
			return err
		}
	}
	for i := range chosen {
		if pf := &chosen[i]; pf.Uplink != "" && !w.uplink {
			text := fmt.Sprintf("%s is an uplink of the node: it %s. VFs on it anyway? [y/N]", dash(pf.Name), pf.Uplink)
			if err := a.until(ctx, text, func(s string) error { w.uplink = yes(s); return nil }); err != nil {
				return err
			}
		}
	}
	return nil
}

// names reports whether the PF is requested.
func (w *patchRequest) names(pf *talos.DiscoveryPF) bool {
	return slices.ContainsFunc(w.pfs, func(name string) bool { return name == pf.Name || name == pf.Address })
}

func (w *patchRequest) takePFs(line string, there []talos.DiscoveryPF) error {
	var names []string
	for name := range strings.FieldsFuncSeq(line, func(r rune) bool { return r == ',' || r == ' ' }) {
		if !slices.ContainsFunc(there, func(pf talos.DiscoveryPF) bool { return name == pf.Name || name == pf.Address }) {
			return fmt.Errorf("there is no %q in the list above", name)
		}
		names = append(names, name)
	}
	if len(names) == 0 {
		return fmt.Errorf("name at least one, %s for example", cmp.Or(there[0].Name, there[0].Address))
	}
	w.pfs = names
	return nil
}

func (w *patchRequest) takeVFs(line string, chosen []talos.DiscoveryPF) error {
	n, err := strconv.Atoi(line)
	if err != nil || n <= 0 {
		return fmt.Errorf("%q is no number of VFs: 1 or more", line)
	}
	for i := range chosen {
		if pf := &chosen[i]; pf.TotalVFs != nil && n > *pf.TotalVFs {
			return fmt.Errorf("%s can have %d at most", cmp.Or(pf.Name, pf.Address), *pf.TotalVFs)
		}
	}
	w.vfs = n
	return nil
}

// takeResource lets the decoder of the config judge the name.
func (w *patchRequest) takeResource(line string) error {
	trial := *w
	trial.resource, trial.vfs = line, max(w.vfs, 1)
	_, err := trial.config(nil)
	if errs, ok := errors.AsType[*spec.Errors](err); ok {
		return fmt.Errorf("%q: %s", line, errs.List[0].Msg)
	}
	if line == "" {
		return errors.New("give it a name: pods ask for it by this name")
	}
	if err == nil {
		w.resource = line
	}
	return err
}

func yes(s string) bool { return slices.Contains([]string{"y", "yes"}, strings.ToLower(s)) }

// confirm asks before nodes are changed.
func (a *app) confirm(ctx context.Context, nodes int) error {
	if !a.interactive {
		return &talos.Error{Msg: errNotConfirmed.Error(), Hint: "there is no terminal to ask on; --yes does not ask"}
	}
	line, err := a.question(ctx, a.err, fmt.Sprintf("\napply this to %d node(s)? [y/N]", nodes))
	if err != nil || !yes(line) {
		return errNotConfirmed
	}
	return nil
}
