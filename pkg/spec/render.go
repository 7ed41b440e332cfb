package spec

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// excerptWidth is how much of a long line an excerpt shows, in characters.
const excerptWidth = 120

// Render writes every error with the source line, a caret below the place, and
// the hint. data is what was given to the function that returned e.
func (e *Errors) Render(w io.Writer, data []byte) error {
	return RenderList(w, e.Source, e.List, e.More, data)
}

// RenderList is Render for a list that is not an error, as [Config.Warnings]
// returns it. more is the number of entries that were left out.
func RenderList(w io.Writer, source string, list []*Error, more int, data []byte) error {
	lines := splitLines(bytes.TrimPrefix(data, utf8BOM))
	var b strings.Builder
	for _, x := range list {
		if x.Pos.Line == 0 {
			fmt.Fprintf(&b, "%s: %s\n", source, x.text())
		} else {
			fmt.Fprintf(&b, "%s:%d:%d: %s\n", source, x.Pos.Line, x.Pos.Column, x.text())
			b.WriteString(excerpt(lines, x.Pos))
		}
		if x.Hint != "" {
			fmt.Fprintf(&b, "hint: %s\n", x.Hint)
		}
	}
	if more > 0 {
		fmt.Fprintf(&b, "%s: and %s\n", source, moreText(more))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// excerpt returns the line at pos with a caret below the column, or "" when
// there is no such line.
func excerpt(lines []string, pos Pos) string {
	if pos.Line < 1 || pos.Line > len(lines) {
		return ""
	}
	line := lines[pos.Line-1]
	length := utf8.RuneCountInString(line)
	col := min(max(pos.Column-1, 0), length)
	from := 0
	if length > excerptWidth {
		from = max(min(col-excerptWidth/2, length-excerptWidth), 0)
		line = cutRunes(line, from, excerptWidth)
	}
	raw := []rune(strings.ToValidUTF8(line, string(utf8.RuneError)))
	var text, pad strings.Builder
	for i, r := range raw {
		// What a terminal would obey, and what would hide or reorder text,
		// is shown as a replacement character.
		if r != '\t' && !unicode.IsPrint(r) {
			r = utf8.RuneError
		}
		text.WriteRune(r)
		if from+i < col {
			if r == '\t' {
				pad.WriteRune('\t')
			} else {
				pad.WriteRune(' ')
			}
		}
	}
	num := fmt.Sprintf("%5d", pos.Line)
	return fmt.Sprintf("%s | %s\n%s | %s^\n", num, strings.TrimRight(text.String(), " \t"), strings.Repeat(" ", len(num)), pad.String())
}

// cutRunes returns n characters of s from the given one on. It does not copy:
// the lines of a document can be as long as that is.
func cutRunes(s string, from, n int) string {
	start, end, count := len(s), len(s), 0
	for i := range s {
		if count == from {
			start = i
		}
		if count == from+n {
			end = i
			break
		}
		count++
	}
	return s[start:end]
}

var lineBreaks = strings.NewReplacer("\r\n", "\n", "\r", "\n", "\u0085", "\n", "\u2028", "\n", "\u2029", "\n")

// splitLines cuts where YAML counts lines: LF, CRLF, CR, NEL, LS and PS. The
// breaks themselves are dropped.
func splitLines(data []byte) []string {
	lines := strings.Split(lineBreaks.Replace(string(data)), "\n")
	if last := len(lines) - 1; lines[last] == "" {
		return lines[:last]
	}
	return lines
}
