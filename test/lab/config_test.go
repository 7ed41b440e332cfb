package lab

import (
	"strings"
	"testing"
	"text/template"
)

// TestPatches: each version has a patch, and its template is complete.
func TestPatches(t *testing.T) {
	for _, v := range Versions() {
		text, err := patchFor(v)
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		err = template.Must(template.New("").Option("missingkey=error").Parse(text)).Execute(&out, map[string]any{
			"Name": "node-9", "Registry": "http://registry", "Pause": "pause:1",
		})
		for _, want := range []string{"hostname: node-9", `"http://registry"`, "image: pause:1"} {
			if err != nil || !strings.Contains(out.String(), want) {
				t.Errorf("%s: no %q in the patch, %v", v, want, err)
			}
		}
	}
	if _, err := patchFor("v1.2.3"); err == nil {
		t.Error("a version without a patch was accepted")
	}
}
