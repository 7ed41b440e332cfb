package spec

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// checkVisible refuses characters that nobody sees. No name of an interface, a
// driver, a resource, a directory or an environment variable has one on purpose,
// and one that is there by accident, or put there, makes two names look alike
// that are not: controls (NUL, line feed, escape), formats (zero width, changes
// of the writing direction), line and paragraph separators, fillers, and what
// stands for half a character. multiline allows the line feeds and tabs of a
// longer text.
func checkVisible(s string, multiline bool) (msg, hint string) {
	count := 0
	for i, r := range s {
		count++
		if multiline && (r == '\n' || r == '\t') {
			continue
		}
		what := invisible(r)
		if what == "" && r == utf8.RuneError {
			if _, n := utf8.DecodeRuneInString(s[i:]); n == 1 {
				what = "byte that is not UTF-8"
			} else {
				what = "replacement character"
			}
		}
		if what != "" {
			return fmt.Sprintf("has the %s U+%04X as character %d", what, r, count), "remove it; it cannot be seen, and would be part of the value"
		}
	}
	return "", ""
}

// invisible names the kind of a character that is not shown; "" for others.
func invisible(r rune) string {
	switch {
	case r >= 0x20 && r < 0x7f:
		return ""
	case unicode.IsControl(r):
		return "control character"
	case unicode.Is(unicode.Cf, r), unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r):
		return "invisible character"
	case unicode.Is(unicode.Zl, r), unicode.Is(unicode.Zp, r):
		return "line separator"
	case r&0xfffe == 0xfffe, r >= 0xfdd0 && r <= 0xfdef:
		return "noncharacter"
	}
	return ""
}

// visible reports a scalar with characters that nobody sees.
func (d *decoder) visible(n *yaml.Node, path string, multiline bool) bool {
	msg, hint := checkVisible(n.Value, multiline)
	if msg != "" {
		d.fail(nodePos(n), path, hint, "%s", msg)
	}
	return msg == ""
}

// plainTags returns the places of the tag "!", which the YAML library reads and
// does not report: it makes a text of what follows in YAML, and nothing of it
// here. A place in a comment or a text is among them; no node begins there.
func plainTags(data []byte) map[Pos]bool {
	var out map[Pos]bool
	for i, line := range splitLines(data) {
		if !strings.Contains(line, "!") {
			continue
		}
		column := 0
		for k, r := range line {
			column++
			if r != '!' || k+1 < len(line) && !strings.ContainsRune(" \t,]}", rune(line[k+1])) {
				continue
			}
			if out == nil {
				out = make(map[Pos]bool)
			}
			out[Pos{Line: i + 1, Column: column}] = true
		}
	}
	// JSON has no tags, and may have been rewritten: its positions have moved.
	if len(out) > 0 && json.Valid(data) {
		return nil
	}
	return out
}

// escapes are the escapes of a text in JSON, two that make one character as one; the
// group is one half of a character alone.
var escapes = regexp.MustCompile(`(?s)\\(?:u[dD][89abAB][[:xdigit:]]{2}\\u[dD][c-fC-F][[:xdigit:]]{2}` +
	`|(u[dD][89a-fA-F][[:xdigit:]]{2})|.)`)

// loneSurrogate returns where the first escape of the text stands that is one
// half of a character: \ud83d without \ude00 after it. JSON allows that, and no
// text can hold it.
func loneSurrogate(data []byte) (pos Pos, escape string, found bool) {
	for _, m := range escapes.FindAllSubmatchIndex(data, -1) {
		if m[2] >= 0 {
			return posAt(data, m[0]), string(data[m[0]:m[1]]), true
		}
	}
	return Pos{}, "", false
}

// posAt returns the position of a byte of data.
func posAt(data []byte, offset int) Pos {
	lines := splitLines(append(data[:offset:offset], 'x')) // x: the place itself
	return Pos{Line: len(lines), Column: utf8.RuneCountInString(lines[len(lines)-1])}
}
