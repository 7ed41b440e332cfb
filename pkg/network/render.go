package network

import (
	"bytes"
	"fmt"

	"github.com/talos-sriov/talos-sriov/pkg/machineconfig"
	"github.com/talos-sriov/talos-sriov/pkg/talos/versions"
)

// Manifest is a named Kubernetes manifest.
type Manifest struct {
	Name string
	Data []byte // YAML
}

// Manifests renders the networks, and the policy that gives pods the resources
// that go with them. policyAPI is the policy's API version, "" for no policy.
func Manifests(networks []Network, policyAPI string) ([]Manifest, error) {
	var out []Manifest
	for i := range networks {
		data, err := networks[i].Manifest()
		if err != nil {
			return nil, err
		}
		out = append(out, Manifest{"sriov-network-" + networks[i].Namespace + "-" + networks[i].Name, data})
	}
	if policyAPI != "" {
		data, err := Policy(networks, policyAPI)
		if err != nil {
			return nil, err
		}
		out = append(out, Manifest{PolicyName, data})
	}
	return out, nil
}

// Patch renders the manifests as a control-plane patch for the version: by
// documents that may be applied again and again where Talos has them, else by
// a list that it appends to.
func Patch(manifests []Manifest, v versions.Minor) []byte {
	var b bytes.Buffer
	if v.RepeatableLists {
		for i, m := range manifests {
			if i > 0 {
				b.WriteString("---\n")
			}
			fmt.Fprintf(&b, "apiVersion: v1alpha1\nkind: KubeInlineManifestConfig\nname: %s\nmanifest: |\n", m.Name)
			machineconfig.Indent(&b, m.Data, "  ")
		}
		return b.Bytes()
	}
	b.WriteString("# Apply this once: Talos appends to the list each time, and refuses two manifests\n# of one name.\n")
	b.WriteString("cluster:\n  inlineManifests:\n")
	for _, m := range manifests {
		fmt.Fprintf(&b, "    - name: %s\n      contents: |\n", m.Name)
		machineconfig.Indent(&b, m.Data, "        ")
	}
	return b.Bytes()
}
