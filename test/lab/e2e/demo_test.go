package e2e

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/talos-sriov/talos-sriov/test/lab/demo"
)

// What differs from run to run: times, and which pod was first.
var varies = regexp.MustCompile(`time=[\d.]+ ms|= [\d./]+ ms|10\.100\.0\.\d+|0000:21:1[0-7]\.\d|Talos v[\d.]+,`)

// TestDemo compares what make demo prints with what the README says that it prints.
func TestDemo(t *testing.T) {
	n := restored(t)
	var out strings.Builder
	if err := demo.Run(n.ctx(), n.Node, &out); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	readme, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, ok := strings.Cut(string(readme), "$ sriovctl discover\nNODE       PF")
	text, _, ok2 := strings.Cut("$ sriovctl discover\nNODE       PF"+text, "```")
	if !ok || !ok2 {
		t.Fatal("README.md has no transcript of the demo")
	}
	// The lines of the pods come in the order of their VFs.
	lines := func(s string) []string {
		l := strings.Split(varies.ReplaceAllString(s, "*"), "\n")
		slices.Sort(l)
		return l
	}
	if !slices.Equal(lines(out.String()), lines(text)) {
		t.Errorf("make demo prints\n%s\nREADME.md has\n%s", out.String(), text)
	}
}
