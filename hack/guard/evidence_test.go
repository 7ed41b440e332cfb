package guard_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every decision on missing evidence that docs/architecture.md lists is pinned by tests
// that exist.
func TestMissingEvidence(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs", "architecture.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "\n## What missing evidence means\n")
	if !ok {
		t.Fatal("there is no such section")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	tests, rows := testSources{}, 0
	named := regexp.MustCompile("`([a-z/]+) (Test[A-Za-z0-9]+)`")
	for line := range strings.Lines(section) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| decision |") {
			continue
		}
		rows++
		cells := strings.Split(strings.Trim(line, "|"), "|")
		if len(cells) != 4 {
			t.Errorf("%d columns, want 4: %s", len(cells), line)
			continue
		}
		found := named.FindAllStringSubmatch(cells[3], -1)
		if len(found) == 0 {
			t.Errorf("no test is named: %s", line)
		}
		for _, f := range found {
			if !strings.Contains(tests.of(t, f[1]), "func "+f[2]+"(t *testing.T)") {
				t.Errorf("there is no test %s %s", f[1], f[2])
			}
		}
	}
	if rows < 20 {
		t.Errorf("only %d rows were found", rows)
	}
}
