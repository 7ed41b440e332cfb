package spec

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// maxSize is the largest input that is looked at, in bytes. A document for a
// node with 256 PFs stays below 100 KiB.
const maxSize = 1 << 20

var utf8BOM = []byte("\xef\xbb\xbf")

// parse turns bytes into YAML nodes, one for each document that is not empty.
// The error is about the whole input: nothing can be said about the rest.
func parse(data []byte) ([]*yaml.Node, *Error) {
	if len(data) > maxSize {
		return nil, &Error{
			Msg:  fmt.Sprintf("the input has %d bytes; at most %d are read", len(data), maxSize),
			Hint: "this is hardly the intended file",
		}
	}
	data = bytes.TrimPrefix(data, utf8BOM)
	if e := checkText(data); e != nil {
		return nil, e
	}
	docs, err := parseText(data)
	if err != nil {
		return nil, syntaxError(data, err)
	}
	return docs, nil
}

// parseText parses YAML, or JSON that the YAML library does not read. The error
// is that of the YAML.
func parseText(data []byte) ([]*yaml.Node, error) {
	docs, err := parseNodes(data)
	if err != nil && json.Valid(data) {
		if docs, err := parseNodes(jsonToYAML(data)); err == nil {
			return docs, nil
		}
	}
	return docs, err
}

// parseNodes runs the YAML library. It never decodes into anything but nodes,
// in which an alias is a pointer and not a copy.
func parseNodes(data []byte) (docs []*yaml.Node, err error) {
	// The library reports its own errors by panicking inside; one that it
	// fails to recover must cost the config, not the process.
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the YAML parser failed: %v", r)
		}
	}()
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var n yaml.Node
		switch err := dec.Decode(&n); {
		case errors.Is(err, io.EOF):
			return docs, nil
		case err != nil:
			return nil, err
		}
		if n.Kind != yaml.DocumentNode || len(n.Content) != 1 || isNull(n.Content[0]) {
			continue
		}
		docs = append(docs, n.Content[0])
	}
}

// checkText refuses what is not text, with a position. YAML 1.2 section 5.1
// lists the characters that a document may hold.
func checkText(data []byte) *Error {
	for i, r := range string(data) {
		switch {
		case r == utf8.RuneError && !bytes.HasPrefix(data[i:], []byte(string(utf8.RuneError))):
			return &Error{
				Pos:  posAt(data, i),
				Msg:  fmt.Sprintf("byte 0x%02x is not valid UTF-8", data[i]),
				Hint: "save the file as UTF-8; a binary file is not a config",
			}
		case r == '\n', r == '\r', r == '\t', r == 0x85:
		case r >= 0x20 && r < 0x7f, r >= 0xa0 && r < 0xfffe && r != 0xfeff, r >= 0x10000:
		default:
			return &Error{
				Pos:  posAt(data, i),
				Msg:  fmt.Sprintf("character U+%04X is not allowed in a config", r),
				Hint: "remove it; a binary file is not a config",
			}
		}
	}
	return nil
}

// linePlace is how an error of the YAML library begins that has a place.
var linePlace = regexp.MustCompile(`^line ([0-9]+): `)

// syntaxError places an error of the YAML library.
//
// The library has no error type: the position is only in the text, as "yaml:
// line N: ". This function is the one place that reads it, and reads nothing
// else of it. N is a lower bound at best (the library often names the start of
// the enclosing block), so the place is narrowed down by parsing prefixes.
func syntaxError(data []byte, err error) *Error {
	msg := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 1
	if m := linePlace.FindStringSubmatch(msg); m != nil {
		if n, err := strconv.Atoi(m[1]); err == nil {
			line, msg = n, msg[len(m[0]):]
		}
	}
	lines := splitLines(data)
	if e := jsonError(data); e != nil {
		return e
	}
	if e := foldedError(lines); e != nil {
		return e
	}
	bad := min(max(firstBadLine(lines, line), 1), len(lines)) // what is empty is valid
	for _, n := range []int{bad, line, line + 1} {
		if n < bad || n > len(lines) {
			continue
		}
		if tab := strings.IndexByte(indentation(lines[n-1]), '\t'); tab >= 0 {
			return &Error{Pos: Pos{Line: n, Column: tab + 1}, Msg: "a tab is used for indentation", Hint: "YAML is indented with spaces only"}
		}
	}
	return &Error{
		Pos:  Pos{Line: bad, Column: len(indentation(lines[bad-1])) + 1},
		Msg:  "not valid YAML: " + msg,
		Hint: "check the indentation, brackets and quotes here and in the line above",
	}
}

