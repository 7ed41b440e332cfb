package lab_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every test and package that make lab leaves out is there, once, and the reason is
// given: a name that is no test's would leave out nothing, and nobody would see it.
func TestLongCases(t *testing.T) {
	tests := map[string]int{}
	for _, pattern := range []string{"e2e/*_test.go", "e2e/*/*_test.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\)`).FindAllStringSubmatch(string(b), -1) {
				tests[m[1]]++
			}
		}
	}
	b, err := os.ReadFile("long.txt")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		name, why, _ := strings.Cut(strings.TrimSpace(line), " ")
		if test, _, _ := strings.Cut(name, "/"); tests[test] != 1 && !isDir(name) {
			t.Errorf("long.txt names %q, which is %d tests of e2e and no package, want 1", name, tests[test])
		}
		if why == "" || seen[name] {
			t.Errorf("long.txt names %q without a reason, or twice", name)
		}
		seen[name] = true
	}
}

func isDir(path string) bool {
	fi, err := os.Stat(path)
	return err == nil && fi.IsDir()
}
