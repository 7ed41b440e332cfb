package talos_test

import (
	"testing"

	"github.com/siderolabs/talos/pkg/machinery/config/configloader"

	"github.com/talos-sriov/talos-sriov/pkg/network"
	"github.com/talos-sriov/talos-sriov/pkg/talos/versions"
)

// TestNetworksInTalos: what Talos takes out of a patch with networks is what went in.
func TestNetworksInTalos(t *testing.T) {
	networks, err := network.Load("networks.yaml", []byte(`
networks:
  - {name: plain, resourceName: nvidia.com/cx7, ipam: {type: host-local, ranges: [[{subnet: 10.100.0.0/24}]]}}
  - {name: all, namespace: team, resourceName: nvidia.com/cx7, logFile: /tmp/it's "here".log}
`))
	if err != nil {
		t.Fatal(err)
	}
	manifests, err := network.Manifests(networks, "admissionregistration.k8s.io/v1")
	if err != nil {
		t.Fatal(err)
	}
	v, err := versions.Of("1.13")
	if err != nil {
		t.Fatal(err)
	}
	provider, err := configloader.NewFromBytes(network.Patch(manifests, v))
	if err != nil {
		t.Fatal(err)
	}
	inline := provider.Cluster().InlineManifests()
	if len(inline) != len(manifests) {
		t.Fatalf("%d manifests, want %d", len(inline), len(manifests))
	}
	for i, m := range inline {
		if m.Name() != manifests[i].Name || m.Contents() != string(manifests[i].Data) {
			t.Errorf("manifest %d is not what went in:\n%s", i, m.Contents())
		}
	}
}