func indentation(line string) string {
	return line[:len(line)-len(strings.TrimLeft(line, " \t"))]
}

// jsonToYAML rewrites the escapes of JSON that the YAML library does not know:
// \/ and surrogate pairs. Columns after one of them, on its line, are too small
// by what was saved.
func jsonToYAML(data []byte) []byte {
	return escapes.ReplaceAllFunc(data, func(e []byte) []byte {
		var s string
		if string(e) != `\/` && len(e) != len(`\ud83d\ude00`) || json.Unmarshal([]byte(`"`+string(e)+`"`), &s) != nil {
			return e
		}
		return []byte(s)
	})
}

// jsonError places the error in a document that is meant to be JSON, for which
// whole lines say nothing.
func jsonError(data []byte) *Error {
	start := bytes.TrimLeft(data, " \t\r\n")
	if len(start) == 0 || start[0] != '{' && start[0] != '[' {
		return nil
	}
	var syntax *json.SyntaxError
	if err := json.Unmarshal(data, new(json.RawMessage)); err == nil {
		pos, escape, found := loneSurrogate(data)
		if !found {
			return nil
		}
		return &Error{
			Pos:  pos,
			Msg:  escape + " is half of a character: a character beyond U+FFFF is written as two escapes",
			Hint: `remove it, or write both halves, such as \ud83d\ude00`,
		}
	} else if !errors.As(err, &syntax) {
		return nil
	}
	return &Error{
		Pos:  posAt(data, min(max(int(syntax.Offset)-1, 0), len(data)-1)),
		Msg:  "neither valid YAML nor valid JSON: " + syntax.Error(),
		Hint: "check the commas, brackets and quotes here and before",
	}
}

// foldedKeys finds keys of the config that follow each other on one line.
var foldedKeys = regexp.MustCompile(`^\s*(apiVersion|kind):\s+[A-Za-z0-9]+\s+(apiVersion|kind|physicalFunctions|resourceList):(\s|$)`)

// foldedError explains a document whose line breaks have become spaces, which
// "content: >" does.
func foldedError(lines []string) *Error {
	for i, l := range lines {
		if strings.TrimSpace(l) == "" {
			continue
		}
		m := foldedKeys.FindStringSubmatchIndex(l)
		if m == nil {
			return nil
		}
		return &Error{
			Pos:  Pos{Line: i + 1, Column: utf8.RuneCountInString(l[:m[4]]) + 1},
			Msg:  "a second key begins on the same line: the line breaks of the config are lost",
			Hint: `write "content: |" in the machine config; "content: >" makes one line of the lines below it`,
		}
	}
	return nil
}

// firstBadLine returns the number of the line after the longest prefix of whole
// lines that parses. start is where to begin looking. The work is bounded; when
// the bound is reached the best answer so far is returned.
func firstBadLine(lines []string, start int) int {
	const window = 64 // lines in which a bracket or quote is expected to close
	// Bytes to parse in all: every line of the window in a document of 16 KiB,
	// once the largest.
	budget := 1 << 20
	parses := func(n int) bool {
		text := strings.Join(lines[:n], "\n") + "\n"
		budget -= len(text)
		_, err := parseNodes([]byte(text))
		return err == nil
	}
	// What is open at start may have been opened long before it.
	good := min(max(start-2, 0), len(lines))
	for ; good > 0 && !parses(good); good-- {
		if budget < 0 {
			return start
		}
	}
	for n := good + 1; n <= len(lines) && n-good <= window; n++ {
		if budget < 0 {
			return max(good+1, start)
		}
		if parses(n) {
			good = n
		}
	}
	return good + 1
}

// nodePos is where a node starts.
func nodePos(n *yaml.Node) Pos { return Pos{Line: n.Line, Column: n.Column} }

func isNull(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}

// describe says what a node is, for "want X, found Y".
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias"
	}
	switch n.ShortTag() {
	case "!!null":
		return "nothing"
	case "!!int", "!!float":
		return "the number " + short(n.Value)
	case "!!bool":
		return "the boolean " + n.Value
	}
	if n.Value == "" {
		return "an empty text"
	}
	return "the text " + quote(n.Value)
}
