package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
)

func main() {
	verbose := flag.Bool("v", false, "pass on the output of every test as it comes")
	file := flag.String("skipped", "", "add the skipped tests to this `file`")
	flag.Parse()
	s, err := read(os.Stdin, os.Stdout, *verbose)
	if err == nil && *file != "" {
		err = s.save(*file)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "testsum:", err)
		os.Exit(1)
	}
	s.print(os.Stdout)
	if s.failed > 0 || s.silent > 0 {
		os.Exit(1)
	}
}

// event is one line of `go test -json` (go doc test2json).
type event struct {
	Action, Package, Test, Output, ImportPath string
}

// skip is a test that was skipped, and what it said.
type skip struct{ name, reason string }

type summary struct {
	passed, failed int
	skips          []skip
	silent         int // skips without a reason
}

// read takes in all events of r, and passes on to w what go test itself would
// print.
func read(r io.Reader, w io.Writer, verbose bool) (*summary, error) {
	s := &summary{}
	output := map[string][]string{} // by package and test, until its end
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 16<<20)
	for sc.Scan() {
		var e event
		if err := json.Unmarshal(sc.Bytes(), &e); err != nil {
			fmt.Fprintln(w, sc.Text()) // what go itself has to say
			continue
		}
		key := e.Package + " " + e.Test
		switch e.Action {
		case "build-output":
			fmt.Fprint(w, e.Output)
		case "output":
			if verbose || e.Test == "" && !frame(e.Output) {
				fmt.Fprint(w, e.Output)
			}
			output[key] = append(output[key], e.Output)
		case "build-fail":
			s.failed++
		case "fail":
			s.failed++
			if !verbose && e.Test != "" {
				fmt.Fprint(w, strings.Join(output[key], ""))
			}
			delete(output, key)
		case "pass":
			if e.Test != "" {
				s.passed++
			}
			delete(output, key)
		case "skip":
			if e.Test != "" {
				s.skip(e.Package+" "+e.Test, output[key])
			}
			delete(output, key)
		}
	}
	return s, sc.Err()
}

// frame reports whether a package's line is about single tests.
func frame(line string) bool { return line == "PASS\n" || line == "FAIL\n" }

// said matches a line that a test printed: its file, its line, its words.
var said = regexp.MustCompile(`^\s+[^\s:]+\.go:\d+: (.+)`)

func (s *summary) skip(name string, output []string) {
	reason := ""
	for _, line := range output {
		if m := said.FindStringSubmatch(line); m != nil {
			reason = strings.TrimSpace(m[1])
		}
	}
	if reason == "" {
		s.silent++
		reason = "NO REASON: a test that skips must say what it needs"
	}
	s.skips = append(s.skips, skip{name, reason})
}

func (s *summary) print(w io.Writer) {
	fmt.Fprintf(w, "tests: %d passed, %d failed, %d skipped\n", s.passed, s.failed, len(s.skips))
	for _, k := range s.skips {
		fmt.Fprintf(w, "  skipped %s: %s\n", k.name, k.reason)
	}
}

func (s *summary) save(file string) error {
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, k := range s.skips {
		if _, err := fmt.Fprintf(f, "  %s: %s\n", k.name, k.reason); err != nil {
			return err
		}
	}
	return f.Close()
}
