package guard_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Every difference that a document lists is pinned by a test that exists.
func TestDifferences(t *testing.T) {
	tests := testSources{}
	for file, least := range map[string]int{"compatibility.md": 20, "cni.md": 35} {
		t.Run(file, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join(root, "docs", file))
			if err != nil {
				t.Fatal(err)
			}
			rows, seen := 0, map[string]bool{}
			for i, line := range strings.Split(string(text), "\n") {
				if strings.HasPrefix(line, "| call |") {
					break // a table of times
				}
				if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| what |") {
					continue
				}
				rows++
				cells := strings.Split(strings.Trim(line, "|"), "|")
				if len(cells) != 5 {
					t.Errorf("line %d has %d columns, want 5", i+1, len(cells))
					continue
				}
				what, here, test := strings.TrimSpace(cells[0]), strings.TrimSpace(cells[2]), strings.TrimSpace(cells[4])
				if what == "" || here == "" || seen[what] {
					t.Errorf("line %d: %q is empty or given twice", i+1, what)
				}
				seen[what] = true
				pkg, name, ok := strings.Cut(strings.Trim(test, "`"), " ")
				if !ok || !strings.Contains(tests.of(t, pkg), "func "+name+"(t *testing.T)") {
					t.Errorf("line %d: there is no test %q", i+1, test)
				}
			}
			if rows < least {
				t.Errorf("only %d rows were found", rows)
			}
		})
	}
}

// testSources are the test files of packages, by the package's directory.
type testSources map[string]string

func (s testSources) of(t *testing.T, pkg string) string {
	t.Helper()
	if text, ok := s[pkg]; ok {
		return text
	}
	files, err := filepath.Glob(filepath.Join(root, pkg, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		s[pkg] += string(data)
	}
	return s[pkg]
}
