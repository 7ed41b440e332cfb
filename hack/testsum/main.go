package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
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
	Elapsed                                   float64 // seconds
}

// skip is a test that was skipped, and what it said.
type skip struct{ name, reason string }

type summary struct {
	passed, failed int
	skips          []skip
	silent         int // skips without a reason
	failures       []failure
	slow           []slow
}

// failure is a test that failed, and the end of what it said.
type failure struct {
	name string
	end  []string
}

// slow is how long a test took that took long, without its subtests.
type slow struct {
	name    string
	seconds float64
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
			if e.Test != "" {
				s.failures = append(s.failures, failure{key, end(output[key])})
			}
			s.time(key, e)
			delete(output, key)
		case "pass":
			if e.Test != "" {
				s.passed++
			}
			s.time(key, e)
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

// time notes a test that took long.
func (s *summary) time(key string, e event) {
	if e.Test != "" && !strings.Contains(e.Test, "/") && e.Elapsed >= slowSeconds {
		s.slow = append(s.slow, slow{key, e.Elapsed})
	}
}

const (
	// slowSeconds is from when on a test is listed with its time.
	slowSeconds = 30
	// endLines is how much of a failed test is repeated at the end.
	endLines = 12
)

// end is the end of what a test printed, without what go test says of its course
// and without the stacks of all goroutines that follow a panic.
func end(output []string) []string {
	var lines []string
	for line := range strings.Lines(strings.Join(output, "")) {
		line = strings.TrimRight(line, "\n")
		if len(lines) > 0 && strings.HasPrefix(line, "goroutine ") {
			break
		}
		if line != "" && !strings.HasPrefix(line, "=== ") {
			lines = append(lines, line)
		}
	}
	return lines[max(0, len(lines)-endLines):]
}

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
	slices.SortStableFunc(s.slow, func(a, b slow) int { return cmp.Compare(b.seconds, a.seconds) })
	for _, t := range s.slow {
		fmt.Fprintf(w, "  took %.0f s: %s\n", t.seconds, t.name)
	}
	// Last, because the end of a long output is what is seen of it.
	for _, f := range s.failures {
		fmt.Fprintf(w, "  FAILED %s\n", f.name)
		for _, line := range f.end {
			fmt.Fprintf(w, "      %s\n", line)
		}
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
