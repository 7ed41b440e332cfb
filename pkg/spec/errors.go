package spec

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

const (
	// maxErrors bounds a report: a binary file must not fill the log.
	maxErrors = 100
	// maxCounted is how many errors are counted beyond those that are kept;
	// then judging ends.
	maxCounted = 100_000
)

// Error is one thing wrong with a document, for the person who wrote it.
type Error struct {
	Pos  Pos    `json:"pos" yaml:"pos"`
	Path string `json:"path,omitempty" yaml:"path,omitempty"` // physicalFunctions[0].numVFs; "" for the config
	Msg  string `json:"msg" yaml:"msg"`
	Hint string `json:"hint,omitempty" yaml:"hint,omitempty"` // what to do
}

// Error returns "line:column: path: message (hint)".
func (e *Error) Error() string {
	var b strings.Builder
	if e.Pos.Line > 0 {
		fmt.Fprintf(&b, "%d:%d: ", e.Pos.Line, e.Pos.Column)
	}
	b.WriteString(e.text())
	if e.Hint != "" {
		b.WriteString(" (" + e.Hint + ")")
	}
	return b.String()
}

func (e *Error) text() string {
	if e.Path == "" {
		return e.Msg
	}
	return e.Path + ": " + e.Msg
}

// Errors is everything wrong with a document, sorted by position.
type Errors struct {
	Source string   `json:"source" yaml:"source"` // the file's name, for people
	List   []*Error `json:"list" yaml:"list"`     // never empty
	// More is how many are left out; of very many, how many there are at least.
	More int `json:"more,omitempty" yaml:"more,omitempty"`
}

// Error returns one line for one error, else a heading and a line for each.
func (e *Errors) Error() string {
	if len(e.List) == 1 && e.More == 0 {
		sep := ":"
		if e.List[0].Pos.Line == 0 {
			sep = ": "
		}
		return e.Source + sep + e.List[0].Error()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d errors", e.Source, len(e.List)+e.More)
	for _, x := range e.List {
		b.WriteString("\n  " + x.Error())
	}
	if e.More > 0 {
		b.WriteString("\n  and " + moreText(e.More))
	}
	return b.String()
}

func moreText(n int) string {
	if n >= maxCounted {
		return strconv.Itoa(n) + " more at least"
	}
	return strconv.Itoa(n) + " more"
}

// Unwrap gives errors.As access to the single errors.
func (e *Errors) Unwrap() []error {
	out := make([]error, len(e.List))
	for i, x := range e.List {
		out[i] = x
	}
	return out
}

// collector gathers the errors of one document and remembers which paths they
// concern, so that a later rule does not complain about the consequence of an
// earlier error.
type collector struct {
	list []*Error
	more int
	bad  map[string]blame
}

// blame says whether an error is at a path itself or only in something below it.
type blame uint8

const (
	blameBelow blame = iota + 1
	blameSelf
)

// full reports whether a further error would only be counted. What words it
// would have need not be found out then: a document of a megabyte can hold
// half a million errors.
func (c *collector) full() bool {
	// Ten times what is shown: enough to show the first ones by position,
	// which is not the order in which the rules find them.
	return len(c.list) >= 10*maxErrors
}

// enough reports whether so many errors were counted that judging the rest of
// the config serves nobody.
func (c *collector) enough() bool { return c.more >= maxCounted }

func (c *collector) add(e *Error) {
	if c.full() {
		c.count(e.Path)
		return
	}
	c.blame(e.Path)
	c.list = append(c.list, e)
}

// count takes note of an error at path that is not shown.
func (c *collector) count(path string) {
	c.blame(path)
	c.more++
}

func (c *collector) blame(path string) {
	c.mark(path)
	if path != "" {
		c.bad[path] = blameSelf
	}
}

// mark notes an error at path or below it, and so in everything that path is
// part of. Where a path is marked, all that it is part of is marked already.
func (c *collector) mark(path string) {
	if c.bad == nil {
		c.bad = make(map[string]blame)
	}
	for p := path; p != "" && c.bad[p] == 0; p = p[:max(strings.LastIndexAny(p, ".["), 0)] {
		c.bad[p] = blameBelow
	}
}

// ok reports whether neither path nor anything below it has an error.
func (c *collector) ok(path string) bool { return c.bad[path] == 0 }

// err returns nil or the sorted errors.
func (c *collector) err(source string) error {
	if len(c.list) == 0 {
		return nil
	}
	list := slices.Clone(c.list)
	slices.SortStableFunc(list, byPosition)
	out := &Errors{Source: source, List: list, More: c.more}
	if len(list) > maxErrors {
		out.More += len(list) - maxErrors
		out.List = list[:maxErrors:maxErrors]
	}
	return out
}

func byPosition(a, b *Error) int {
	return cmp.Or(cmp.Compare(a.Pos.Line, b.Pos.Line), cmp.Compare(a.Pos.Column, b.Pos.Column))
}

// quote renders a value of the config for a message: quoted, and short.
func quote(s string) string {
	const limit = 60
	if r := []rune(s[:min(len(s), 4*limit+4)]); len(r) > limit {
		return fmt.Sprintf("%q...", string(r[:limit]))
	}
	return fmt.Sprintf("%q", s)
}
