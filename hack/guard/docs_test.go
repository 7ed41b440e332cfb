package guard_test

import (
	"bytes"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

var update = flag.Bool("update", false, "rewrite generated documents")

const root = "../.."

const referenceHead = `# Reference of the document

Generated from [pkg/spec/testdata/reference.yaml](../pkg/spec/testdata/reference.yaml),
which a test decodes and compares with the program's types. ` + "`sriovctl generate\nreference`" + ` prints it.

`

func TestReferenceDocument(t *testing.T) {
	want := referenceHead + "```yaml\n" + string(spec.Reference()) + "```\n"
	path := filepath.Join(root, "docs", "reference.md")
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, []byte(want)) {
		t.Error("docs/reference.md is not what pkg/spec says: go test ./hack/guard -update")
	}
}

var link = regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)

// Every link within the repository leads somewhere.
func TestLinks(t *testing.T) {
	seen := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "_out" || d.Name() == ".git" || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".md") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range link.FindAllSubmatch(text, -1) {
			seen++
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), string(m[1]))); err != nil {
				t.Errorf("%s links to %s, which is not there", strings.TrimPrefix(path, root+"/"), m[1])
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen < 10 {
		t.Errorf("saw only %d links", seen)
	}
}
