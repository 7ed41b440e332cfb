package talos

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/state"
	"github.com/siderolabs/talos/pkg/machinery/api/machine"
	configpb "github.com/siderolabs/talos/pkg/machinery/api/resource/config"
	"github.com/siderolabs/talos/pkg/machinery/proto"
	"github.com/siderolabs/talos/pkg/machinery/resources/config"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/talos-sriov/talos-sriov/pkg/machineconfig"
)

// MachineConfig returns the node's machine config as the node has it, byte by
// byte. It is not decoded into Talos' types: the node may be of a newer version
// than those. It needs os:admin.
func (n *Node) MachineConfig(ctx context.Context) ([]byte, error) {
	raw, there, err := n.machineConfig(ctx)
	if err == nil && !there {
		return nil, &Error{Node: n.Name, Msg: "has no machine config", Hint: "it is in maintenance mode: apply its configuration first (talosctl apply-config)"}
	}
	return raw, err
}

// Documents returns the documents of the node's machine config, also those that this
// program's Talos does not know; none when the node has no machine config. It needs
// os:admin.
func (n *Node) Documents(ctx context.Context) ([]machineconfig.Document, error) {
	raw, there, err := n.machineConfig(ctx)
	if err != nil || !there {
		return nil, err
	}
	docs, err := machineconfig.Documents(raw)
	if err != nil {
		return nil, &Error{Node: n.Name, Msg: "read the machine config", Err: err}
	}
	return docs, nil
}

// machineConfig returns the machine config, and whether the node has one.
func (n *Node) machineConfig(ctx context.Context) (raw []byte, there bool, err error) {
	const what = "read the machine config"
	id := resource.NewMetadata(config.NamespaceName, config.MachineConfigType, config.ActiveID, resource.VersionUndefined)
	current, err := n.client.COSI.Get(n.ctx(ctx), id, state.WithGetUnmarshalOptions(state.WithSkipProtobufUnmarshal()))
	if state.IsNotFoundError(err) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, explain(n.Name, what, err)
	}
	sent, err := sentSpec(current)
	if err != nil {
		return nil, false, &Error{Node: n.Name, Msg: what, Err: err}
	}
	var spec configpb.MachineConfigSpec
	if err := proto.Unmarshal(sent.GetProtoSpec(), &spec); err != nil {
		return nil, false, &Error{Node: n.Name, Msg: what, Err: err, Hint: "is sriovctl as new as Talos?"}
	}
	return spec.GetYamlMarshalled(), true, nil
}

// MissingModules returns those of the kernel modules that the node's machine
// config does not load. It needs os:admin.
func (n *Node) MissingModules(ctx context.Context, modules []string) ([]string, error) {
	if len(modules) == 0 {
		return nil, nil
	}
	docs, err := n.Documents(ctx)
	if err != nil {
		return nil, err
	}
	loaded := make(map[string]bool)
	for i := range docs {
		switch d := &docs[i]; {
		case d.Empty():
		case d.Kind == "KernelModuleConfig":
			loaded[d.Name] = true
		case d.Kind == machineconfig.KindV1Alpha1:
			for _, m := range machineconfig.Items(machineconfig.At(d.Node(), "machine", "kernel", "modules")) {
				loaded[machineconfig.Text(machineconfig.Child(m, "name"))] = true
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(modules), func(m string) bool { return loaded[m] }), nil
}

// Patch merges the patch into the node's machine config and applies it without a
// reboot. Documents that the patch does not name are sent back byte by byte
// ([machineconfig.Merge]); whether the result is good the node judges. changed is
// false when the config has all of it already. With dryRun the node only checks
// it. It needs os:admin.
func (n *Node) Patch(ctx context.Context, patch []byte, dryRun bool) (changed bool, err error) {
	before, err := n.MachineConfig(ctx)
	if err != nil {
		return false, err
	}
	after, err := machineconfig.Merge(before, patch)
	if err != nil {
		out := &Error{Node: n.Name, Msg: "merge the patch into the machine config", Err: err}
		if e, ok := errors.AsType[*machineconfig.Error](err); ok {
			out.Hint = e.Hint
		}
		return false, out
	}
	if bytes.Equal(before, after) {
		return false, nil
	}
	_, err = n.client.ApplyConfiguration(n.ctx(ctx), &machine.ApplyConfigurationRequest{
		Data: after, Mode: machine.ApplyConfigurationRequest_NO_REBOOT, DryRun: dryRun,
		TryModeTimeout: durationpb.New(0),
	})
	if err != nil {
		return false, refusal(n.Name, err)
	}
	return true, nil
}

// refusal explains why a machine config was not applied. What is wrong with it
// the node says in its answer, with these codes.
func refusal(node string, err error) error {
	out := explain(node, "apply the machine config", err)
	e, ok := errors.AsType[*Error](out)
	if !ok || !slices.Contains([]codes.Code{codes.InvalidArgument, codes.FailedPrecondition, codes.Unknown}, e.Code) {
		return out
	}
	e.Msg = "the node refuses the machine config with this patch"
	e.Hint = "nothing was changed on this node; where a machine config was generated by Talos 1.14 or later, keys as machine.kubelet, machine.nodeLabels and cluster are documents of their own (docs/install.md)"
	return out
}
