package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/talos-sriov/talos-sriov/pkg/printable"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/talos"
)

// Exit codes.
const (
	exitOK    = 0
	exitError = 1 // something is wrong: a config, a node, an answer
	exitUsage = 2 // the command line is wrong
)

// app is what the commands share.
type app struct {
	in io.Reader
	// out and err are for people: what a node or a file says is printed as
	// [printable.Text]. file and screen are what they write to: file takes patches
	// byte by byte, screen what moves the cursor.
	out, err     io.Writer
	file, screen io.Writer
	// mark begins and ends colours on their way to out and err. Nobody else knows it.
	mark string
	now  func() time.Time
	// interactive: there is a person to ask, who reads the error output. progress:
	// the error output is a terminal. color: the output is one.
	interactive, progress, color bool
	lines                        *bufio.Reader // of in, once a person was asked

	options talos.Options
	timeout time.Duration
	output  string
}

// usageError is an error of the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// errFailed is an error that has been reported already.
var errFailed = errors.New("failed")

func (a *app) run(ctx context.Context, args []string) int {
	a.open()
	root := a.root()
	root.SetArgs(args)
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	err := root.ExecuteContext(ctx)
	var usage usageError
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errFailed):
		return exitError
	case errors.As(err, &usage):
		a.report(usage.error)
		fmt.Fprintf(a.err, "hint: sriovctl help says more\n")
		return exitUsage
	}
	a.report(err)
	return exitError
}

// open puts what makes texts harmless before the outputs.
func (a *app) open() {
	a.file, a.screen, a.mark = a.out, a.err, rand.Text()
	var colors []string
	for _, c := range []string{red, green, yellow, plain} {
		colors = append(colors, a.mark+c+";", "\x1b["+c+"m")
	}
	r := strings.NewReplacer(colors...)
	a.out, a.err = printable.NewWriter(&painter{a.file, r}), printable.NewWriter(&painter{a.screen, r})
}

// painter turns the marks of colours into those of a terminal.
type painter struct {
	w io.Writer
	r *strings.Replacer
}

func (p *painter) Write(b []byte) (int, error) {
	if _, err := p.r.WriteString(p.w, string(b)); err != nil {
		return 0, err
	}
	return len(b), nil
}

// report writes an error with what to do about it.
func (a *app) report(err error) {
	var joined interface{ Unwrap() []error }
	var errs *spec.Errors
	if errors.As(err, &joined) && !errors.As(err, &errs) {
		for _, e := range joined.Unwrap() {
			a.report(e)
		}
		return
	}
	fmt.Fprintf(a.err, "%s %v\n", a.paint(red, "error:"), err)
	if e, ok := errors.AsType[*talos.Error](err); ok && e.Hint != "" {
		fmt.Fprintf(a.err, "hint: %s\n", e.Hint)
	}
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "sriovctl",
		Short: "SR-IOV on Talos Linux nodes, from your workstation",
		Long: `sriovctl looks at and configures SR-IOV on Talos Linux nodes, through the Talos
API and your talosconfig alone: nothing else is installed anywhere.`,
		Example: `  sriovctl discover -n 10.5.0.3
  sriovctl generate patch -n 10.5.0.3 --pf enp1s0f0np0 --vfs 4 --resource nvidia.com/cx7 > vfs.yaml
  sriovctl plan vfs.yaml -n 10.5.0.3
  sriovctl apply vfs.yaml -n 10.5.0.3`,
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	f := root.PersistentFlags()
	f.StringSliceVarP(&a.options.Nodes, "nodes", "n", nil, "nodes to look at (default: those of the talosconfig)")
	f.StringSliceVarP(&a.options.Endpoints, "endpoints", "e", nil, "Talos endpoints (default: those of the talosconfig)")
	f.StringVar(&a.options.Config, "talosconfig", "", "`file` to use (default: TALOSCONFIG, ~/.talos/config)")
	f.StringVar(&a.options.Context, "context", "", "context of the talosconfig (default: its current)")
	f.DurationVar(&a.timeout, "timeout", 30*time.Second, "how long to wait for a node")
	root.AddCommand(a.discover(), a.generate(), a.validate(), a.plan(), a.apply(), a.status(), a.logs(), a.convert())
	// The commands' own help is cobra's.
	usual := root.UsageFunc()
	root.SetUsageFunc(func(c *cobra.Command) error {
		if c.HasParent() {
			return usual(c)
		}
		return rootUsage(c)
	})
	for _, c := range root.Commands() {
		c.DisableFlagsInUseLine = true
	}
	return root
}

// rootUsage writes what fits, with what the root says of itself, a screen of 24
// lines.
func rootUsage(root *cobra.Command) error {
	w := root.OutOrStderr()
	fmt.Fprintf(w, "Usage: sriovctl COMMAND [flags]\n\n")
	for _, c := range root.Commands() {
		if c.Name() != "help" {
			fmt.Fprintf(w, "  %-11s %s\n", c.Name(), c.Short)
		}
	}
	_, err := fmt.Fprintf(w, "\n%s\nFor example: sriovctl discover -n 10.5.0.3; sriovctl COMMAND --help says more.\n", root.LocalFlags().FlagUsages())
	return err
}

