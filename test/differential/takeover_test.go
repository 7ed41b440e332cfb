package differential

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/talos-sriov/talos-sriov/pkg/convert"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

// TestTakeOver: there are three ways to take over a configuration of the other
// program - the file, the same text in our document, and its ConfigMap through
// convert - and they agree in every case, in what is an error too.
func TestTakeOver(t *testing.T) {
	noPositions := cmpopts.IgnoreTypes(spec.Pos{})
	good := 0
	for i := range cases {
		c := &cases[i]
		t.Run(c.name, func(t *testing.T) {
			file, fileErr := spec.LoadResourceList("config.json", []byte(c.config))
			inside, insideErr := spec.Load("document", []byte(strings.Replace(c.config, "{", `{"apiVersion": "v1alpha1", "kind": "SRIOVConfig", `, 1)))
			text, err := json.Marshal(map[string]any{"kind": "ConfigMap", "apiVersion": "v1", "data": map[string]string{"config.json": c.config}})
			if err != nil {
				t.Fatal(err)
			}
			converted, convertErr := convert.Convert("configmap", text, convert.Options{})
			if (fileErr == nil) != (insideErr == nil) || (fileErr == nil) != (convertErr == nil) {
				t.Fatalf("as a file: %v\nin our document: %v\nconverted: %v", fileErr, insideErr, convertErr)
			}
			if fileErr != nil {
				return
			}
			good++
			document, err := spec.Marshal(converted.Config)
			if err != nil {
				t.Fatal(err)
			}
			back, err := spec.Load("converted", document)
			if err != nil {
				t.Fatalf("%v\n%s", err, document)
			}
			if d := cmp.Diff(file, inside, noPositions); d != "" {
				t.Errorf("in our document (-file +document):\n%s", d)
			}
			if d := cmp.Diff(file, back, noPositions); d != "" {
				t.Errorf("converted (-file +converted):\n%s", d)
			}
		})
	}
	if good < 100 {
		t.Errorf("%d good configurations, want most of %d", good, len(cases))
	}
}
