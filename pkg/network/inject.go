package network

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/semver"
)

// The annotation by which a pod names its networks; source: the multi-network
// de-facto standard of the Network Plumbing Working Group, section 4.1.
const networksAnnotation = "k8s.v1.cni.cncf.io/networks"

// PolicyName is the name of policy and binding.
const PolicyName = "sriov-network-injection"

// PolicyAPI is the API version of admission policies that change objects, for a
// version of Kubernetes like 1.36: v1 from 1.36 on; 1.34 and 1.35 have v1beta1,
// which has to be turned on there.
func PolicyAPI(kubernetes string) (string, error) {
	version := "v" + strings.TrimPrefix(kubernetes, "v")
	if semver.Major(version) != "v1" {
		return "", fmt.Errorf("%q is no version of Kubernetes, like 1.36", kubernetes)
	}
	version = semver.MajorMinor(version)
	switch {
	case semver.Compare(version, "v1.34") < 0:
		return "", fmt.Errorf("there is no MutatingAdmissionPolicy to use in Kubernetes %s: it came with 1.34; pods have to ask for the resource themselves", kubernetes)
	case semver.Compare(version, "v1.36") < 0:
		return "admissionregistration.k8s.io/v1beta1", nil
	}
	return "admissionregistration.k8s.io/v1", nil
}

// References is the CEL expression for the networks that a pod's annotation
// names, each as namespace/name, as often as it is named: the list form
// "ns/name@if, name" and the JSON form.
//
// CEL has no JSON parser, so the JSON form is read by its objects: `{...}` with
// at most one more object inside (cni-args), which is taken out before the
// members are looked for. Deeper ones, and braces within strings, are not
// recognised; such a pod has to ask for the resource itself.
func References() string {
	const (
		annotation = `object.metadata.annotations['` + networksAnnotation + `']`
		// Not object.metadata.namespace: that is not set yet when a pod is created
		// with the namespace in the address alone.
		namespace = `request.namespace`
		element   = `\\{([^{}]|\\{[^{}]*\\})*\\}`
		// An element without its braces and the objects inside: what stands before
		// the first brace, and behind each closing one.
		flat = `o.substring(1, o.size() - 1).split('{').map(p, p.substring(p.indexOf('}') + 1)).join('')`
		// The value of a string member of a JSON object, without quotes.
		value = `o.find('"%s"\\s*:\\s*"[^"]*"').split('"')[3]`
		has   = `o.find('"%s"\\s*:\\s*"[^"]*"') != ''`
	)
	text := annotation + `.trim()`
	fromJSON := text + `.findAll('` + element + `').map(o, ` + flat + `).filter(o, ` + fmt.Sprintf(has, "name") + `).map(o, (` +
		fmt.Sprintf(has, "namespace") + ` ? ` + fmt.Sprintf(value, "namespace") + ` : ` + namespace + `) + '/' + ` +
		fmt.Sprintf(value, "name") + `)`
	fromList := text + `.split(',').map(e, e.trim().split('@')[0]).filter(e, e != '').map(e, e.contains('/') ? e : ` + namespace + ` + '/' + e)`
	return text + `.startsWith('[') ? ` + fromJSON + ` : ` + fromList
}

// Count is the CEL expression for how many of a resource a pod is to be given:
// as often as it names one of the networks, and none when a container of it asks
// for the resource itself.
func Count(resource string, networks []string) string {
	asks := func(list string) string {
		return fmt.Sprintf("%s.exists(c, has(c.resources) && (has(c.resources.requests) && '%s' in c.resources.requests || "+
			"has(c.resources.limits) && '%s' in c.resources.limits))", list, resource, resource)
	}
	return asks("object.spec.containers") + " || has(object.spec.initContainers) && " + asks("object.spec.initContainers") +
		" ? 0 : variables.references.filter(r, r in ['" + strings.Join(networks, "', '") + "']).size()"
}

// The parts of a MutatingAdmissionPolicy that are written.
type expression struct {
	Name       string `yaml:"name"`
	Expression string `yaml:"expression"`
}

type mutation struct {
	PatchType          string            `yaml:"patchType"`
	ApplyConfiguration map[string]string `yaml:"applyConfiguration"`
}

type policySpec struct {
	FailurePolicy      string         `yaml:"failurePolicy"`
	ReinvocationPolicy string         `yaml:"reinvocationPolicy"`
	MatchConstraints   map[string]any `yaml:"matchConstraints"`
	MatchConditions    []expression   `yaml:"matchConditions"`
	Variables          []expression   `yaml:"variables"`
	Mutations          []mutation     `yaml:"mutations"`
}

// Policy renders a MutatingAdmissionPolicy and its binding: a pod that names one
// of the networks is given request and limit for the resource, as many as it
// names, in its first container, unless one of its containers asks for that
// resource itself. No webhook and no pod is needed.
//
// api is its API version, see [PolicyAPI].
func Policy(networks []Network, api string) ([]byte, error) {
	byResource := make(map[string][]string)
	for i := range networks {
		n := &networks[i]
		byResource[n.ResourceName] = append(byResource[n.ResourceName], n.key())
	}
	meta := metadata{Name: PolicyName}
	policy, err := manifest(api, "MutatingAdmissionPolicy", meta, policySpecOf(byResource))
	if err != nil {
		return nil, err
	}
	binding, err := manifest(api, "MutatingAdmissionPolicyBinding", meta, map[string]string{"policyName": PolicyName})
	if err != nil {
		return nil, err
	}
	return slices.Concat(policy, []byte("---\n"), binding), nil
}

// policySpecOf is the policy for the networks of each resource.
func policySpecOf(byResource map[string][]string) policySpec {
	spec := policySpec{
		// A pod without its resource fails with a clear message of the CNI plugin; a
		// cluster that admits no pod because of a policy does not heal itself.
		FailurePolicy: "Ignore", ReinvocationPolicy: "IfNeeded",
		MatchConditions: []expression{{
			"names-networks",
			"has(object.metadata.annotations) && '" + networksAnnotation + "' in object.metadata.annotations",
		}},
		MatchConstraints: map[string]any{"resourceRules": []map[string][]string{{
			"apiGroups": {""}, "apiVersions": {"v1"}, "operations": {"CREATE"}, "resources": {"pods"},
		}}},
		Variables: []expression{{"references", References()}},
	}
	for i, resource := range slices.Sorted(maps.Keys(byResource)) {
		count := "count" + strconv.Itoa(i)
		spec.Variables = append(spec.Variables, expression{count, Count(resource, byResource[resource])})
		amount := fmt.Sprintf("{'%s': string(variables.%s)}", resource, count)
		spec.Mutations = append(spec.Mutations, mutation{"ApplyConfiguration", map[string]string{"expression": fmt.Sprintf(
			"variables.%s == 0 ? Object{} : Object{spec: Object.spec{containers: [Object.spec.containers{"+
				"name: object.spec.containers[0].name, "+
				"resources: Object.spec.containers.resources{requests: %s, limits: %s}}]}}", count, amount, amount)}})
	}
	return spec
}
