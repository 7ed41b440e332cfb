package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/talos-sriov/talos-sriov/pkg/convert"
	"github.com/talos-sriov/talos-sriov/pkg/network"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/talos"
	"github.com/talos-sriov/talos-sriov/pkg/talos/versions"
)

// conversion is what convert is asked for.
type conversion struct {
	labels         []string
	prefix, talos  string
	networks, once bool
}

func (a *app) convert() *cobra.Command {
	var o conversion
	c := &cobra.Command{
		Use:   "convert FILE...",
		Short: "Turn SR-IOV operator and device plugin objects into patches",
		Long: `convert reads SriovNetworkNodePolicy, SriovNetwork and SriovIBNetwork objects (as
"kubectl get -o yaml" prints them), and the device plugin's config.json or
ConfigMap, and writes the machine-config patch that says the same. Policies are
merged in the order in which the operator merges them; with -n on the node's own
PFs, as the operator does, else on what the policies name.

What has no equivalent is told on the error output. "-" is the standard input.`,
		Example: `  kubectl get -A -o yaml sriovnetworknodepolicies | sriovctl convert - > vfs.yaml
  kubectl get -A -o yaml sriovnetworks | sriovctl convert - --networks > networks.yaml`,
		Args: minimum(1, "name the files to convert"),
		RunE: func(c *cobra.Command, files []string) error { return a.runConvert(c.Context(), &o, files) },
	}
	f := c.Flags()
	f.StringSliceVar(&o.labels, "node-label", nil, "take the policies of nodes with this label only (key=value)")
	f.StringVar(&o.prefix, "resource-prefix", "openshift.io", "the operator's RESOURCE_PREFIX")
	f.StringVar(&o.talos, "talos", "1.13", "Talos version, when no node is looked at")
	f.BoolVar(&o.networks, "networks", false, "write the control-plane patch with the networks, instead")
	f.BoolVar(&o.once, "once", false, "write what must be applied once only, instead")
	return c
}

func (a *app) runConvert(ctx context.Context, o *conversion, files []string) error {
	labels, err := nodeLabels(o.labels)
	if err != nil {
		return err
	}
	options := convert.Options{ResourcePrefix: o.prefix, NodeLabels: labels}
	var node *observed
	if len(a.options.Nodes) > 0 {
		if node, err = a.oneNode(ctx, &options); err != nil {
			return err
		}
		o.talos = node.Talos
	}
	minor, err := versions.Of(o.talos)
	if err != nil {
		return &talos.Error{Msg: err.Error()}
	}
	input, err := a.readObjects(files)
	if err != nil {
		return err
	}
	r, err := convert.Convert(strings.Join(files, "+"), input, options)
	if err != nil {
		return err
	}
	for _, f := range r.Findings {
		fmt.Fprintf(a.err, "note: %s\n", f)
	}
	return a.writeConverted(r, node, minor, o.networks, o.once)
}

// nodeLabels are the labels of the command line, nil when there are none.
func nodeLabels(given []string) (map[string]string, error) {
	var out map[string]string
	for _, l := range given {
		k, v, ok := strings.Cut(l, "=")
		if !ok {
			return nil, usageError{fmt.Errorf("--node-label %s: it looks like key=value", l)}
		}
		if out == nil {
			out = make(map[string]string)
		}
		out[k] = v
	}
	return out, nil
}

// readObjects joins the files to one stream of YAML documents.
func (a *app) readObjects(files []string) ([]byte, error) {
	var out []byte
	for i, name := range files {
		data, err := a.readFile(name)
		if err != nil {
			return nil, &talos.Error{Msg: "read the objects", Err: err}
		}
		if i > 0 {
			out = append(out, "\n---\n"...)
		}
		out = append(out, data...)
	}
	return out, nil
}

// oneNode reads the node on whose PFs policies are merged.
func (a *app) oneNode(ctx context.Context, o *convert.Options) (*observed, error) {
	answers, err := forEach(ctx, a, observe)
	if err != nil {
		return nil, err
	}
	if len(answers) != 1 {
		return nil, usageError{errors.New("convert: -n names one node, whose PFs the policies are merged on")}
	}
	if err := failures(a, answers); err != nil {
		return nil, err
	}
	d := answers[0].value
	o.PFs = []convert.PF{}
	for i := range d.PFs {
		pf := &d.PFs[i]
		o.PFs = append(o.PFs, convert.PF{Name: pf.Name, AltNames: pf.AltNames, Address: pf.Address, Vendor: pf.Vendor, Device: pf.Device})
	}
	return d, nil
}

// convertedNeeds are the needs of a converted config, with notes on what the
// node's own machine config would do with its VFs. node is nil when none was
// read.
func (a *app) convertedNeeds(c *spec.Config, node *observed) talos.Needs {
	if node == nil {
		return talos.NeedsOf(c, nil)
	}
	needs := talos.NeedsOf(c, hardware(node.PFs))
	if node.View != nil {
		needs = talos.NeedsOf(c, talos.HardwareOf(c, node.View.Snapshot))
	}
	needs.Spare(node.Links)
	findings(a.err, node.Node+": ", node.selects(c)...)
	return needs
}

func (a *app) writeConverted(r *convert.Result, node *observed, v versions.Minor, networks, once bool) error {
	if networks {
		if len(r.Networks) == 0 {
			return &talos.Error{Msg: "there is no network to convert", Hint: "SriovNetwork and SriovIBNetwork objects are"}
		}
		manifests, err := network.Manifests(r.Networks, "")
		if err != nil {
			return err
		}
		_, err = a.file.Write(network.Patch(manifests, v))
		return err
	}
	if r.Config == nil {
		return &talos.Error{Msg: "there is no policy to convert", Hint: "--networks writes the networks"}
	}
	text, err := spec.Marshal(r.Config)
	if err != nil {
		return err
	}
	var errs *spec.Errors
	if _, err := spec.Load("converted config", text); errors.As(err, &errs) {
		// It is written anyway: the person can correct it.
		if err := errs.Render(a.err, text); err != nil {
			return err
		}
	}
	needs := a.convertedNeeds(r.Config, node)
	if once {
		_, err := a.file.Write(slices.Concat([]byte(nil), talos.OncePatch(needs, v)))
		return err
	}
	if len(r.Networks) > 0 {
		fmt.Fprintf(a.err, "note: %d networks: --networks writes them\n", len(r.Networks))
	}
	findings(a.err, "", needs.Unselected...)
	patch, err := talos.Patch(r.Config, needs, v)
	if err != nil {
		return err
	}
	if _, err := a.file.Write(patch); err != nil {
		return err
	}
	if errs != nil {
		return errFailed
	}
	return nil
}
