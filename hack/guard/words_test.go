package guard_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/scanner"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// word is one that the field does not use in this sense, and what it uses. The
// expression is matched with the text in lower case: identifiers are taken apart
// into their words first ("tookBack" is "took back").
type word struct{ expr, instead string }

// names are words that a sentence may have and an identifier may not.
var names = []word{
	{`turn(s|ed)?`, "pass, reconcile"},
	{`obeys?`, "acknowledge"},
	{`tell|told`, "report, publish"},
	{`said`, "report, log"},
	{`looks|looked`, "observe, read, scan"},
}

var words = []word{
	{`anew`, "again"},
	{`folders?`, "directory"},
	{`obeyed`, "acknowledged"},
	{`unfit`, "unhealthy, with a reason"},
	{`withheld`, "unhealthy, with a reason"},
	{`figures`, "metrics"},
	{`stray(s|ed)?`, "leftover"},
	{`(take|takes|taken|took) back`, "reclaim"},
	{`rehears\w*`, "warm-up"},
	{`all the same`, "anyway"},
	{`in vain`, "without success"},
	{`shall`, "must"},
	{`can not`, "cannot"},
	{`cannot be had`, "conflicts with, is not supported"},
	{`verdicts?`, "decision, result"},
	{`the document`, "config"},
	{`wish(es|ed)?`, "want, request"},
}

var (
	wordExpr = compileWords(words)
	nameExpr = compileWords(names)
	camel    = regexp.MustCompile(`[A-Z]?[a-z0-9]+|[A-Z]+`)
)

// compileWords is one expression for all, with a group for each.
func compileWords(words []word) *regexp.Regexp {
	groups := make([]string, len(words))
	for i, w := range words {
		groups[i] = "(" + strings.NewReplacer(" ", `\s+`, "(", "(?:").Replace(w.expr) + ")"
	}
	return regexp.MustCompile(`\b(?:` + strings.Join(groups, "|") + `)\b`)
}

// allowedWords are uses that stay: a file below the root, or a directory with its
// last slash, the expression of words, and the reason.
var allowedWords = []struct{ path, expr, reason string }{
	{"hack/guard/words_test.go", "", "it lists the words"},
	{"hack/guard/", `the document`, "a page of docs"},
	{"pkg/machineconfig/", `the document`, "a YAML document of a machine config"},
	{"pkg/talos/nodenet/", `the document`, "a YAML document of a machine config"},
	{"hack/image/internal/sbom/", `the document`, "an SPDX document"},
	{"test/differential/", `the document`, "the page that lists the differences"},
}

// wordUse is one place of a word.
type wordUse struct {
	path string
	line int
	word word
	text string
}

// slogMethods take pairs of a key and a value after so many arguments.
var slogMethods = map[string]int{"Debug": 1, "Info": 1, "Warn": 1, "Error": 1, "With": 0}

// wordsIn are the uses in the identifiers, comments and strings of a file.
func wordsIn(path string, src []byte) ([]wordUse, error) {
	var (
		out  []wordUse
		errs scanner.ErrorList
		s    scanner.Scanner
		fset = token.NewFileSet()
		file = fset.AddFile(path, -1, len(src))
	)
	s.Init(file, src, errs.Add, scanner.ScanComments)
	// Words of one expression may stand in two comments of one line each.
	comment, commentLine := "", 0
	flush := func() {
		out = append(out, find(wordExpr, words, path, commentLine, comment)...)
		comment = ""
	}
	for {
		pos, tok, lit := s.Scan()
		if tok != token.COMMENT && lit != "\n" {
			flush()
		}
		switch tok {
		case token.EOF:
			if errs.Len() > 0 {
				return out, errs.Err()
			}
			keys, err := errorKeys(path, src)
			return append(out, keys...), err
		case token.COMMENT:
			if comment == "" {
				commentLine = file.Line(pos)
			}
			comment += strings.TrimPrefix(lit, "//") + "\n"
		case token.IDENT:
			name := strings.Join(camel.FindAllString(lit, -1), " ")
			out = append(out, find(wordExpr, words, path, file.Line(pos), name)...)
			out = append(out, find(nameExpr, names, path, file.Line(pos), name)...)
		case token.STRING:
			text, err := strconv.Unquote(lit)
			if err != nil {
				return out, err
			}
			out = append(out, find(wordExpr, words, path, file.Line(pos), text)...)
		}
	}
}

