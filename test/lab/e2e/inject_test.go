package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	lab "github.com/talos-sriov/talos-sriov/test/lab"
)

const networks = `networks:
  - name: net
    resourceName: intel.com/82576
    type: sriov
    ipam: {type: host-local, ranges: [[{subnet: 10.100.0.0/24}]]}
  - name: other
    namespace: kube-public
    resourceName: intel.com/82576
    type: sriov
`

// The policy that sriovctl generates gives pods the resource of the networks
// that they name, on the real API server.
func TestInjectionPolicy(t *testing.T) {
	n := node(t)
	sriovctl := exec.CommandContext(n.ctx(), "../../../_out/sriovctl", "generate", "network", "--inject", "--manifests", "-")
	sriovctl.Stdin = strings.NewReader(networks)
	manifests, err := sriovctl.Output()
	if err != nil {
		t.Fatalf("sriovctl generate network (make sriovctl builds it): %v", err)
	}
	n.must(n.Apply(n.ctx(), string(manifests)))
	t.Cleanup(func() {
		_, _ = n.Kubectl(context.Background(), "delete", "mutatingadmissionpolicies,mutatingadmissionpolicybindings", "--all")
	})
	// The policy is in force some moments after it was stored.
	n.must(n.WaitFor(n.ctx(), "wait for the policy", func(ctx context.Context) (bool, error) {
		got, err := n.asks(ctx, "net", "{name: main}", "")
		return got == "1", err
	}))

	const ask = "{name: asks, resources: {%s: {intel.com/82576: 1}}}"
	for name, tt := range map[string]struct {
		networks, containers, init, want string
	}{
		"one":                        {"net", "{name: main}", "", "1"},
		"twice":                      {"net,net", "{name: main}", "", "2"},
		"spaces":                     {" net , kube-public/other ", "{name: main}", "", "2"},
		"interface":                  {"net@eth5", "{name: main}", "", "1"},
		"namespace and interface":    {"kube-public/other@eth5", "{name: main}", "", "1"},
		"another namespace":          {"elsewhere/net", "{name: main}", "", ""},
		"another network":            {"macvlan", "{name: main}", "", ""},
		"empty":                      {"", "{name: main}", "", ""},
		"commas":                     {",,net,", "{name: main}", "", "1"},
		"other resources":            {"net", "{name: main, resources: {limits: {cpu: 1}}}", "", "1"},
		"second container":           {"net", "{name: main}, {name: side}", "", "1"},
		"asks by limit":              {"net", fmt.Sprintf(ask, "limits"), "", "1"},
		"another container asks":     {"net,net", "{name: main}, " + fmt.Sprintf(ask, "limits"), "", ""},
		"init container asks":        {"net", "{name: main}", fmt.Sprintf(ask, "limits"), ""},
		"init container":             {"net", "{name: main}", "{name: init}", "1"},
		"JSON":                       {`[{"name":"net"}]`, "{name: main}", "", "1"},
		"JSON with namespace":        {`[ {"name": "other", "namespace" : "kube-public", "interface":"eth1"} ]`, "{name: main}", "", "1"},
		"JSON, two":                  {`[{"name":"net"},{"namespace":"kube-public","name":"other"},{"name":"macvlan"}]`, "{name: main}", "", "2"},
		"JSON with an object inside": {`[{"cni-args":{"name":"macvlan"},"name":"net"},{"name":"net"}]`, "{name: main}", "", "2"},
		"JSON, nested twice":         {`[{"name":"net","cni-args":{"a":{"b":"c"}}}]`, "{name: main}", "", ""},
		"JSON, none":                 {"[]", "{name: main}", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := n.asks(t.Context(), tt.networks, tt.containers, tt.init)
			if err != nil {
				t.Fatal(err)
			}
			if got != tt.want {
				t.Errorf("the first container asks for %q, want %q", got, tt.want)
			}
		})
	}
}

// asks is what the first container of a pod asks for after admission, "" for
// nothing. The pod is not stored.
func (n *node_) asks(ctx context.Context, nets, containers, init string) (string, error) {
	image := func(list string) string { return strings.ReplaceAll(list, "{name:", "{image: "+lab.Image+", name:") }
	pod := fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: shape, annotations: {k8s.v1.cni.cncf.io/networks: %q}}\nspec: {containers: [%s], initContainers: [%s]}\n",
		nets, image(containers), image(init))
	out, err := n.KubectlInput(ctx, pod, "create", "--dry-run=server", "-o", "json", "-f", "-")
	if err != nil {
		return "", err
	}
	var got struct {
		Spec struct {
			Containers []struct {
				Resources struct{ Requests, Limits map[string]string }
			}
		}
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		return "", err
	}
	r := got.Spec.Containers[0].Resources
	if r.Requests[resource] != r.Limits[resource] {
		return "", fmt.Errorf("request %q and limit %q differ", r.Requests[resource], r.Limits[resource])
	}
	return r.Limits[resource], nil
}
