package promtest

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Sample is one line of values.
type Sample struct {
	Name   string
	Labels map[string]string
	Value  float64
}

var (
	metricName = regexp.MustCompile(`^[a-zA-Z_:][a-zA-Z0-9_:]*$`)
	labelName  = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)
)

// Check fails when the text is no valid exposition, and also when it is one that
// should not be published: samples without TYPE or HELP, a family in two
// places, a counter that is negative or not named _total.
func Check(text []byte) error {
	_, err := Parse(text)
	return err
}

// Parse returns the samples of a text that passes Check.
func Parse(text []byte) ([]Sample, error) {
	var (
		out       []Sample
		problems  []error
		typ       = map[string]string{}
		help      = map[string]bool{}
		finished  = map[string]bool{}
		seen      = map[string]bool{}
		lastBlock string
	)
	s := string(text)
	if !strings.HasSuffix(s, "\n") {
		return nil, errors.New("the last line has no end")
	}
	for i, line := range strings.Split(strings.TrimSuffix(s, "\n"), "\n") {
		fail := func(format string, args ...any) {
			problems = append(problems, fmt.Errorf("line %d: %s: %q", i+1, fmt.Sprintf(format, args...), line))
		}
		enter := func(name string) {
			if name != lastBlock {
				if finished[name] {
					fail("the family %s is in two places", name)
				}
				finished[lastBlock], lastBlock = true, name
			}
		}
		if rest, ok := strings.CutPrefix(line, "# "); ok {
			kind, rest, _ := strings.Cut(rest, " ")
			name, value, _ := strings.Cut(rest, " ")
			if !metricName.MatchString(name) || value == "" {
				fail("a malformed comment")
				continue
			}
			enter(name)
			switch {
			case kind == "HELP" && !help[name]:
				help[name] = true
			case kind == "TYPE" && typ[name] == "" && (value == "counter" || value == "gauge"):
				typ[name] = value
				if value == "counter" && !strings.HasSuffix(name, "_total") {
					fail("a counter not named _total")
				}
			default:
				fail("an unknown or second %s", kind)
			}
			continue
		}
		sample, err := parseSample(line)
		if err != nil {
			fail("%v", err)
			continue
		}
		enter(sample.Name)
		if typ[sample.Name] == "" || !help[sample.Name] {
			fail("no TYPE or HELP before the sample")
		}
		if typ[sample.Name] == "counter" && sample.Value < 0 {
			fail("a negative counter")
		}
		key := sample.Name
		for _, l := range slices.Sorted(maps.Keys(sample.Labels)) {
			key += fmt.Sprintf(" %s=%q", l, sample.Labels[l])
		}
		if seen[key] {
			fail("the same sample twice")
		}
		seen[key] = true
		out = append(out, sample)
	}
	return out, errors.Join(problems...)
}

func parseSample(line string) (Sample, error) {
	s := Sample{Labels: map[string]string{}}
	end := strings.IndexAny(line, "{ ")
	if end < 0 {
		return s, errors.New("no value")
	}
	s.Name = line[:end]
	if !metricName.MatchString(s.Name) {
		return s, errors.New("a malformed name")
	}
	rest := line[end:]
	if rest[0] == '{' {
		var err error
		if rest, err = s.parseLabels(rest[1:]); err != nil {
			return s, err
		}
	}
	value, ok := strings.CutPrefix(rest, " ")
	if !ok {
		return s, errors.New("no space before the value")
	}
	switch value {
	case "+Inf":
		s.Value = math.Inf(1)
	case "-Inf":
		s.Value = math.Inf(-1)
	case "NaN":
		s.Value = math.NaN()
	default:
		n, err := strconv.ParseFloat(value, 64)
		if err != nil || strings.ContainsAny(value, "xXpPiInN_") {
			return s, fmt.Errorf("the value %q", value)
		}
		s.Value = n
	}
	return s, nil
}

func (s *Sample) parseLabels(rest string) (string, error) {
	for {
		name, after, ok := strings.Cut(rest, `="`)
		if !ok || !labelName.MatchString(name) {
			return "", errors.New("a malformed label")
		}
		var value strings.Builder
		i := 0
		for ; i < len(after) && after[i] != '"'; i++ {
			if after[i] != '\\' {
				value.WriteByte(after[i])
				continue
			}
			if i++; i == len(after) {
				return "", errors.New("a label ends in a backslash")
			}
			switch after[i] {
			case '\\', '"':
				value.WriteByte(after[i])
			case 'n':
				value.WriteByte('\n')
			default:
				return "", fmt.Errorf("the escape \\%c", after[i])
			}
		}
		if _, twice := s.Labels[name]; twice || i >= len(after) {
			return "", errors.New("a label that is twice there or has no end")
		}
		s.Labels[name] = value.String()
		rest = after[i+1:]
		if after, ok := strings.CutPrefix(rest, ","); ok {
			rest = after
			continue
		}
		if after, ok := strings.CutPrefix(rest, "}"); ok {
			return after, nil
		}
		return "", errors.New("the labels have no end")
	}
}
