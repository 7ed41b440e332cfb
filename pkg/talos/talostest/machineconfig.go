package talostest

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/cosi-project/runtime/pkg/resource"
	configpb "github.com/siderolabs/talos/pkg/machinery/api/resource/config"
	"github.com/siderolabs/talos/pkg/machinery/proto"
	"github.com/siderolabs/talos/pkg/machinery/resources/config"

	"github.com/talos-sriov/talos-sriov/pkg/machineconfig"
)

// machineConfig is a node's machine config as bytes: a node may be of a newer
// version of Talos than the one that is linked here.
type machineConfig struct {
	md   resource.Metadata
	data []byte
}

// NewMachineConfig returns the resource of a node that has this machine config. It
// is sent to clients byte by byte.
func NewMachineConfig(data []byte) resource.Resource {
	return &machineConfig{
		md:   resource.NewMetadata(config.NamespaceName, config.MachineConfigType, config.ActiveID, resource.VersionUndefined),
		data: data,
	}
}

func (m *machineConfig) Metadata() *resource.Metadata { return &m.md }

func (m *machineConfig) Spec() any { return m }

func (m *machineConfig) DeepCopy() resource.Resource {
	return &machineConfig{md: m.md.Copy(), data: m.data}
}

// MarshalProto implements [protobuf.ProtoMarshaler].
func (m *machineConfig) MarshalProto() ([]byte, error) {
	return proto.Marshal(&configpb.MachineConfigSpec{YamlMarshalled: m.data})
}

// MarshalYAML implements yaml.Marshaler.
func (m *machineConfig) MarshalYAML() (any, error) { return string(m.data), nil }

// Keeps returns a [Node.Judge] that wants every document of config in what is
// applied, byte by byte, but those of the kinds.
func Keeps(config []byte, but ...string) func([]byte) error {
	return func(data []byte) error {
		docs, err := machineconfig.Documents(config)
		if err != nil {
			return err
		}
		if _, err := machineconfig.Documents(data); err != nil {
			return err
		}
		for i := range docs {
			if d := &docs[i]; !slices.Contains(but, d.Kind) && !bytes.Contains(data, d.Raw) {
				return fmt.Errorf("document %s %s was changed", d.Kind, d.Name)
			}
		}
		return nil
	}
}