// find are the uses in a text that begins at the line.
func find(expr *regexp.Regexp, words []word, path string, line int, text string) (out []wordUse) {
	lower := strings.ToLower(text)
	for _, at := range expr.FindAllStringSubmatchIndex(lower, -1) {
		group := 2
		for at[group] < 0 {
			group += 2
		}
		before := lower[:at[0]]
		rest, _, _ := strings.Cut(lower[strings.LastIndex(before, "\n")+1:], "\n")
		out = append(out, wordUse{path, line + strings.Count(before, "\n"), words[group/2-1], strings.TrimSpace(rest)})
	}
	return out
}

// errorKeys are the calls that log an error under another key than "err".
func errorKeys(path string, src []byte) (out []wordUse, err error) {
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, path, src, 0)
	if err != nil {
		return nil, err
	}
	ast.Inspect(f, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		sel, ok := call.Fun.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		first, ok := slogMethods[sel.Sel.Name]
		for i := first; ok && i+1 < len(call.Args); i += 2 {
			if lit, ok := call.Args[i].(*ast.BasicLit); ok && lit.Value == `"error"` {
				out = append(out, wordUse{path, fset.Position(lit.Pos()).Line, word{`"error"`, `the key "err"`}, lit.Value})
			}
		}
		return true
	})
	return out, nil
}

func TestWordsIn(t *testing.T) {
	const src = `package p

// It is made
// anew, and shall be.
var tookBackAll = "can not"

/* the
document */
func f() { log.Error("in vain", "error", err); marshall(foldersOf, errors.New("error")) }

// It turns.
func turnOff() { returned() }
`
	uses, err := wordsIn("p.go", []byte(src))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, u := range uses {
		got = append(got, fmt.Sprint(u.line, " ", u.word.expr))
	}
	want := []string{
		"4 anew", "4 shall", "5 (take|takes|taken|took) back", "5 can not", "7 the document",
		"9 in vain", "9 folders?", `9 "error"`, "12 turn(s|ed)?",
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
}

// The code is written in the words of its field: Go, Linux, Kubernetes and Talos.
func TestWords(t *testing.T) {
	var uses []wordUse
	read := 0
	for _, dir := range []string{"pkg", "cmd", "hack", "test"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && (d.Name() == "testdata" || d.Name() == "_out"):
				return filepath.SkipDir
			case !strings.HasSuffix(path, ".go"):
				return nil
			}
			src, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if head, err := parser.ParseFile(token.NewFileSet(), path, src, parser.PackageClauseOnly|parser.ParseComments); err == nil && ast.IsGenerated(head) {
				return nil
			}
			read++
			found, err := wordsIn(strings.TrimPrefix(filepath.ToSlash(path), root+"/"), src)
			uses = append(uses, found...)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if read < 100 {
		t.Errorf("read only %d files", read)
	}
	reportWords(t, uses)
}

// reportWords fails for each use that is not allowed, and for what is allowed and
// not used.
func reportWords(t *testing.T, uses []wordUse) {
	t.Helper()
	counts, needed := map[string]int{}, map[int]bool{}
	for _, u := range uses {
		i := slices.IndexFunc(allowedWords, func(a struct{ path, expr, reason string }) bool {
			inDir := strings.HasSuffix(a.path, "/") && strings.HasPrefix(u.path, a.path)
			return (a.path == u.path || inDir) && (a.expr == "" || a.expr == u.word.expr)
		})
		if i >= 0 {
			needed[i] = true
			continue
		}
		counts[filepath.Dir(u.path)]++
		t.Errorf("%s:%d: %s: use %s: %s", u.path, u.line, u.word.expr, u.word.instead, u.text)
	}
	for i, a := range allowedWords {
		if !needed[i] {
			t.Errorf("%s is allowed %q and does not use it", a.path, a.expr)
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(counts)) {
		t.Logf("%4d %s", counts[dir], dir)
	}
}
