package network_test

import (
	"regexp"
	"testing"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/ext"

	"github.com/talos-sriov/talos-sriov/pkg/network"
)

// environment is as much of the API server's CEL as the policy uses: the string
// functions of cel-go, and find and findAll, which Kubernetes adds. The whole
// policy runs on a real API server in the lab.
func environment(t *testing.T) *cel.Env {
	t.Helper()
	member := func(name string, result *cel.Type, f func(*regexp.Regexp, string) ref.Val) cel.EnvOption {
		return cel.Function(name, cel.MemberOverload("string_"+name+"_string", []*cel.Type{cel.StringType, cel.StringType}, result,
			cel.BinaryBinding(func(s, pattern ref.Val) ref.Val {
				re, err := regexp.Compile(string(pattern.(types.String)))
				if err != nil {
					return types.NewErr("%v", err)
				}
				return f(re, string(s.(types.String)))
			})))
	}
	env, err := cel.NewEnv(ext.Strings(),
		cel.Variable("object", cel.DynType), cel.Variable("request", cel.DynType), cel.Variable("variables", cel.DynType),
		member("find", cel.StringType, func(re *regexp.Regexp, s string) ref.Val { return types.String(re.FindString(s)) }),
		member("findAll", cel.ListType(cel.StringType), func(re *regexp.Regexp, s string) ref.Val {
			return types.NewStringList(types.DefaultTypeAdapter, re.FindAllString(s, -1))
		}),
	)
	if err != nil {
		t.Fatal(err)
	}
	return env
}

func evaluate(t *testing.T, env *cel.Env, expression string, vars map[string]any) ref.Val {
	t.Helper()
	ast, issues := env.Compile(expression)
	if issues.Err() != nil {
		t.Fatalf("%v\n%s", issues.Err(), expression)
	}
	program, err := env.Program(ast)
	if err != nil {
		t.Fatal(err)
	}
	out, _, err := program.Eval(vars)
	if err != nil {
		t.Fatalf("%v\n%s", err, expression)
	}
	return out
}

// TestInjection: how many devices pods of all shapes are given.
func TestInjection(t *testing.T) {
	const resource = "nvidia.com/cx7"
	asks := func(kind string) map[string]any {
		return map[string]any{"name": "c", "resources": map[string]any{kind: map[string]any{resource: "1"}}}
	}
	bare := map[string]any{"name": "main"}
	other := map[string]any{"name": "main", "resources": map[string]any{"limits": map[string]any{"cpu": "1"}}}
	tests := map[string]struct {
		networks   string
		containers []any
		init       []any
		want       int64
	}{
		"one":                             {"net", []any{bare}, nil, 1},
		"twice":                           {"net,net", []any{bare}, nil, 2},
		"spaces":                          {" net , team/other ", []any{bare}, nil, 2},
		"interface":                       {"net@eth5", []any{bare}, nil, 1},
		"namespace and interface":         {"team/other@eth5", []any{bare}, nil, 1},
		"another namespace":               {"elsewhere/net", []any{bare}, nil, 0},
		"another network":                 {"macvlan", []any{bare}, nil, 0},
		"empty":                           {"", []any{bare}, nil, 0},
		"commas":                          {",,net,", []any{bare}, nil, 1},
		"other resources":                 {"net", []any{other}, nil, 1},
		"asks by request":                 {"net", []any{bare, asks("requests")}, nil, 0},
		"asks by limit":                   {"net", []any{asks("limits")}, nil, 0},
		"init container asks":             {"net", []any{bare}, []any{asks("limits")}, 0},
		"init container":                  {"net", []any{bare}, []any{bare}, 1},
		"JSON":                            {`[{"name":"net"}]`, []any{bare}, nil, 1},
		"JSON with namespace":             {`[ {"name": "other", "namespace" : "team", "interface":"eth1"} ]`, []any{bare}, nil, 1},
		"JSON, two":                       {"[{\"name\":\"net\"},\n{\"namespace\":\"team\",\"name\":\"other\"},{\"name\":\"macvlan\"}]", []any{bare}, nil, 2},
		"JSON, of nothing":                {`[]`, []any{bare}, nil, 0},
		"JSON with addresses":             {`[{"name":"net","ips":["10.1.1.1/24"],"mac":"02:00:00:00:00:01"}]`, []any{bare}, nil, 1},
		"JSON, namespace after an object": {`[{"cni-args":{"a":"b"},"name":"other","namespace":"team"}]`, []any{bare}, nil, 1},
		"JSON with an object inside":      {`[{"name":"net","cni-args":{"name":"macvlan"},"interface":"x"},{"name":"net"}]`, []any{bare}, nil, 2},
		"JSON with a list of objects":     {`[{"name":"net","portMappings":[{"hostPort":1},{"hostPort":2}]}]`, []any{bare}, nil, 1},
		"JSON, an object named like it":   {`[{"name":"macvlan","cni-args":{"name":"net"}}]`, []any{bare}, nil, 0},
		// The limit that References documents: not recognised, so not given.
		"JSON, nested twice": {`[{"name":"net","cni-args":{"a":{"b":"c"}}}]`, []any{bare}, nil, 0},
	}
	env := environment(t)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			spec := map[string]any{"containers": tt.containers}
			if tt.init != nil {
				spec["initContainers"] = tt.init
			}
			vars := map[string]any{
				"object": map[string]any{
					"metadata": map[string]any{"annotations": map[string]any{"k8s.v1.cni.cncf.io/networks": tt.networks}},
					"spec":     spec,
				},
				"request": map[string]any{"namespace": "default"},
			}
			vars["variables"] = map[string]any{"references": evaluate(t, env, network.References(), vars)}
			got := evaluate(t, env, network.Count(resource, []string{"default/net", "team/other"}), vars)
			if got != types.Int(tt.want) {
				t.Errorf("got %v, want %d", got, tt.want)
			}
		})
	}
}

func TestPolicyAPI(t *testing.T) {
	for kubernetes, want := range map[string]string{
		"1.36": "admissionregistration.k8s.io/v1", "v1.40.2": "admissionregistration.k8s.io/v1",
		"1.35": "admissionregistration.k8s.io/v1beta1", "1.34.1": "admissionregistration.k8s.io/v1beta1",
		"1.33": "", "36": "", "": "",
	} {
		got, err := network.PolicyAPI(kubernetes)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v, want %q", kubernetes, got, err, want)
		}
	}
}
