package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/talos-sriov/talos-sriov/pkg/convert"
	"github.com/talos-sriov/talos-sriov/pkg/machineconfig"
	"github.com/talos-sriov/talos-sriov/pkg/network"
	"github.com/talos-sriov/talos-sriov/pkg/talos"
	"github.com/talos-sriov/talos-sriov/pkg/talos/versions"
)

// networkPatch is what generate network is asked for.
type networkPatch struct {
	inject, manifests bool
	talos, kubernetes string // versions
}

func (a *app) generateNetwork() *cobra.Command {
	o := networkPatch{talos: "1.13", kubernetes: "1.36"}
	c := &cobra.Command{
		Use:   "network FILE",
		Short: "Write the control-plane patch for networks of pods",
		Long: `network writes NetworkAttachmentDefinitions as a patch for the control plane, from
a description, or from SriovNetwork objects:

  networks:
    - name: fast
      resourceName: nvidia.com/cx7
      vlan: {id: 100}
      ipam: {type: host-local, ranges: [[{subnet: 10.100.0.0/24}]]}

--inject adds an admission policy that gives a pod the resource that goes with
the networks it names, without any webhook. Kubernetes 1.36 and later have such
policies; in 1.34 and 1.35 (--kubernetes) they are beta and have to be turned on.
docs/networks.md says what the policy understands and what not.`,
		Example: "  sriovctl generate network networks.yaml --inject > networks-patch.yaml",
		Args:    oneFile,
		RunE:    func(_ *cobra.Command, args []string) error { return a.runNetwork(&o, args[0]) },
	}
	f := c.Flags()
	f.BoolVar(&o.inject, "inject", false, "add the admission policy")
	f.StringVar(&o.kubernetes, "kubernetes", o.kubernetes, "version of the cluster, for the admission policy")
	f.BoolVar(&o.manifests, "manifests", false, "write plain Kubernetes manifests instead of a patch")
	f.StringVar(&o.talos, "talos", o.talos, "Talos version of the control plane")
	return c
}

func (a *app) runNetwork(o *networkPatch, file string) error {
	data, err := a.readFile(file)
	if err != nil {
		return &talos.Error{Msg: "read the networks", Err: err}
	}
	minor, err := versions.Of(o.talos)
	if err != nil {
		return &talos.Error{Msg: err.Error()}
	}
	networks, err := a.networks(file, data)
	if err != nil {
		return err
	}
	var api string
	if o.inject {
		if api, err = network.PolicyAPI(o.kubernetes); err != nil {
			return &talos.Error{Msg: err.Error()}
		}
	}
	list, err := network.Manifests(networks, api)
	if err != nil {
		return err
	}
	if !o.manifests {
		_, err := a.file.Write(network.Patch(list, minor))
		return err
	}
	for i, m := range list {
		if i > 0 {
			fmt.Fprintln(a.file, "---")
		}
		if _, err := a.file.Write(m.Data); err != nil {
			return err
		}
	}
	return nil
}

// networks reads a description, or the operator's objects.
func (a *app) networks(name string, data []byte) ([]network.Network, error) {
	if machineconfig.Child(firstNode(data), "kind") == nil {
		return network.Load(name, data)
	}
	r, err := convert.Convert(name, data, convert.Options{})
	if err != nil {
		return nil, err
	}
	for _, f := range r.Findings {
		fmt.Fprintf(a.err, "note: %s\n", f)
	}
	if len(r.Networks) == 0 {
		return nil, &talos.Error{Msg: name + ": it has no network"}
	}
	return r.Networks, nil
}
