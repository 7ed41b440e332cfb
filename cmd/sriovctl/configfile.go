package main

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"gopkg.in/yaml.v3"

	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/talos"
)

// configFile is a file with a config of ours, checked.
type configFile struct {
	name   string
	file   []byte // as read
	bare   bool   // the file is the config itself, not a patch that carries it
	config *spec.Config
	hash   string // of the config
	notes  []string
}

// load reads and checks a file, and tells what is wrong with it.
func (a *app) load(name string) (*configFile, error) {
	d, err := a.read(name)
	if err != nil {
		a.complain(d, err)
		return nil, errFailed
	}
	return d, nil
}

// complain tells what is wrong with a file.
func (a *app) complain(d *configFile, err error) {
	errs, ok := errors.AsType[*spec.Errors](err)
	if !ok {
		a.report(err)
		return
	}
	if err := errs.Render(a.err, d.file); err != nil {
		a.report(err)
	}
}

// read reads and checks a file. The config is never nil, but complete only
// without an error.
func (a *app) read(name string) (*configFile, error) {
	data, err := a.readFile(name)
	d := &configFile{name: name, file: data}
	if err != nil {
		return d, &talos.Error{Msg: "read the config", Err: err}
	}
	if first := firstNode(data); first != nil && first.Kind == yaml.SequenceNode {
		return d, &talos.Error{
			Msg:  name + ": this is a JSON patch (RFC 6902)",
			Hint: "Talos refuses those for a machine config of several documents; write a strategic merge patch: kind: ExtensionServiceConfig",
		}
	}
	if d.config, err = spec.LoadFile(name, data); err != nil {
		return d, err
	}
	emb, err := spec.Extract(name, data)
	if err != nil {
		return d, err
	}
	d.hash, d.bare = spec.Hash(emb.Data), emb.Bare
	if !d.bare {
		if d.notes, err = checkPatch(name, data); err != nil {
			return d, err
		}
	}
	return d, nil
}

func firstNode(data []byte) *yaml.Node {
	var n yaml.Node
	if err := yaml.NewDecoder(bytes.NewReader(data)).Decode(&n); err != nil || len(n.Content) == 0 {
		return nil // the decoder of the config says it better
	}
	return n.Content[0]
}

// fileResult is what validate says of a file.
type fileResult struct {
	File string `json:"file" yaml:"file"`
	Good bool   `json:"good" yaml:"good"`
	// Errors have places in the file; Error is what concerns all of it.
	Errors   []*spec.Error `json:"errors,omitempty" yaml:"errors,omitempty"`
	Error    string        `json:"error,omitempty" yaml:"error,omitempty"`
	Hint     string        `json:"hint,omitempty" yaml:"hint,omitempty"`
	Warnings []*spec.Error `json:"warnings,omitempty" yaml:"warnings,omitempty"`
	Notes    []string      `json:"notes,omitempty" yaml:"notes,omitempty"`
}

func (a *app) validate() *cobra.Command {
	c := &cobra.Command{
		Use:   "validate FILE...",
		Short: "Check configs, patches and machine configs",
		Long: `validate checks the config in each file: the bare config, a machine-config
patch, or a whole machine config. Everything that is wrong is told at once, with
line and column of that file. "-" is the standard input.`,
		Example: "  sriovctl validate machineconfig-patches/*.yaml\n  sriovctl validate vfs.yaml -o json",
		Args:    minimum(1, "name the files to check"),
		RunE: func(_ *cobra.Command, files []string) error {
			var failed error
			results := []fileResult{}
			for _, name := range files {
				d, err := a.read(name)
				v := resultOf(name, d, err)
				if !v.Good {
					failed = errFailed
				}
				results = append(results, v)
				if a.output != "table" {
					continue
				}
				if err != nil {
					a.complain(d, err)
				} else if err := a.good(d); err != nil {
					return err
				}
			}
			if a.output != "table" {
				if err := a.write(results, nil); err != nil {
					return err
				}
			}
			return failed
		},
	}
	a.outputFlag(c)
	return c
}

func resultOf(name string, d *configFile, err error) fileResult {
	v := fileResult{File: name, Good: err == nil}
	var errs *spec.Errors
	switch {
	case errors.As(err, &errs):
		v.Errors = errs.List
	case err != nil:
		v.Error = err.Error()
		if e, ok := errors.AsType[*talos.Error](err); ok {
			v.Hint = e.Hint
		}
	default:
		v.Notes, v.Warnings = d.notes, d.config.Warnings()
	}
	return v
}

func (a *app) good(d *configFile) error {
	if w := d.config.Warnings(); len(w) > 0 {
		if err := spec.RenderList(a.err, d.name, w, 0, d.file); err != nil {
			return err
		}
	}
	for _, n := range d.notes {
		fmt.Fprintf(a.err, "note: %s: %s\n", d.name, n)
	}
	_, err := fmt.Fprintf(a.out, "%s: %s\n", d.name, a.paint(green, "good"))
	return err
}

// minimum is cobra.MinimumNArgs with an error that says what is missing.
func minimum(n int, what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) < n {
			return usageError{errors.New(what)}
		}
		return nil
	}
}

// oneFile is cobra.ExactArgs(1) with an error that says what is wrong.
func oneFile(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usageError{fmt.Errorf("name one file, got %d arguments", len(args))}
	}
	return nil
}

func (a *app) logs() *cobra.Command {
	var follow bool
	var tail int32
	c := &cobra.Command{
		Use:     "logs",
		Short:   "Show the log of the extension",
		Long:    "logs shows the log of the service ext-sriov. Each line begins with the node's name,\nunless -n names one node alone.",
		Example: "  sriovctl logs -n 10.5.0.3 --tail 50\n  sriovctl logs -n 10.5.0.3 -f",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if follow {
				a.timeout = 0
			}
			w := &lines{w: a.out, named: len(a.options.Nodes) != 1}
			answers, err := forEach(c.Context(), a, w.logs(follow, tail))
			if err != nil {
				return err
			}
			return failures(a, answers)
		},
	}
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on until interrupted")
	c.Flags().Int32Var(&tail, "tail", -1, "only so many of the last lines")
	return c
}