// outputFlag gives a command -o.
func (a *app) outputFlag(c *cobra.Command) {
	formats := []string{"table", "json", "yaml"}
	c.Flags().StringVarP(&a.output, "output", "o", "table", "table, json or yaml")
	if err := c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the flag was defined one line above
	}
	c.PreRunE = func(*cobra.Command, []string) error {
		if !slices.Contains(formats, a.output) {
			return usageError{fmt.Errorf("-o %s: it is table, json or yaml", a.output)}
		}
		return nil
	}
}

// write writes v in the format that was asked for, or what table writes.
func (a *app) write(v any, table func(io.Writer) error) error {
	switch a.output {
	case "json":
		enc := json.NewEncoder(a.out)
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	case "yaml":
		text, err := spec.YAML(v)
		if err != nil {
			return err
		}
		_, err = a.out.Write(text)
		return err
	}
	return table(a.out)
}

// oneNode is what one node answered.
type oneNode[T any] struct {
	name  string
	value T
	err   error
}

// forEach asks all nodes at the same time and returns their answers in order:
// one node that is dead never hides the others. An error is one that concerns
// all of them.
func forEach[T any](ctx context.Context, a *app, f func(context.Context, *talos.Node) (T, error)) (_ []oneNode[T], err error) {
	o := a.options
	o.Now = a.now()
	cluster, err := talos.Open(ctx, o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, cluster.Close()) }()
	out := make([]oneNode[T], len(cluster.Nodes))
	waiting := newWaiting(a, cluster.Nodes)
	var wg sync.WaitGroup
	for i, n := range cluster.Nodes {
		wg.Go(func() {
			nctx := ctx
			if a.timeout > 0 {
				var cancel context.CancelFunc
				nctx, cancel = context.WithTimeout(ctx, a.timeout)
				defer cancel()
			}
			v, err := f(nctx, n)
			out[i] = oneNode[T]{n.Name, v, err}
			waiting.done(n.Name)
		})
	}
	wg.Wait()
	waiting.stop()
	return out, nil
}

// failures reports the errors of the nodes and returns errFailed when there were
// any.
func failures[T any](a *app, answers []oneNode[T]) error {
	var failed error
	for _, n := range answers {
		if n.err != nil {
			a.report(n.err)
			failed = errFailed
		}
	}
	return failed
}

// given are the answers that there are, never nil.
func given[T any](answers []oneNode[T]) []T {
	out := []T{}
	for _, n := range answers {
		if n.err == nil {
			out = append(out, n.value)
		}
	}
	return out
}

// valuesOf are the answers of all nodes; when one has none it says so and returns
// errFailed.
func valuesOf[T any](ctx context.Context, a *app, f func(context.Context, *talos.Node) (T, error)) ([]T, error) {
	answers, err := forEach(ctx, a, f)
	if err != nil {
		return nil, err
	}
	if err := failures(a, answers); err != nil {
		return nil, err
	}
	return given(answers), nil
}

// show writes what the nodes answered, with an empty line between their texts, and
// says whether every node answered and is well.
func show[T any](a *app, answers []oneNode[T], well func(T) bool, text func(io.Writer, T) error) error {
	list := given(answers)
	err := a.write(list, func(w io.Writer) error {
		for i, v := range list {
			if i > 0 {
				fmt.Fprintln(w)
			}
			if err := text(w, v); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := failures(a, answers); err != nil {
		return err
	}
	if !slices.ContainsFunc(list, func(v T) bool { return !well(v) }) {
		return nil
	}
	return errFailed
}

// waiting shows which nodes are still waited for, when it takes longer than a
// second and somebody watches.
type waiting struct {
	mu    sync.Mutex
	left  []string
	timer *time.Timer
	w     io.Writer
	shown bool
}

func newWaiting(a *app, nodes []*talos.Node) *waiting {
	w := &waiting{w: a.screen}
	for _, n := range nodes {
		w.left = append(w.left, n.Name) // the person's own words
	}
	if a.progress {
		w.timer = time.AfterFunc(time.Second, func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.shown = len(w.left) > 0
			w.show()
		})
	}
	return w
}

func (w *waiting) show() {
	if w.shown {
		fmt.Fprintf(w.w, "\r\x1b[Kwaiting for %s", strings.Join(w.left, ", "))
	}
}

func (w *waiting) done(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.left = slices.DeleteFunc(w.left, func(n string) bool { return n == name })
	w.show()
}

func (w *waiting) stop() {
	if w.timer == nil {
		return
	}
	w.timer.Stop()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.shown {
		fmt.Fprint(w.w, "\r\x1b[K")
	}
	w.shown = false
}

// Colours, used on a terminal only.
const (
	red    = "31"
	green  = "32"
	yellow = "33"
	plain  = "0"
)

func (a *app) paint(color, s string) string {
	if !a.color {
		return s
	}
	return a.mark + color + ";" + s + a.mark + plain + ";"
}

// readFile reads a file of the command line; "-" is the standard input.
func (a *app) readFile(name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(a.in)
	}
	return os.ReadFile(name)
}
