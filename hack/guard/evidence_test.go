package guard_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// What docs/architecture.md promises is pinned by tests that exist: every decision on
// missing evidence, every rule of the reconcile contract, and every seam.
func TestPromisesHaveTests(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs", "architecture.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		section       string
		columns, rows int
	}{
		{"What missing evidence means", 4, 20},
		{"The reconcile contract", 3, 16},
		{"Seams", 2, 7},
	} {
		t.Run(c.section, func(t *testing.T) {
			_, section, ok := strings.Cut(string(text), "\n## "+c.section+"\n")
			if !ok {
				t.Fatal("there is no such section")
			}
			section, _, _ = strings.Cut(section, "\n## ")
			if rows := checkTests(t, section, c.columns); rows < c.rows {
				t.Errorf("only %d rows were found, want %d", rows, c.rows)
			}
		})
	}
}

// checkTests holds that the last cell of each row names tests that exist, and returns
// how many rows there are.
func checkTests(t *testing.T, section string, columns int) int {
	t.Helper()
	tests, rows, head := testSources{}, 0, true
	named := regexp.MustCompile("`([a-z/]+) (Test[A-Za-z0-9]+)`")
	for line := range strings.Lines(section) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "|---") {
			head = false
		}
		if !strings.HasPrefix(line, "| ") || head {
			continue
		}
		rows++
		cells := strings.Split(strings.Trim(line, "|"), "|")
		if len(cells) != columns {
			t.Errorf("%d columns, want %d: %s", len(cells), columns, line)
			continue
		}
		found := named.FindAllStringSubmatch(cells[columns-1], -1)
		if len(found) == 0 {
			t.Errorf("no test is named: %s", line)
		}
		for _, f := range found {
			if !strings.Contains(tests.of(t, f[1]), "func "+f[2]+"(t *testing.T)") {
				t.Errorf("there is no test %s %s", f[1], f[2])
			}
		}
	}
	return rows
}
