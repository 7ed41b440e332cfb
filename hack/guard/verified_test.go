package guard_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	testName = regexp.MustCompile(`\bTest[A-Z]\w*`)
	testFunc = regexp.MustCompile(`(?m)^func (Test[A-Z]\w*)\(`)
	// evidence is how a claim about Talos can be verified.
	evidence = regexp.MustCompile(`Test[A-Z]|\b(read|observed|never run|run once)\b`)
)

// docs/verified.md names tests that exist, and says for every claim about Talos
// how it was verified.
func TestVerified(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs", "verified.md"))
	if err != nil {
		t.Fatal(err)
	}
	have := testNames(t)
	for _, name := range testName.FindAllString(string(text), -1) {
		if !have[name] {
			t.Errorf("docs/verified.md names %s, which does not exist", name)
		}
	}
	_, about, found := strings.Cut(string(text), "\n## About Talos\n")
	about, _, _ = strings.Cut(about, "\n## ")
	rows := 0
	for line := range strings.Lines(about) {
		cells := strings.Split(line, "|")
		if len(cells) != 5 || strings.HasPrefix(line, "|---") || strings.TrimSpace(cells[1]) == "claim" {
			continue
		}
		rows++
		if !evidence.MatchString(cells[2]) {
			t.Errorf("docs/verified.md does not say how it was verified that %s", strings.TrimSpace(cells[1]))
		}
	}
	if !found || rows < 10 {
		t.Errorf("docs/verified.md has %d claims about Talos", rows)
	}
}

// testNames are the names of all test functions of the repository.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	have := make(map[string]bool)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "_out" || d.Name() == ".git"):
			return filepath.SkipDir
		case !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range testFunc.FindAllSubmatch(text, -1) {
			have[string(m[1])] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return have
}
