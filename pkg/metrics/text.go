package metrics

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
)

// ContentType is the media type of what Write writes.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// Type is the type of a family.
type Type string

const (
	Counter Type = "counter"
	Gauge   Type = "gauge"
)

// Family is one metric with its samples. Names match [a-zA-Z_:][a-zA-Z0-9_:]*,
// and a counter's ends in _total.
type Family struct {
	Name    string
	Help    string
	Type    Type
	Samples []Sample
}

// Sample is one value. Labels are pairs of name and value; names match
// [a-zA-Z_][a-zA-Z0-9_]*, values are any UTF-8.
type Sample struct {
	Labels []Label
	Value  float64
}

// Label is a label of a sample.
type Label struct{ Name, Value string }

// L makes labels of names and values by turns.
func L(pairs ...string) []Label {
	out := make([]Label, 0, len(pairs)/2)
	for i := 0; i+1 < len(pairs); i += 2 {
		out = append(out, Label{pairs[i], pairs[i+1]})
	}
	return out
}

// Write returns the families as text, in their order; samples are sorted by
// their labels. Families without samples are left out.
func Write(families []Family) []byte {
	var b bytes.Buffer
	for i := range families {
		f := &families[i]
		if len(f.Samples) == 0 {
			continue
		}
		b.WriteString("# HELP " + f.Name + " " + helpEscaper.Replace(f.Help) + "\n")
		b.WriteString("# TYPE " + f.Name + " " + string(f.Type) + "\n")
		lines := make([]string, len(f.Samples))
		for j := range f.Samples {
			lines[j] = line(f.Name, &f.Samples[j])
		}
		slices.Sort(lines)
		for _, l := range lines {
			b.WriteString(l)
		}
	}
	return b.Bytes()
}

func line(name string, s *Sample) string {
	var b strings.Builder
	b.WriteString(name)
	for i, l := range s.Labels {
		b.WriteByte("{,"[min(i, 1)])
		b.WriteString(l.Name + `="` + valueEscaper.Replace(strings.ToValidUTF8(l.Value, "\uFFFD")) + `"`)
	}
	if len(s.Labels) > 0 {
		b.WriteByte('}')
	}
	b.WriteByte(' ')
	b.WriteString(strconv.FormatFloat(s.Value, 'g', -1, 64))
	b.WriteByte('\n')
	return b.String()
}

var (
	helpEscaper  = strings.NewReplacer(`\`, `\\`, "\n", `\n`)
	valueEscaper = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)
)
